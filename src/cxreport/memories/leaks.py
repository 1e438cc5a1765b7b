"""A bank must hold nothing of the studies that its generator is chosen or tested on."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing

import numpy as np

from cxreport.data.hashing import HASH_BYTES, SIDE, candidates, perceptual_hash
from cxreport.data.images import decode
from cxreport.data.splits import RARE_STUDIES, note_digest
from cxreport.data.store import PreparedDataset
from cxreport.data.text import target_text
from cxreport.data.workers import cores, in_order
from cxreport.errors import UserError
from cxreport.memories.bank import UNKNOWN, Bank
from cxreport.study import Study, View

SAME_PICTURE = 32
"""Hashes that differ in at most so many of 255 bits are of one picture. X-rays of two patients differ in at
least 64 (100,000 pairs of NIH ChestX-ray14 and covid-chestxray-dataset); one saved anew with 3/4 of the side
as JPEG of quality 40 in at most 15 (120 images), but one with another window in up to 71."""
SAME_PHANTOM = 8
"""The same between phantoms, which share one anatomy: two drawn on their own differ in at least 16 (1,280,000
pairs), and one saved anew in at most 5 with half the side, in 10 as above."""
POOL_FROM = 500
"""Fewer images are hashed faster than processes start."""
_SHOWN = 3

Progress = Callable[[str, int, int], None]

logger = logging.getLogger(__name__)


def refuse_leaks(banks: Sequence[Bank], dataset: PreparedDataset, progress: Progress | None = None) -> None:
    """UserError when an entry of the `banks` belongs to a val or test study of `dataset`.

    Compared are study ids and patient ids. A bank of this very dataset must also hold exactly what the train
    split says: every entry a study of it, with its patient and its text (that a report of a train study also
    stands in a held-out one is then the split's doing: long normal reports come word by word). A bank of
    another dataset, where ids may differ, is also compared by long, rare texts and by the ``pictures`` of its
    entries (:data:`SAME_PICTURE`), where they have any. A published bank of unknown studies cannot be
    compared, which is logged.
    """
    held_out = [split for split in ("val", "test") if split in dataset.splits]
    for bank in banks:
        if bank.origin.split == UNKNOWN:
            logger.warning("A memory bank is not checked for leaks. %s", bank.origin.made)
            continue
        own = bank.origin.dataset.get("sha256") == dataset.sha256
        found = list(_by_ids(bank, dataset, held_out))
        if own:
            found += _untrue(bank, dataset)
        else:
            found += _by_texts(bank, dataset, held_out)
            found += _by_pictures(bank, dataset, held_out, progress)
        if found:
            more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
            raise UserError(
                f"A memory bank leaks: {'; '.join(found[:_SHOWN])}{more}. Make the bank and its model"
                f" again from the train split of {dataset.path}."
            )


def picture_hashes(
    studies: Iterable[Study], total: int, progress: Progress | None = None
) -> list[tuple[str, ...]]:
    """The perceptual hashes of the views of every study, in hexadecimal digits.

    Raises UserError for a view that cannot be decoded.
    """
    counts: list[int] = []

    def views() -> Iterator[bytes]:
        for study in studies:
            counts.append(len(study.views))
            yield from (view.image for view in study.views)
            if progress is not None:
                progress("pictures", len(counts), total)

    with closing(in_order(_hash, views(), cores() if total >= POOL_FROM else 0, _died)) as hashed:
        found = iter(list(hashed))
    return [tuple(next(found) for _ in range(count)) for count in counts]


def _by_ids(bank: Bank, dataset: PreparedDataset, held_out: Sequence[str]) -> Iterator[str]:
    for split in held_out:
        studies = dataset.split(split)
        ids, patients = set(studies.study_ids), set(studies.patient_ids)
        for study_id in _unique(entry.study_id for entry in bank.entries if entry.study_id in ids):
            yield f"study {study_id} is of the {split} split"
        own = (e.study_id for e in bank.entries if e.patient_id in patients and e.study_id not in ids)
        for study_id in _unique(own):
            yield f"the patient of study {study_id} has studies in the {split} split"


def _by_texts(bank: Bank, dataset: PreparedDataset, held_out: Sequence[str]) -> Iterator[str]:
    """Long texts that few held-out studies share; normal reports come word by word in every split."""
    own = {note_digest(entry.text): entry.study_id for entry in bank.entries if entry.text}
    for split in held_out:
        digests = [
            note_digest(target_text(report, bank.origin.data)) for report in dataset.split(split).reports
        ]
        counts = Counter(digests)
        for digest in sorted(own.keys() & counts.keys() - {""}):
            if counts[digest] <= RARE_STUDIES:
                yield f"the report of study {own[digest]} is one of the {split} split"


def _untrue(bank: Bank, dataset: PreparedDataset) -> Iterator[str]:
    """Entries of a bank of this dataset that its train split does not know as they are."""
    train = dataset.split("train")
    reports = dict(zip(train.study_ids, train.reports, strict=True))
    patients = dict(zip(train.study_ids, train.patient_ids, strict=True))
    told: dict[tuple[str, str], str] = {}
    for entry in bank.entries:
        why = ""
        if entry.study_id not in reports:
            why = f"study {entry.study_id} is not in the train split that it names"
        elif entry.patient_id != patients[entry.study_id]:
            why = f"study {entry.study_id} has another patient in the train split"
        elif entry.text and entry.text != target_text(reports[entry.study_id], bank.origin.data):
            why = f"the report of study {entry.study_id} is not the one in the train split"
        if why:
            told.setdefault((entry.study_id, why), why)
    yield from told.values()


def _by_pictures(
    bank: Bank, dataset: PreparedDataset, held_out: Sequence[str], progress: Progress | None
) -> Iterator[str]:
    pictures = [(entry.study_id, digits) for entry in bank.entries for digits in entry.pictures]
    if not pictures or dataset.info["options"].get("text_only"):
        return
    own = _packed(digits for _, digits in pictures)
    sources = {bank.origin.dataset.get("source"), dataset.info["source"]}
    most = SAME_PHANTOM if sources == {"phantom"} else SAME_PICTURE
    for split in held_out:
        studies = dataset.split(split)
        theirs = picture_hashes(studies, len(studies), progress)
        where = [study for study, hashes in zip(studies.study_ids, theirs, strict=True) for _ in hashes]
        packed = _packed(digits for hashes in theirs for digits in hashes)
        for i, j in candidates(own, packed, most):
            yield f"study {pictures[i][0]} shows the same picture as {where[j]} of the {split} split"


def _packed(hashes: Iterable[str]) -> np.ndarray:
    return np.frombuffer(b"".join(map(bytes.fromhex, hashes)), np.uint8).reshape(-1, HASH_BYTES)


def _hash(image: bytes) -> str:
    return perceptual_hash(decode(View(image, SIDE, SIDE), SIDE)).tobytes().hex()


def _died(image: bytes) -> str:
    raise UserError("A process that read images was killed, perhaps for want of memory; try again.")


def _unique(ids: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(ids))

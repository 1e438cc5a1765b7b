"""What is wrong with a prepared dataset: leaks between its splits, faults, and what is worth a look.

Everything is read anew from the Arrow files; nothing relies on what was checked when they were written.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cxreport.data.hashing import (
    MAX_DISTANCE,
    MIN_DETAIL,
    MIN_PHANTOM_DETAIL,
    SIDE,
    detail,
    perceptual_hash,
    same_pictures,
)
from cxreport.data.images import decode
from cxreport.data.shards import content_sha256, digest_of
from cxreport.data.splits import LONG_WORDS, RARE_STUDIES, sha256_of_ids
from cxreport.data.store import PreparedDataset
from cxreport.data.workers import cores, in_order
from cxreport.errors import UserError
from cxreport.study import View

Level = Literal["leak", "fault", "notice"]
POOL_FROM = 500
"""Fewer images are hashed faster than processes start."""
_ENDS = tuple(".!?:;)]\"'…。！？_")


@dataclass(frozen=True, slots=True)
class Row:
    """One check. ``leak`` and ``fault`` make a dataset unfit; a ``notice`` is worth a look.

    ``found`` names every case by study ids, never by patient ids.
    """

    name: str
    level: Level
    found: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Checked:
    """All checks of one dataset with the number of studies and images that were read."""

    dataset: PreparedDataset
    rows: tuple[Row, ...]
    studies: int
    images: int

    @property
    def clean(self) -> bool:
        """No leak and no fault."""
        return not any(row.found for row in self.rows if row.level != "notice")

    def as_json(self) -> dict[str, Any]:
        """The form of ``cxreport data check --json``."""
        return {
            "dataset": str(self.dataset.path),
            "sha256": self.dataset.sha256,
            "clean": self.clean,
            "studies": self.studies,
            "images": self.images,
            "checks": [
                {"name": row.name, "level": row.level, "count": len(row.found), "found": list(row.found)}
                for row in self.rows
            ],
            "settings": {
                "hash_distance": MAX_DISTANCE,
                "detail_correlation": _least(self.dataset),
                "long_words": LONG_WORDS,
                "rare_studies": RARE_STUDIES,
            },
        }


@dataclass(slots=True)
class _Listed:
    """What is kept of every study, in the order of the splits; ``images`` are (study, view) by place."""

    splits: list[str] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    patients: list[str] = field(default_factory=list)
    texts: list[tuple[str, int]] = field(default_factory=list)
    images: list[tuple[int, int]] = field(default_factory=list)
    faults: dict[str, list[str]] = field(default_factory=dict)
    digests: dict[str, list[str]] = field(default_factory=dict)

    def note(self, name: str, case: str) -> None:
        self.faults.setdefault(name, []).append(case)

    def called(self, study: int) -> str:
        return f"{self.ids[study]} ({self.splits[study]})"


def check_dataset(
    dataset: PreparedDataset,
    *,
    workers: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Checked:
    """Read every study and every image of `dataset` and judge them.

    `workers` is the number of processes that hash images: all cores where None, 0 for this one.
    `progress` is called with the step, what of it is done and how much there is. Raises UserError when a
    split cannot be read at all.
    """
    listed = _Listed()
    hashes: list[bytes | None] = []
    if workers is None:
        workers = cores() if sum(_counts(dataset).values()) >= POOL_FROM else 0
    with closing(in_order(_hash, _views(dataset, listed, progress), workers, _died)) as hashed:
        hashes.extend(hashed)
    for (study, view), found in zip(listed.images, hashes, strict=True):
        if found is None:
            listed.note("unreadable images", f"{listed.called(study)} view {view + 1}")
    _compare_with_description(dataset, listed)
    repeated = [study for study, count in Counter(listed.ids).items() if count > 1]
    long_rare, other = _shared_texts(listed)
    rows: list[tuple[str, Level, Iterable[str]]] = [
        ("patients in several splits", "leak", _shared_patients(listed)),
        ("near-identical images in two splits", "leak", _near_identical(dataset, listed, hashes, progress)),
        ("long and rare reports in several splits", "leak", long_rare),
        ("study ids that come again", "fault", repeated),
        *((name, "fault", listed.faults.get(name, ())) for name in _FAULTS),
        ("other reports in several splits", "notice", other),
        *((name, "notice", listed.faults.get(name, ())) for name in _NOTICES),
    ]
    return Checked(
        dataset,
        tuple(Row(name, level, tuple(found)) for name, level, found in rows),
        len(listed.ids),
        len(listed.images),
    )


_FAULTS = ("unreadable images", "studies of another split", "splits that changed since the import")
_NOTICES = (
    "studies without findings and impression",
    "sections that end without a full stop",
    "labels that contradict each other",
)


def _counts(dataset: PreparedDataset) -> dict[str, int]:
    return {split: dataset.info["splits"][split]["count"] for split in dataset.splits}


def _views(
    dataset: PreparedDataset, listed: _Listed, progress: Callable[[str, int, int], None] | None
) -> Iterator[bytes]:
    """The bytes of every view, in order; on the way, what else is to be known of its study is `listed`."""
    total = sum(_counts(dataset).values())
    for split in dataset.splits:
        listed.digests[split] = []
        for place, row in enumerate(dataset.split(split).rows()):
            _list(row, split, place, listed)
            study = len(listed.ids) - 1
            for number, view in enumerate(row["views"]):
                listed.images.append((study, number))
                yield view["image"]
            if progress is not None:
                progress("studies", len(listed.ids), total)


def _list(row: Mapping[str, Any], split: str, place: int, listed: _Listed) -> None:
    listed.splits.append(split)
    listed.places.append(place)
    listed.ids.append(row["study_id"])
    listed.patients.append(row["patient_id"])
    listed.digests[split].append(digest_of(row))
    report = row["report"]
    words = f"{report['findings']} {report['impression']}".lower().split()
    listed.texts.append((hashlib.sha256(" ".join(words).encode()).hexdigest(), len(words)))
    called = listed.called(len(listed.ids) - 1)
    if row["split"] != split:
        listed.note("studies of another split", called)
    if not words:
        listed.note("studies without findings and impression", called)
    for section in ("findings", "impression"):
        text = report[section].rstrip()
        if text and not text.endswith(_ENDS) and not text[-1].isdigit() and not text.lower().endswith("xxx"):
            listed.note("sections that end without a full stop", f"{called} {section}")
    positive = {label["name"] for label in row["labels"] if label["value"] == 1}
    if "No Finding" in positive and positive - {"No Finding", "Support Devices"}:
        others = ", ".join(sorted(positive - {"No Finding", "Support Devices"}))
        listed.note("labels that contradict each other", f"{called}: No Finding and {others}")


def _hash(image: bytes) -> bytes | None:
    """The perceptual hash of a view; None where it cannot be decoded."""
    try:
        return perceptual_hash(decode(View(image, SIDE, SIDE), SIDE)).tobytes()
    except UserError:
        return None


def _died(image: bytes) -> bytes | None:
    return None


def _compare_with_description(dataset: PreparedDataset, listed: _Listed) -> None:
    for split in dataset.splits:
        ids = [study for study, name in zip(listed.ids, listed.splits, strict=True) if name == split]
        told = dataset.info["splits"][split]
        found = (sha256_of_ids(ids), content_sha256(listed.digests[split]))
        if found != (told["ids_sha256"], told["content_sha256"]):
            listed.note("splits that changed since the import", split)


def _shared_patients(listed: _Listed) -> Iterator[str]:
    studies: dict[str, list[int]] = {}
    for study, patient in enumerate(listed.patients):
        studies.setdefault(patient, []).append(study)
    for group in studies.values():
        if len({listed.splits[study] for study in group}) > 1:
            yield ", ".join(map(listed.called, group))


def _shared_texts(listed: _Listed) -> tuple[list[str], list[str]]:
    """Equal reports in several splits: the long and rare ones, and the others."""
    studies: dict[tuple[str, int], list[int]] = {}
    for study, text in enumerate(listed.texts):
        studies.setdefault(text, []).append(study)
    long_rare: list[str] = []
    other: list[str] = []
    for (_, words), group in studies.items():
        if words and len({listed.splits[study] for study in group}) > 1:
            telling = words >= LONG_WORDS and len(group) <= RARE_STUDIES
            names = ", ".join(map(listed.called, group[:RARE_STUDIES]))
            more = f" and {len(group) - RARE_STUDIES} more" if len(group) > RARE_STUDIES else ""
            (long_rare if telling else other).append(f"{names}{more}")
    return long_rare, other


def _least(dataset: PreparedDataset) -> float:
    return MIN_PHANTOM_DETAIL if dataset.info["source"] == "phantom" else MIN_DETAIL


def _near_identical(
    dataset: PreparedDataset,
    listed: _Listed,
    hashes: Sequence[bytes | None],
    progress: Callable[[str, int, int], None] | None,
) -> Iterator[str]:
    """Pairs of images in two splits that are one picture."""
    opened = {split: dataset.split(split) for split in dataset.splits}

    def detail_of(image: int) -> NDArray[np.float32]:
        study, view = listed.images[image]
        return detail(decode(opened[listed.splits[study]][listed.places[study]].views[view], SIDE))

    def called(image: int) -> str:
        study, view = listed.images[image]
        return f"{listed.called(study)} view {view + 1}"

    groups: dict[str, list[tuple[int, bytes]]] = {split: [] for split in dataset.splits}
    for image, (study, _) in enumerate(listed.images):
        own = hashes[image]
        if own is not None:
            groups[listed.splits[study]].append((image, own))
    for one, other in same_pictures(groups, detail_of, progress, least=_least(dataset)):
        yield f"{called(one)} = {called(other)}"

"""Splits by patient: seeded, stable when patients are added, never parting what belongs together."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence

from cxreport.errors import UserError
from cxreport.study import SPLITS, Split

LONG_WORDS = 12
"""A text of at least so many words is long: few reports agree by chance."""
RARE_STUDIES = 10
"""A text of at most so many studies is rare; templates of normal reports are not."""
SHARES = (0.7, 0.1, 0.2)
"""Train, val and test shares when nothing else is asked for (R2Gen's for IU X-ray)."""


def sha256_of_ids(ids: Iterable[str]) -> str:
    """SHA-256 (hex) of the sorted ids joined by newlines: equal for equal sets, whatever their order."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()


def binding_notes(notes: Mapping[str, str]) -> dict[str, str]:
    """Those of `notes` (study id -> text) that are long and that some other, but few, studies share.

    They come as digests. Such studies belong together: their text was written once. Short or frequent
    texts bind nothing, or the normal reports of a large release would tie it into one knot.
    """
    words = {study: text.lower().split() for study, text in notes.items()}
    digests = {
        study: hashlib.sha256(" ".join(text).encode()).hexdigest()
        for study, text in words.items()
        if len(text) >= LONG_WORDS
    }
    counts = Counter(digests.values())
    return {study: digest for study, digest in digests.items() if 1 < counts[digest] <= RARE_STUDIES}


def by_patient(
    patient_ids: Mapping[str, str],
    seed: int,
    shares: Sequence[float] = SHARES,
    *,
    notes: Mapping[str, str] | None = None,
    labels: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Split]:
    """Split of every study, from a hash of its patient.

    Args:
        patient_ids: study id -> patient id.
        seed: another seed gives another split.
        shares: of train, val and test; each in [0, 1], summing to 1. They are met on average.
        notes: study id -> text of its report where texts may be shared; studies with the same text, and
            with them all studies of their patients, get the same split. Blank texts bind nothing.

    A patient who shares no note keeps the split when others are added. Raises UserError for bad shares.
    """
    train, val = _thresholds(shares)
    groups = _Groups()
    for study, patient in patient_ids.items():
        groups.join(("study", study), ("patient", patient))
        note = " ".join((notes or {}).get(study, "").split()).lower()
        if note:
            groups.join(("study", study), ("note", note))
    smallest: dict[Hashable, str] = {}
    for study, patient in patient_ids.items():
        group = groups.find(("study", study))
        smallest[group] = min(patient, smallest.get(group, patient))
    splits: dict[str, Split] = {}
    for study in patient_ids:
        place = _fraction(seed, smallest[groups.find(("study", study))])
        splits[study] = "train" if place < train else "val" if place < val else "test"
    return splits


def _thresholds(shares: Sequence[float]) -> tuple[float, float]:
    if len(shares) != len(SPLITS) or not all(0 <= share <= 1 for share in shares):
        raise UserError(f"shares must be three numbers from 0 to 1 (train, val, test), got {tuple(shares)}.")
    if abs(sum(shares) - 1) > 1e-6:
        raise UserError(f"shares must add up to 1, but {tuple(shares)} add up to {sum(shares):g}.")
    # A last share of exactly zero must stay empty although 0.9 + 0.1 may round below 1.
    train = 1.0 if shares[1] == shares[2] == 0 else shares[0]
    return train, 1.0 if shares[2] == 0 else shares[0] + shares[1]


def _fraction(seed: int, text: str) -> float:
    digest = hashlib.sha256(f"{seed}:{text}".encode()).digest()
    return int.from_bytes(digest[:7]) / 2**56


class _Groups:
    """Union-find over hashable members."""

    def __init__(self) -> None:
        self._parents: dict[Hashable, Hashable] = {}

    def find(self, member: Hashable) -> Hashable:
        root = self._parents.setdefault(member, member)
        while root != self._parents[root]:
            root = self._parents[root]
        while member != root:
            self._parents[member], member = root, self._parents[member]
        return root

    def join(self, one: Hashable, other: Hashable) -> None:
        self._parents[self.find(one)] = self.find(other)

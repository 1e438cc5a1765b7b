"""Splits by patient: seeded, stable when patients are added, never parting what belongs together."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence

from cxreport.errors import UserError
from cxreport.study import SPLITS, Split

LONG_WORDS = 50
"""A text of at least so many words is long. In the official split of IU X-ray the longest text that stands on
two sides, a template of a normal chest, has 48."""
RARE_STUDIES = 5
"""A text of at most so many studies is rare; templates of normal reports are not."""
SHARES = (0.7, 0.1, 0.2)
"""Train, val and test shares when nothing else is asked for (R2Gen's for IU X-ray)."""


def sha256_of_ids(ids: Iterable[str]) -> str:
    """SHA-256 (hex) of the sorted ids joined by newlines: equal for equal sets, whatever their order."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()


def note_digest(text: str) -> str:
    """A digest of a long text, equal for texts that differ in case and blanks only; empty for a short one."""
    words = text.lower().split()
    return hashlib.sha256(" ".join(words).encode()).hexdigest() if len(words) >= LONG_WORDS else ""


def binding_notes(digests: Mapping[str, str]) -> dict[str, str]:
    """Those of `digests` (study id -> :func:`note_digest`) that some other, but few, studies share.

    Such studies belong together: their text was written once. Short or frequent texts bind nothing, or
    the normal reports of a large release would tie it into one knot.
    """
    counts = Counter(digests.values())
    return {study: own for study, own in digests.items() if own and 1 < counts[own] <= RARE_STUDIES}


def by_patient(
    patient_ids: Mapping[str, str],
    seed: int,
    shares: Sequence[float] = SHARES,
    *,
    notes: Mapping[str, str] | None = None,
    labels: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Split]:
    """Split of every study, from a hash of its patient.

    Without `labels`, a patient who shares no note keeps the split when others are added, and the shares
    are met on average. With `labels`, the shares are also met for the studies of every label, rarest
    label first, and added patients may change the split of others.

    Args:
        patient_ids: study id -> patient id.
        seed: another seed gives another split.
        shares: of train, val and test; each in [0, 1], summing to 1.
        notes: study id -> text of its report where texts may be shared; studies with the same text, and
            with them all studies of their patients, get the same split. Blank texts bind nothing.
        labels: study id -> names of what it shows.

    Raises UserError for bad shares.
    """
    train, val = _thresholds(shares)
    groups = Groups()
    for study, patient in patient_ids.items():
        groups.join(("study", study), ("patient", patient))
        note = " ".join((notes or {}).get(study, "").split()).lower()
        if note:
            groups.join(("study", study), ("note", note))
    members: dict[Hashable, list[str]] = {}
    for study in patient_ids:
        members.setdefault(groups.find(("study", study)), []).append(study)
    studies = {min(patient_ids[study] for study in group): group for group in members.values()}
    if labels is None:
        places = {patient: _fraction(seed, patient) for patient in studies}
    else:
        shown = {patient: {label for s in group for label in labels[s]} for patient, group in studies.items()}
        places = stratified_places(shown, seed, {patient: len(group) for patient, group in studies.items()})
    splits: dict[str, Split] = {}
    for patient, group in studies.items():
        place = places[patient]
        split: Split = "train" if place < train else "val" if place < val else "test"
        splits.update(dict.fromkeys(group, split))
    return {study: splits[study] for study in patient_ids}


def stratified_places(
    labels: Mapping[str, Iterable[str]], seed: int, weights: Mapping[str, int] | None = None
) -> dict[str, float]:
    """A place in [0, 1) for every key, so that any interval holds its share of every stratum.

    The stratum of a key is the rarest of its labels. Within one, the keys stand in an order drawn from
    `seed`, spaced by their `weights` (1 each where None) from a start drawn from `seed`: systematic
    sampling. So the first tenth of all places holds a tenth of every stratum, within one, and contains the
    first hundredth.
    """
    counts = Counter(label for shown in labels.values() for label in set(shown))
    strata: dict[str, list[str]] = {}
    for key, shown in labels.items():
        rarest = min(set(shown), key=lambda label: (counts[label], label), default="")
        strata.setdefault(rarest, []).append(key)
    places: dict[str, float] = {}
    for name, keys in strata.items():
        keys.sort(key=lambda key: _fraction(seed, f"order:{key}"))
        weight = [1 if weights is None else weights[key] for key in keys]
        start = _fraction(seed, f"start:{name}")
        before = 0
        for key, own in zip(keys, weight, strict=True):
            places[key] = (before + start * own) / sum(weight)
            before += own
    return places


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


class Groups:
    """Union-find over hashable members: what is joined, directly or through others, has one root."""

    def __init__(self) -> None:
        self._parents: dict[Hashable, Hashable] = {}

    def find(self, member: Hashable) -> Hashable:
        """The root of what `member` is joined with."""
        root = self._parents.setdefault(member, member)
        while root != self._parents[root]:
            root = self._parents[root]
        while member != root:
            self._parents[member], member = root, self._parents[member]
        return root

    def join(self, one: Hashable, other: Hashable) -> None:
        """Put the two, and all that is joined with either, under one root."""
        self._parents[self.find(one)] = self.find(other)

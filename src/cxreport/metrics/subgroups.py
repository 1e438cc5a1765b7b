"""Scores by subgroup (sex, age band, view, ...), and the gap between the best and the worst."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cxreport.errors import UserError
from cxreport.metrics.statistics import Tally, difference, scores_of

UNKNOWN = "unknown"

MIN_GROUP = 20
"""Patients (studies, where no patient is known) that a subgroup needs to be scored."""

AGE_BANDS = ((18, "under 18"), (40, "18 to 39"), (65, "40 to 64"))
"""Upper ends of the bands of a numeric age; above the last is :data:`OLDEST`."""
OLDEST = "65 and over"

_NUMBER = re.compile(r"0*(\d{1,3})(?:\.\d+)?\s*(?:y|years?)?", re.IGNORECASE)


def subgroup_scores(
    tallies: Sequence[Tally],
    facts: Sequence[Mapping[str, str]],
    by: str,
    *,
    seed: int,
    groups: np.ndarray | None = None,
) -> dict[str, Any]:
    """Scores of every value of the fact `by`, and their gaps.

    Returns ``groups`` (value -> ``n``, ``patients``, ``scores``), ``gaps`` (score -> the values with the
    highest and the lowest score, ``value`` of the difference and its ``ci95``), and ``too_small`` (value ->
    patients) for values with fewer than :data:`MIN_GROUP`. Both ends of a gap are chosen by their scores,
    so with more than two values its interval is too favourable to a gap. An age in numbers is put into
    bands. Raises UserError where no study has the fact.
    """
    values = [_value(row.get(by, ""), by) for row in facts]
    if set(values) <= {UNKNOWN}:
        known = sorted({key for row in facts for key in row})
        raise UserError(
            f"--by {by}: no study has it; the file knows {', '.join(known) or 'nothing of its patients'}."
            " Give a CSV file with study_id and that column to --facts."
        )
    column = np.array(values)
    members = {value: column == value for value in sorted(set(values), key=_order)}
    sizes = {value: _patients(inside, groups) for value, inside in members.items()}
    table: dict[str, Any] = {
        value: {
            "n": int(members[value].sum()),
            "patients": sizes[value] if groups is not None else None,
            "scores": _scores_within(tallies, members[value], seed, groups),
        }
        for value in members
        if sizes[value] >= MIN_GROUP
    }
    too_small = {value: size for value, size in sizes.items() if size < MIN_GROUP}
    inside = {value: members[value] for value in table if value != UNKNOWN}
    return {"groups": table, "gaps": _gaps(tallies, inside, seed, groups), "too_small": too_small}


def age_band(age: str) -> str:
    """The band of an age in years (``47``, ``047Y``); other text stays what it is."""
    match = _NUMBER.fullmatch(age.strip())
    if match is None:
        return age.strip() or UNKNOWN
    return next((name for end, name in AGE_BANDS if int(match[1]) < end), OLDEST)


def _scores_within(
    tallies: Sequence[Tally], members: np.ndarray, seed: int, groups: np.ndarray | None
) -> dict[str, Any]:
    rows = scores_of([tally.within(members) for tally in tallies], seed=seed, groups=groups)
    return {name: row | {"n": int(members.sum())} for name, row in rows.items()}


def _gaps(
    tallies: Sequence[Tally], members: Mapping[str, np.ndarray], seed: int, groups: np.ndarray | None
) -> dict[str, Any]:
    if len(members) < 2:
        return {}
    gaps: dict[str, Any] = {}
    pairs: list[Tally] = []
    for tally in tallies:
        within = {value: tally.within(inside) for value, inside in members.items()}
        scores = {value: part.values() for value, part in within.items()}
        for place, name in enumerate(tally.names):
            high = max(scores, key=lambda value: scores[value][place])
            low = min(scores, key=lambda value: scores[value][place])
            gaps[name] = {"highest": high, "lowest": low}
            pairs.append(difference(within[high].only([name]), within[low].only([name])))
    for name, row in scores_of(pairs, seed=seed, groups=groups).items():
        gaps[name] |= {"value": row["value"], "ci95": row["ci95"]}
    return gaps


def _value(text: str, by: str) -> str:
    if by == "age":
        return age_band(text)
    return text.strip() or UNKNOWN


def _order(value: str) -> tuple[int, str]:
    """Bands of age by age, other values by name, what is unknown last."""
    bands = [*(name for _, name in AGE_BANDS), OLDEST]
    return (bands.index(value) if value in bands else len(bands) + (value == UNKNOWN), value)


def _patients(members: np.ndarray, groups: np.ndarray | None) -> int:
    return int(members.sum()) if groups is None else len(np.unique(groups[members]))

"""Two systems on the same studies: is the difference real, and how many studies would show it?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from cxreport.metrics.statistics import (
    Tally,
    blocks,
    difference,
    group_sums,
    percentile_interval,
    resampled_scores,
)

ROUNDS = 10_000
"""Random exchanges behind every p-value; its smallest value is 1 / (rounds + 1)."""

LEVEL, POWER = 0.05, 0.8
"""Two-sided level and power of the sample size."""

_TIE = 1e-12


def compare(
    first: Sequence[Tally], second: Sequence[Tally], *, seed: int, groups: np.ndarray | None = None
) -> dict[str, dict[str, Any]]:
    """Per score: ``value``, ``other``, ``difference`` with ``ci95``, ``p``, ``p_holm`` and ``needed``.

    `first` and `second` hold the same metrics of two systems on the same samples, with the same columns of
    statistics (so the mean over k runs compares with the mean over k copies of one system). The interval is
    a paired bootstrap, p comes from :func:`exchange_test`, ``p_holm`` is corrected over all scores here,
    and ``needed`` is :func:`needed_count` (None where the two do not differ).
    """
    rows: dict[str, dict[str, Any]] = {}
    count = len(first[0].statistics) if groups is None else int(groups.max()) + 1
    gaps = [difference(one, other) for one, other in zip(first, second, strict=True)]
    drawn = resampled_scores(gaps, seed=seed, groups=groups)
    for one, other, gap, scores in zip(first, second, gaps, drawn, strict=True):
        low, high = percentile_interval(scores)
        p_values = exchange_test(one, other, seed=seed, groups=groups)
        columns = (one.values(), other.values(), gap.values(), low, high, p_values, scores.std(axis=0))
        for name, *numbers in zip(gap.names, *columns, strict=True):
            value, theirs, apart, least, most, p, error = map(float, numbers)
            rows[name] = {"value": value, "other": theirs, "difference": apart, "ci95": [least, most]}
            rows[name] |= {"p": p, "needed": needed_count(apart, error, count)}
    for row, corrected in zip(rows.values(), holm([row["p"] for row in rows.values()]), strict=True):
        row["p_holm"] = corrected
    return rows


def exchange_test(
    first: Tally, second: Tally, *, seed: int, groups: np.ndarray | None = None, rounds: int = ROUNDS
) -> np.ndarray:
    """Two-sided p-values (M,) of approximate randomisation (Noreen 1989; Riezler and Maxwell 2005).

    Under the null hypothesis the two systems' drafts of a study could be exchanged. Each round exchanges
    the per-sample statistics of a random half of the samples (of whole groups, with `groups`) and takes
    the corpus scores anew. Where all exchanges are no more than `rounds`, each is made once and p is exact;
    otherwise p = (1 + rounds at least as far apart) / (1 + rounds).
    """
    mine, theirs = group_sums(first.statistics, groups), group_sums(second.statistics, groups)
    observed = np.abs(first.values() - second.values())
    change = theirs - mine
    count = len(change)
    exact = count < 63 and 2**count <= rounds
    rounds = 2**count if exact else rounds
    generator = np.random.default_rng(seed)
    extreme = np.zeros(len(observed))
    for start, rows in blocks(rounds, count):
        if exact:
            exchanged = np.arange(start, start + rows)[:, None] >> np.arange(count) & 1
        else:
            exchanged = generator.integers(2, size=(rows, count), dtype=np.int8)
        moved = exchanged.astype(np.float64) @ change
        apart = first.aggregate(mine.sum(axis=0) + moved) - second.aggregate(theirs.sum(axis=0) - moved)
        extreme += (np.abs(apart) >= observed - _TIE).sum(axis=0)
    return extreme / rounds if exact else (1 + extreme) / (1 + rounds)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Holm 1979): adjusted p-values in the order given."""
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = highest
    return corrected


def needed_count(difference: float, error: float, count: int) -> int | None:
    """Samples (or groups) that show `difference` at level 0.05, two-sided, with power 0.8.

    `error` is the standard error of the difference over `count` samples. It falls with the square root of
    the number, so n = count ((z_0.975 + z_0.8) error / difference)^2. None for no difference or a single
    sample, whose error is not known; the least is 2.
    """
    if abs(difference) <= _TIE or count < 2:
        return None
    normal = NormalDist()
    z = normal.inv_cdf(1 - LEVEL / 2) + normal.inv_cdf(POWER)
    return max(2, math.ceil(count * (z * error / difference) ** 2))

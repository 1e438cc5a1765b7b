"""Scores with intervals: a metric gives numbers per sample and says what their sums mean.

Everything that needs an interval is a :class:`Tally`: a metric, the difference of two systems, a subgroup,
the gap between two subgroups, the mean over seeds. So one bootstrap serves them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

RESAMPLES = 1000
"""Bootstrap resamples behind every interval."""

_BLOCK = 1_000_000
"""Most sample weights that are held at once."""


@dataclass(frozen=True)
class Tally:
    """What a metric counted in every sample, and how summed counts become scores.

    ``statistics`` is (N, K) float64, one row per sample; ``aggregate`` maps sums (..., K) to scores
    (..., M) in the order of ``names``. Because a corpus score depends on the samples only through the
    sums, a resample of the corpus costs one weighted sum instead of scoring every text again.
    """

    names: tuple[str, ...]
    statistics: np.ndarray
    aggregate: Callable[[np.ndarray], np.ndarray]

    def values(self) -> np.ndarray:
        """The corpus scores (M,)."""
        return self.aggregate(self.statistics.sum(axis=0))

    def per_sample(self) -> np.ndarray:
        """The scores of every sample alone (N, M)."""
        return self.aggregate(self.statistics)

    def scores(self, *, seed: int, groups: np.ndarray | None = None) -> dict[str, dict[str, Any]]:
        """``{name: {"value", "ci95": [low, high], "n"}}`` with a percentile bootstrap interval."""
        return scores_of([self], seed=seed, groups=groups)

    def only(self, names: Sequence[str]) -> Tally:
        """The same tally with the scores called `names` only, in their order."""
        places = [self.names.index(name) for name in names]
        return Tally(tuple(names), self.statistics, lambda sums: self.aggregate(sums)[..., places])

    def within(self, members: np.ndarray) -> Tally:
        """The same tally over the samples where `members` (N,) bool is true; the others count nothing."""
        return Tally(self.names, np.where(members[:, None], self.statistics, 0.0), self.aggregate)


def mean_tally(name: str, values: np.ndarray) -> Tally:
    """The tally of a metric whose corpus score is the mean of its per-sample `values` (N,)."""
    statistics = np.stack([values, np.ones(len(values))], axis=1)
    return Tally((name,), statistics, lambda sums: sums[..., :1] / sums[..., 1:])


def difference(first: Tally, second: Tally) -> Tally:
    """The scores of `first` minus those of `second`, over the same samples; names must agree."""
    return _combined(first.names, [first, second], lambda scores: scores[0] - scores[1])


def mean_over(tallies: Sequence[Tally]) -> Tally:
    """The mean of the scores of several runs of one system over the same samples; names must agree."""
    return _combined(tallies[0].names, tallies, lambda scores: np.mean(scores, axis=0))


def scores_of(
    tallies: Sequence[Tally], *, seed: int, groups: np.ndarray | None = None, resamples: int = RESAMPLES
) -> dict[str, dict[str, Any]]:
    """``{name: {"value", "ci95", "n"}}`` of all scores of `tallies`, whose resamples are the same ones."""
    rows: dict[str, dict[str, Any]] = {}
    drawn = resampled_scores(tallies, seed=seed, groups=groups, resamples=resamples)
    for tally, scores in zip(tallies, drawn, strict=True):
        low, high = percentile_interval(scores)
        for place, (name, value) in enumerate(zip(tally.names, tally.values(), strict=True)):
            interval = [float(low[place]), float(high[place])]
            rows[name] = {"value": float(value), "ci95": interval, "n": len(tally.statistics)}
    return rows


def bootstrap_interval(
    statistics: np.ndarray,
    aggregate: Callable[[np.ndarray], np.ndarray],
    *,
    seed: int,
    resamples: int = RESAMPLES,
    level: float = 0.95,
    groups: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile bootstrap interval (low (M,), high (M,)) of ``aggregate(sum of statistics)``.

    Samples are drawn with replacement (Efron and Tibshirani 1993, sec. 13.3); with `groups`, whole groups
    are (Davison and Hinkley 1997, sec. 3.8). The same seed and number of samples draw the same resamples,
    so intervals of several systems on one test set are paired.
    """
    tally = Tally((), statistics, aggregate)
    drawn = resampled_scores([tally], seed=seed, groups=groups, resamples=resamples)[0]
    return percentile_interval(drawn, level)


def percentile_interval(scores: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """The (low (M,), high (M,)) between which the middle `level` of the resampled `scores` (R, M) lies."""
    tail = (1 - level) / 2
    low, high = np.quantile(scores, [tail, 1 - tail], axis=0)
    return low, high


def resampled_scores(
    tallies: Sequence[Tally], *, seed: int, groups: np.ndarray | None = None, resamples: int = RESAMPLES
) -> list[np.ndarray]:
    """Scores (R, M) of every tally on R resamples of the samples, or of the groups of samples.

    `groups` (N,) numbers the group of every sample from 0, as :func:`group_numbers` does.
    """
    if not tallies:
        return []
    joined = np.concatenate([tally.statistics for tally in tallies], axis=1)
    ends = np.cumsum([tally.statistics.shape[1] for tally in tallies])[:-1]
    blocks_of: list[list[np.ndarray]] = [[] for _ in tallies]
    for sums in _sum_blocks(group_sums(joined, groups), seed, resamples):
        for tally, part, scores in zip(tallies, np.split(sums, ends, axis=1), blocks_of, strict=True):
            scores.append(tally.aggregate(part))
    return [np.concatenate(scores) for scores in blocks_of]


def resampled_sums(statistics: np.ndarray, *, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
    """Sums (R, K) of `statistics` (N, K) over R resamples of N rows with replacement."""
    return np.concatenate(list(_sum_blocks(statistics, seed, resamples)))


def resampled_counts(count: int, *, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
    """How often each of `count` rows is in each of R resamples with replacement: (R, count)."""
    return np.concatenate(list(_count_blocks(count, seed, resamples)))


def _sum_blocks(statistics: np.ndarray, seed: int, resamples: int) -> Iterator[np.ndarray]:
    """The sums of :func:`resampled_sums`, some resamples at a time."""
    for weights in _count_blocks(len(statistics), seed, resamples):
        yield weights @ statistics


def _count_blocks(count: int, seed: int, resamples: int) -> Iterator[np.ndarray]:
    """The rows of :func:`resampled_counts`, some resamples at a time."""
    if count == 0:
        raise ValueError("no samples to resample")
    generator = np.random.default_rng(seed)
    for _, rows in blocks(resamples, count):
        drawn = generator.integers(count, size=(rows, count))
        drawn += np.arange(rows)[:, None] * count
        yield np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)


def blocks(rounds: int, count: int) -> list[tuple[int, int]]:
    """(start, rows) of blocks of `rounds` that hold a bounded number of weights of `count` samples."""
    block = max(1, _BLOCK // count)
    return [(start, min(block, rounds - start)) for start in range(0, rounds, block)]


def group_numbers(names: Sequence[str]) -> np.ndarray:
    """The number (N,) of every name's group, counted from 0 in the order of first appearance."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)


def group_sums(statistics: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Sums (G, K) of the rows of `statistics` (N, K) by group; the rows themselves without groups."""
    if groups is None:
        return statistics
    sums = np.zeros((int(groups.max()) + 1, statistics.shape[1]))
    np.add.at(sums, groups, statistics)
    return sums


def _combined(
    names: tuple[str, ...], tallies: Sequence[Tally], combine: Callable[[list[np.ndarray]], np.ndarray]
) -> Tally:
    if any(tally.names != names for tally in tallies):
        raise ValueError(f"scores of different names do not combine: {[tally.names for tally in tallies]}")
    if len({len(tally.statistics) for tally in tallies}) != 1:
        raise ValueError("scores of different samples do not combine")
    ends = np.cumsum([tally.statistics.shape[1] for tally in tallies])[:-1]

    def aggregate(sums: np.ndarray) -> np.ndarray:
        parts = np.split(sums, ends, axis=-1)
        return combine([tally.aggregate(part) for tally, part in zip(tallies, parts, strict=True)])

    return Tally(names, np.concatenate([tally.statistics for tally in tallies], axis=1), aggregate)

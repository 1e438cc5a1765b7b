"""Scores with intervals: a metric gives numbers per sample and says what their sums mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

RESAMPLES = 1000
"""Bootstrap resamples behind every interval."""

_BLOCK = 4_000_000
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

    def scores(self, *, seed: int) -> dict[str, dict[str, Any]]:
        """``{name: {"value", "ci95": [low, high], "n"}}`` with a percentile bootstrap interval."""
        low, high = bootstrap_interval(self.statistics, self.aggregate, seed=seed)
        return {
            name: {"value": float(value), "ci95": [float(low[i]), float(high[i])], "n": len(self.statistics)}
            for i, (name, value) in enumerate(zip(self.names, self.values(), strict=True))
        }


def mean_tally(name: str, values: np.ndarray) -> Tally:
    """The tally of a metric whose corpus score is the mean of its per-sample `values` (N,)."""
    statistics = np.stack([values, np.ones(len(values))], axis=1)
    return Tally((name,), statistics, lambda sums: sums[..., :1] / sums[..., 1:])


def bootstrap_interval(
    statistics: np.ndarray,
    aggregate: Callable[[np.ndarray], np.ndarray],
    *,
    seed: int,
    resamples: int = RESAMPLES,
    level: float = 0.95,
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile bootstrap interval (low (M,), high (M,)) of ``aggregate(sum of statistics)``.

    Samples are drawn with replacement (Efron and Tibshirani 1993, sec. 13.3). The same seed and number
    of samples draw the same resamples, so intervals of several systems on one test set are paired.
    """
    scores = aggregate(resampled_sums(statistics, seed=seed, resamples=resamples))
    tail = (1 - level) / 2
    low, high = np.quantile(scores, [tail, 1 - tail], axis=0)
    return low, high


def resampled_sums(statistics: np.ndarray, *, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
    """Sums (R, K) of `statistics` (N, K) over R resamples of N rows with replacement."""
    count = len(statistics)
    if count == 0:
        raise ValueError("no samples to resample")
    generator = np.random.default_rng(seed)
    block = max(1, _BLOCK // count)
    sums = np.empty((resamples, statistics.shape[1]))
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = generator.integers(count, size=(rows, count))
        drawn += np.arange(rows)[:, None] * count
        weights = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
        sums[start : start + rows] = weights.astype(np.float64) @ statistics
    return sums

"""Retrieval: whether what belongs to a query is among the K candidates that score highest (R@K).

``similarities`` (Q, C) are of Q queries and C candidates, ``relevant`` (Q, C) is True where a candidate is a
right answer. Candidates of equal similarity come in a random order; the expectation over it is computed, so
that R@K of equal similarities is chance, and a duplicate gains nothing by its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cxreport.metrics.statistics import group_numbers, mean_tally, scores_of

DEPTHS = (1, 5, 10)


def hits_at(similarities: np.ndarray, relevant: np.ndarray, depth: int) -> np.ndarray:
    """The chance (Q,) that at least one right answer is among the first `depth` candidates.

    Raises ValueError where a query has no right answer.
    """
    if not relevant.any(axis=1).all():
        raise ValueError("a query has no right answer among the candidates")
    best = np.where(relevant, similarities, -np.inf).max(axis=1, keepdims=True)
    above = (similarities > best).sum(axis=1)
    tied = similarities == best
    equal, right = tied.sum(axis=1), (tied & relevant).sum(axis=1)
    places = np.clip(depth - above, 0, equal)
    # no right answer in `places` draws without replacement out of `equal`, of which `right` are right
    missed = np.ones(len(similarities))
    for drawn in range(int(places.max(initial=0))):
        left = np.clip(equal - right - drawn, 0, None) / np.clip(equal - drawn, 1, None)
        missed = np.where(drawn < places, missed * left, missed)
    return 1 - missed


def retrieval_scores(
    similarities: np.ndarray,
    relevant: np.ndarray,
    patients: Sequence[str],
    *,
    seed: int,
    depths: Sequence[int] = DEPTHS,
) -> dict[str, dict[str, Any]]:
    """``{"R@K": {"value", "ci95", "n", "chance", "times_chance"}}``; resamples draw patients of queries."""
    names = [f"R@{depth}" for depth in depths]
    hits = [hits_at(similarities, relevant, depth) for depth in depths]
    tallies = [mean_tally(name, values) for name, values in zip(names, hits, strict=True)]
    scores = scores_of(tallies, seed=seed, groups=group_numbers(list(patients)))
    for name, depth in zip(names, depths, strict=True):
        chance = float(hits_at(np.zeros_like(similarities), relevant, depth).mean())
        scores[name] |= {"chance": chance, "times_chance": scores[name]["value"] / chance}
    return scores

"""What a generator must beat: drafts that ignore the images, a retrieved report, and shuffled images.

Everything here is made from the train split, or from the model's own drafts; no reference is looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np

_TRAIN_BLOCK = 2048
_TIE = 1e-12


def most_frequent(train_reports: Sequence[str]) -> str:
    """The report that most train studies have; of several as frequent, the first in alphabetical order."""
    if not train_reports:
        raise ValueError("no train reports")
    counts = Counter(train_reports)
    return min(counts, key=lambda text: (-counts[text], text))


def random_train(train_reports: Sequence[str], count: int, seed: int) -> list[str]:
    """`count` train reports drawn with replacement, each study's as likely as another's."""
    if not train_reports:
        raise ValueError("no train reports")
    drawn = np.random.default_rng(seed).integers(len(train_reports), size=count)
    return [train_reports[index] for index in drawn.tolist()]


def nearest_neighbour(
    train_features: np.ndarray, train_reports: Sequence[str], query_features: np.ndarray
) -> list[str]:
    """For each of M queries the report of the train study whose features have the highest cosine.

    `train_features` is (N, D), `query_features` (M, D). Equal cosines (to 1e-12) give the earlier train
    study; a vector of zeros has cosine 0 with everything. Raises ValueError for features that are not
    finite or not one per report.
    """
    if len(train_features) != len(train_reports) or not len(train_features):
        raise ValueError(f"{len(train_features)} feature rows for {len(train_reports)} train reports")
    if not (np.isfinite(train_features).all() and np.isfinite(query_features).all()):
        raise ValueError("features are not finite")
    queries = _unit(query_features)
    best = np.full(len(queries), -np.inf)
    chosen = np.zeros(len(queries), dtype=np.int64)
    for start in range(0, len(train_features), _TRAIN_BLOCK):
        cosines = queries @ _unit(train_features[start : start + _TRAIN_BLOCK]).T
        highest = cosines.max(axis=1)
        earliest = (cosines >= highest[:, None] - _TIE).argmax(axis=1)
        better = highest > best + _TIE
        chosen[better] = start + earliest[better]
        best[better] = highest[better]
    return [train_reports[index] for index in chosen.tolist()]


def other_studies(truths: Sequence[Hashable], seed: int) -> list[int]:
    """A seeded permutation that gives every study another one, with another truth wherever possible.

    `truths` holds what is known of each study. Studies are shuffled and ordered by groups of equal truth,
    the largest first; each gets the one that is the largest group's size further on. So only studies of
    a group larger than half of all can meet their own truth, and never more of them than must. Raises
    ValueError for fewer than two studies.
    """
    count = len(truths)
    if count < 2:
        raise ValueError("a single study has no other study")
    groups: dict[Hashable, list[int]] = {}
    for index in np.random.default_rng(seed).permutation(count).tolist():
        groups.setdefault(truths[index], []).append(index)
    largest_first = sorted(groups.values(), key=len, reverse=True)
    order = [index for group in largest_first for index in group]
    shift = len(largest_first[0]) % count or 1
    partners = [0] * count
    for place, index in enumerate(order):
        partners[index] = order[(place + shift) % count]
    return partners


def _unit(features: np.ndarray) -> np.ndarray:
    values = features.astype(np.float64)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return values / np.where(lengths > 0, lengths, 1)

"""Scores of a classifier of one label: how well it ranks, and what a threshold makes of it.

``scores`` (N,) are higher where the label is more likely, ``truth`` (N,) is True where it is present. With
``weights`` (R, N), how often each of R resamples holds a sample, a function returns (R,) instead of a number.
"""

from __future__ import annotations

import numpy as np

from cxreport.metrics.statistics import RESAMPLES, group_numbers, resampled_counts


def auroc(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Area under the ROC curve: how often a present label scores above an absent one, ties counting half.

    NaN where only one class is there.
    """
    truth = np.asarray(truth, dtype=bool)
    counts = np.ones((1, len(truth))) if weights is None else weights.astype(np.float64)
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(np.asarray(scores)[order], prepend=-np.inf))
    present = np.add.reduceat(counts[:, order] * truth[order], starts, axis=1)
    absent = np.add.reduceat(counts[:, order] * ~truth[order], starts, axis=1)
    below = np.cumsum(absent, axis=1) - absent / 2
    with np.errstate(invalid="ignore"):
        areas: np.ndarray = (present * below).sum(axis=1) / (present.sum(axis=1) * absent.sum(axis=1))
    return areas[0] if weights is None else areas


def average_precision(scores: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Area under the precision-recall curve as average precision: the mean precision at every present label.

    Equal scores are one step, as in scikit-learn. NaN where no label is present.
    """
    truth = np.asarray(truth, dtype=bool)
    counts = np.ones((1, len(truth))) if weights is None else weights.astype(np.float64)
    order = np.argsort(-np.asarray(scores), kind="stable")
    ends = np.flatnonzero(np.diff(np.asarray(scores)[order], append=-np.inf))
    said = np.cumsum(counts[:, order], axis=1)[:, ends]
    hits = np.cumsum(counts[:, order] * truth[order], axis=1)[:, ends]
    precision = np.divide(hits, said, out=np.zeros_like(hits), where=said > 0)
    with np.errstate(invalid="ignore"):
        areas: np.ndarray = (np.diff(hits, prepend=0.0, axis=1) * precision).sum(axis=1) / hits[:, -1]
    return areas[0] if weights is None else areas


def f1_and_accuracy(scores: np.ndarray, truth: np.ndarray, threshold: float) -> tuple[float, float]:
    """F1 of the label and accuracy, where scores of at least `threshold` say that it is present."""
    said, truth = np.asarray(scores) >= threshold, np.asarray(truth, dtype=bool)
    hits = int((said & truth).sum())
    counted = int(said.sum() + truth.sum())
    return (2 * hits / counted if counted else 0.0), float((said == truth).mean())


def best_threshold(scores: np.ndarray, truth: np.ndarray) -> float:
    """The threshold of the largest F1: midway between two neighbouring scores, the lowest of equal ones.

    Belongs on a validation split; on the test split it is a leak.
    """
    levels = np.unique(scores)
    candidates = np.concatenate([levels[:1], (levels[:-1] + levels[1:]) / 2])
    rated = [f1_and_accuracy(scores, truth, threshold) for threshold in candidates]
    return float(candidates[rated.index(max(rated))])


def patient_weights(patients: list[str], *, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
    """How often each of `resamples` drawings of whole patients with replacement holds each study (R, N)."""
    groups = group_numbers(patients)
    return resampled_counts(int(groups.max()) + 1, seed=seed, resamples=resamples)[:, groups]


def over_runs(values: np.ndarray, *, seed: int) -> np.ndarray:
    """Means (R,) of scores (R, S) of S runs on R resamples, when also the runs are drawn anew.

    Every resample of the studies draws S runs with replacement. The deviation from the mean of all S is
    widened by sqrt(S / (S - 1)), because the runs are few: without it three runs would show two thirds of
    their variance. One run shows none.
    """
    rounds, runs = values.shape
    means: np.ndarray = values.mean(axis=1)
    if runs == 1:
        return means
    drawn = np.random.default_rng(seed).integers(runs, size=(rounds, runs))
    deviations = np.take_along_axis(values, drawn, axis=1).mean(axis=1) - means
    return means + np.sqrt(runs / (runs - 1)) * deviations

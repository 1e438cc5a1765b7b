"""Scores of a classifier of several labels: each label, their mean, and how far probabilities can be trusted.

``logits`` and ``truth`` are (N, L): N studies, L labels; ``truth`` is 1, 0, or NaN where it is not known.
What the scores need to be told of a validation split is a :class:`Calibration`; a test split decides nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cxreport.metrics.calibration import calibration_error, fit_temperature, probabilities_of, reliability
from cxreport.metrics.classification import auroc, average_precision, best_threshold, patient_weights
from cxreport.metrics.statistics import Tally, group_numbers, percentile_interval, scores_of

MIN_POSITIVES = 20
"""Studies with a label that it needs to enter the macro averages."""

_AREAS = {"auroc": auroc, "auprc": average_precision}


@dataclass(frozen=True, slots=True)
class Calibration:
    """A temperature, and for every label the probability after it from which on it is said to be present.

    A label has no threshold where the validation split has no study with it: it is never said.
    """

    temperature: float
    thresholds: Mapping[str, float | None]

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Probabilities (N, L) of log-odds."""
        return probabilities_of(logits, self.temperature)

    def present(self, names: Sequence[str], logits: np.ndarray) -> np.ndarray:
        """Which labels are said to be present, (N, L) bool."""
        limits = [self.thresholds.get(name) for name in names]
        return self.probabilities(logits) >= np.array([np.inf if each is None else each for each in limits])


def calibrate(names: Sequence[str], logits: np.ndarray, truth: np.ndarray) -> Calibration:
    """The temperature of least cross-entropy and the thresholds of largest F1, from a validation split."""
    temperature = fit_temperature(logits, truth)
    chances = probabilities_of(logits, temperature)
    thresholds: dict[str, float | None] = {}
    for place, name in enumerate(names):
        known = ~np.isnan(truth[:, place])
        there = (truth[known, place] == 1).any()
        thresholds[name] = best_threshold(chances[known, place], truth[known, place]) if there else None
    return Calibration(temperature, thresholds)


def label_scores(
    names: Sequence[str],
    logits: np.ndarray,
    truth: np.ndarray,
    patients: Sequence[str],
    calibration: Calibration,
    *,
    seed: int,
    min_positives: int = MIN_POSITIVES,
) -> dict[str, Any]:
    """``labels``, ``macro`` and ``calibration`` of a ``scores.json``; intervals draw whole patients.

    ``macro`` is the mean over the labels with at least `min_positives` studies that have it and as many that
    have not. Every score is ``{"value", "ci95", "n"}``, None where it does not exist.
    """
    weights = patient_weights(list(patients), seed=seed)
    groups = group_numbers(list(patients))
    known = ~np.isnan(truth)
    present, said = truth == 1, calibration.present(names, logits)
    counted = [
        place
        for place in range(len(names))
        if min(present[:, place].sum(), (truth[:, place] == 0).sum()) >= min_positives
    ]
    labels: dict[str, dict[str, Any]] = {}
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in _AREAS}
    for place, name in enumerate(names):
        rows = known[:, place]
        scores, true = logits[rows, place], present[rows, place]
        row: dict[str, Any] = {"positives": int(true.sum()), "negatives": int((~true).sum())}
        for area, function in _AREAS.items():
            both = bool(true.any() and not true.all())
            resampled = function(scores, true, weights[:, rows]) if both else np.array([np.nan])
            row[area] = _score(float(function(scores, true)), resampled, len(true)) if both else None
            if place in counted:
                drawn[area].append(resampled)
        row["threshold"] = calibration.thresholds.get(name)
        tally = _f1(said[:, place] & rows, present[:, place] & rows)
        row["f1"] = scores_of([tally], seed=seed, groups=groups)["f1"] if true.any() else None
        labels[name] = row
    macro: dict[str, Any] = {"labels": [names[place] for place in counted], "min_positives": min_positives}
    for area in _AREAS:
        values = [labels[names[place]][area]["value"] for place in counted]
        resampled = np.mean(drawn[area], axis=0) if counted else np.array([np.nan])
        macro[area] = _score(float(np.mean(values)), resampled, len(truth)) if counted else None
    return {
        "labels": labels,
        "macro": macro,
        "calibration": _calibration(logits, truth, calibration, seed, groups),
    }


def _calibration(
    logits: np.ndarray, truth: np.ndarray, calibration: Calibration, seed: int, groups: np.ndarray
) -> dict[str, Any]:
    before, after = probabilities_of(logits), calibration.probabilities(logits)
    tallies = [calibration_error(before, truth, "before"), calibration_error(after, truth, "after")]
    bins = [dataclasses.asdict(each) for each in reliability(after, truth) if each.count]
    ece = scores_of(tallies, seed=seed, groups=groups)
    return {"temperature": calibration.temperature, "ece": ece, "reliability": bins}


def _f1(said: np.ndarray, present: np.ndarray) -> Tally:
    statistics = np.stack([said & present, said, present], axis=1).astype(np.float64)

    def aggregate(sums: np.ndarray) -> np.ndarray:
        total = sums[..., 1:2] + sums[..., 2:3]
        return np.divide(2 * sums[..., :1], total, out=np.zeros_like(total), where=total > 0)

    return Tally(("f1",), statistics, aggregate)


def _score(value: float, resampled: np.ndarray, count: int) -> dict[str, Any]:
    """A score with its interval, of the resamples in which it exists."""
    low, high = percentile_interval(resampled[~np.isnan(resampled)])
    return {"value": value, "ci95": [float(low), float(high)], "n": count}

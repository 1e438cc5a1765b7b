"""How well scores that were never trained on labels rank the studies with a label above those without."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cxreport.metrics.classification import auroc, patient_weights
from cxreport.metrics.statistics import percentile_interval


def zero_shot_aurocs(
    names: Sequence[str],
    scores: np.ndarray,
    truth: np.ndarray,
    patients: Sequence[str],
    *,
    seed: int,
    min_positives: int = 20,
) -> dict[str, Any]:
    """AUROC of every label with at least `min_positives` studies that have it, and ``macro``, their mean.

    `scores` and `truth` are (N, L); truth is 1, 0, or NaN where it is not known. Intervals draw whole
    patients; a label that a resample has no study of is left out of its mean. ``macro`` is None where no
    label has enough.
    """
    weights = patient_weights(list(patients), seed=seed)
    found: dict[str, Any] = {}
    drawn = []
    for place, name in enumerate(names):
        known = ~np.isnan(truth[:, place])
        present = truth[known, place] == 1
        if present.sum() < min_positives or present.all():
            continue
        value = float(auroc(scores[known, place], present))
        resampled = auroc(scores[known, place], present, weights[:, known])
        drawn.append(resampled)
        found[name] = _score(value, resampled) | {"positives": int(present.sum()), "n": int(known.sum())}
    macro = None
    if found:
        mean = float(np.mean([row["value"] for row in found.values()]))
        macro = _score(mean, np.nanmean(drawn, axis=0)) | {"labels": len(found)}
    return {"macro": macro, "labels": found, "min_positives": min_positives}


def _score(value: float, resampled: np.ndarray) -> dict[str, Any]:
    low, high = percentile_interval(resampled[~np.isnan(resampled)])
    return {"value": value, "ci95": [float(low), float(high)]}

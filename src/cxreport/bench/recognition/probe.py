"""The linear probe: logistic regression on frozen features, its regularisation chosen on val."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cxreport.bench.recognition.features import Features
from cxreport.metrics.classification import auroc


@dataclass(frozen=True, slots=True)
class Probed:
    """``strength`` is the chosen C; ``val`` and ``test`` are scores (N,), the log-odds of the target."""

    strength: float
    val: np.ndarray
    test: np.ndarray


def probe(
    features: Features,
    places: Sequence[int],
    train_truth: np.ndarray,
    val_truth: np.ndarray,
    strengths: Sequence[float],
) -> Probed:
    """Fit on the training studies at `places` with every C; keep the one with the best AUROC on val.

    Of equal ones the most regularised is kept. Features are centred and scaled by the images of the whole
    train split, without its labels. The truth of the test split is not known here.
    """
    from sklearn.linear_model import LogisticRegression

    mean, deviation = features["train"].mean(axis=0), features["train"].std(axis=0)
    scaled = {name: (rows - mean) / np.where(deviation > 0, deviation, 1) for name, rows in features.items()}
    best: tuple[float, Probed] | None = None
    for strength in sorted(strengths):
        model = LogisticRegression(C=strength, max_iter=5000)
        model.fit(scaled["train"][list(places)], train_truth[list(places)])
        val, test = (model.decision_function(scaled[name]) for name in ("val", "test"))
        area = float(auroc(val, val_truth))
        if best is None or area > best[0]:
            best = area, Probed(strength, val, test)
    assert best is not None
    return best[1]

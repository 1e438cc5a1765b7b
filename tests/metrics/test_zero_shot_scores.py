"""Zero-shot AUROC against scikit-learn, and which labels enter the mean."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from cxreport.metrics.zero_shot import zero_shot_aurocs


def test_areas_are_those_of_scikit_learn_and_their_mean() -> None:
    rng = np.random.default_rng(3)
    truth = (rng.random((200, 4)) < [0.3, 0.5, 0.02, 0.4]).astype(float)
    truth[:50, 3] = np.nan
    scores = rng.normal(size=(200, 4)) + np.nan_to_num(truth)
    patients = [f"p{number // 2}" for number in range(200)]
    found = zero_shot_aurocs(["a", "b", "rare", "part"], scores, truth, patients, seed=1)
    assert list(found["labels"]) == ["a", "b", "part"]
    for name, place, rows in (("a", 0, slice(None)), ("b", 1, slice(None)), ("part", 3, slice(50, None))):
        expected = roc_auc_score(truth[rows, place], scores[rows, place])
        row = found["labels"][name]
        assert row["value"] == pytest.approx(expected)
        assert row["ci95"][0] < expected < row["ci95"][1]
        assert row["positives"] == truth[rows, place].sum()
    assert found["labels"]["part"]["n"] == 150
    mean = np.mean([row["value"] for row in found["labels"].values()])
    assert found["macro"]["value"] == pytest.approx(mean)
    widths = [row["ci95"][1] - row["ci95"][0] for row in found["labels"].values()]
    assert found["macro"]["ci95"][1] - found["macro"]["ci95"][0] < max(widths)


def test_no_label_with_enough_is_no_mean() -> None:
    found = zero_shot_aurocs(["a"], np.zeros((5, 1)), np.ones((5, 1)), list("abcde"), seed=1, min_positives=1)
    assert found["macro"] is None
    assert found["labels"] == {}

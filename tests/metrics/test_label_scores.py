"""Scores of several labels: against scikit-learn, with thresholds from another split, and what is missing."""

from __future__ import annotations

import numpy as np
import pytest

from cxreport.metrics.label_scores import Calibration, calibrate, label_scores
from cxreport.metrics.label_tables import classifier_tables

NAMES = ("often", "seldom", "never")
NAN = float("nan")


def drawn(count: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    generator = np.random.default_rng(seed)
    truth = (generator.random((count, 3)) < [0.3, 0.02, 0.0]).astype(float)
    logits = 2 * truth - 1 + generator.normal(0, 1, (count, 3))
    return logits, truth, [f"p{number // 2}" for number in range(count)]


def test_scores_equal_scikit_learn_and_only_frequent_labels_enter_the_mean() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    logits, truth, patients = drawn()
    truth[:50, 0] = NAN
    scores = label_scores(NAMES, logits, truth, patients, calibrate(NAMES, *drawn(seed=1)[:2]), seed=3)
    rows = scores["labels"]
    known, true = logits[50:, 0], truth[50:, 0]
    assert rows["often"]["auroc"]["value"] == pytest.approx(metrics.roc_auc_score(true, known))
    assert rows["often"]["auprc"]["value"] == pytest.approx(metrics.average_precision_score(true, known))
    assert rows["often"]["auroc"]["n"] == 350
    low, high = rows["often"]["auroc"]["ci95"]
    assert low < rows["often"]["auroc"]["value"] < high
    assert high - low < 0.12
    assert rows["never"]["auroc"] is rows["never"]["auprc"] is rows["never"]["f1"] is None
    assert rows["never"]["threshold"] is None
    assert scores["macro"]["labels"] == ["often"]
    assert scores["macro"]["auroc"]["value"] == rows["often"]["auroc"]["value"]
    both = label_scores(NAMES, logits, truth, patients, calibrate(NAMES, logits, truth), seed=3,
                        min_positives=2)  # fmt: skip
    mean = (rows["often"]["auroc"]["value"] + rows["seldom"]["auroc"]["value"]) / 2
    assert both["macro"]["labels"] == ["often", "seldom"]
    assert both["macro"]["auroc"]["value"] == pytest.approx(mean)


def test_thresholds_come_from_the_calibration_alone() -> None:
    """Probabilities 0.5 and 0.73; from 0.6 on one of two is said, which is right: F1 2/3; never said: 0."""
    logits, truth = np.array([[0.0], [1.0]]), np.array([[1.0], [1.0]])
    for threshold, wanted in ((0.6, 2 / 3), (0.4, 1.0), (None, 0.0)):
        chosen = Calibration(1.0, {"a": threshold})
        scores = label_scores(["a"], logits, truth, ["p", "q"], chosen, seed=0)
        assert scores["labels"]["a"]["f1"]["value"] == pytest.approx(wanted)
        assert scores["labels"]["a"]["auroc"] is None
        assert scores["macro"]["auroc"] is None
    warm = Calibration(10.0, {"a": 0.6})
    assert not warm.present(["a"], logits).any()


def test_intervals_draw_whole_patients() -> None:
    """Every study twice: with patients as pairs the interval is that of the studies once."""
    logits, truth, _ = drawn(120)
    chosen = calibrate(NAMES, logits, truth)
    once = label_scores(NAMES, logits, truth, [str(n) for n in range(120)], chosen, seed=5, min_positives=9)
    twice = label_scores(NAMES, np.repeat(logits, 2, axis=0), np.repeat(truth, 2, axis=0),
                         [str(n // 2) for n in range(240)], chosen, seed=5, min_positives=9)  # fmt: skip
    for name in ("auroc", "auprc"):
        assert twice["macro"][name]["ci95"] == pytest.approx(once["macro"][name]["ci95"])
    for when in ("before", "after"):
        ece = [each["calibration"]["ece"][when]["ci95"] for each in (once, twice)]
        assert ece[1] == pytest.approx(ece[0])


def test_tables_have_a_row_for_every_label_and_say_what_is_missing() -> None:
    logits, truth, patients = drawn()
    scores = label_scores(NAMES, logits, truth, patients, calibrate(NAMES, logits, truth), seed=3)
    (_, rows), (_, [calibrated]) = classifier_tables(scores)
    assert [row[0] for row in rows] == ["often*", "seldom", "never", "mean of the 1 with *"]
    assert rows[2][1:] == ["0", "-", "-", "-", "-"]
    assert calibrated[1] == f"{scores['calibration']['temperature']:.3f}"

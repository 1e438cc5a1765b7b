"""Scores of a classifier against scikit-learn, by hand, and the intervals over studies and runs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxreport.metrics.classification import (
    auroc,
    average_precision,
    best_threshold,
    f1_and_accuracy,
    over_runs,
    patient_weights,
)

SAMPLES = st.lists(
    st.tuples(st.integers(0, 6), st.booleans(), st.integers(0, 3)), min_size=4, max_size=40
).filter(lambda rows: {truth for _, truth, weight in rows if weight} == {True, False})


@settings(max_examples=60, deadline=None)
@given(SAMPLES)
def test_auroc_equals_scikit_learn_with_ties_and_weights(rows) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    scores, truth, weights = (np.array(column) for column in zip(*rows, strict=True))
    both = np.stack([np.ones(len(scores)), weights])
    plain, weighted = auroc(scores / 3, truth, both)
    assert plain == pytest.approx(metrics.roc_auc_score(truth, scores))
    assert weighted == pytest.approx(metrics.roc_auc_score(truth, scores, sample_weight=weights))
    assert auroc(scores / 3, truth) == pytest.approx(plain)


@settings(max_examples=60, deadline=None)
@given(SAMPLES)
def test_average_precision_equals_scikit_learn_with_ties_and_weights(rows) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    scores, truth, weights = (np.array(column) for column in zip(*rows, strict=True))
    plain, weighted = average_precision(scores / 3, truth, np.stack([np.ones(len(scores)), weights]))
    assert plain == pytest.approx(metrics.average_precision_score(truth, scores))
    assert weighted == pytest.approx(metrics.average_precision_score(truth, scores, sample_weight=weights))
    assert average_precision(scores / 3, truth) == pytest.approx(plain)
    assert np.isnan(average_precision(scores, np.zeros(len(scores))))


def test_a_constant_score_ranks_nothing_and_one_class_has_no_area() -> None:
    assert auroc(np.full(5, 0.3), np.array([1, 0, 1, 0, 0])) == 0.5
    assert np.isnan(auroc(np.arange(3), np.ones(3)))


def test_threshold_by_hand() -> None:
    """At 0.5 both present ones and one absent one are found: F1 is 4/5; every other threshold is worse."""
    scores, truth = np.array([0.9, 0.8, 0.6, 0.4, 0.1]), np.array([1, 0, 1, 0, 0])
    assert best_threshold(scores, truth) == pytest.approx(0.5)
    assert f1_and_accuracy(scores, truth, 0.5) == (pytest.approx(0.8), pytest.approx(0.8))
    assert f1_and_accuracy(scores, np.zeros(5), 2.0) == (0.0, 1.0)


def test_patients_are_drawn_whole() -> None:
    weights = patient_weights(["a", "b", "a", "c"], seed=1, resamples=500)
    assert weights.shape == (500, 4)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert weights[:, 0].std() > 0.5


def test_few_runs_show_their_whole_variance() -> None:
    """Runs 0, 1 and 2 on the same studies: the mean's variance is 1 / 3, not two thirds of that."""
    values = np.tile([0.0, 1.0, 2.0], (40_000, 1))
    means = over_runs(values, seed=2)
    assert means.mean() == pytest.approx(1, abs=0.02)
    assert means.var() == pytest.approx(1 / 3, rel=0.03)
    assert (over_runs(values[:, :1], seed=2) == 0).all()

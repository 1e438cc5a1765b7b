"""Intervals: agreement with a naive bootstrap, with the normal theory, and determinism."""

from __future__ import annotations

import numpy as np
import pytest

from cxreport.metrics.bleu import bleu
from cxreport.metrics.statistics import Tally, bootstrap_interval, mean_tally, resampled_sums


def test_resampled_sums_are_sums_of_whole_samples() -> None:
    statistics = np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]])
    sums = resampled_sums(statistics, seed=1, resamples=200)
    assert sums.shape == (200, 2)
    np.testing.assert_array_equal(sums[:, 1], 10 * sums[:, 0])
    assert sums[:, 0].min() >= 3
    assert sums[:, 0].max() <= 12
    assert len(np.unique(sums[:, 0])) > 5


def test_blocks_draw_every_resample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxreport.metrics.statistics._BLOCK", 70)
    sums = resampled_sums(np.ones((30, 1)), seed=0, resamples=7)
    np.testing.assert_array_equal(sums, np.full((7, 1), 30.0))


def test_interval_of_a_mean_agrees_with_the_normal_theory() -> None:
    values = np.random.default_rng(3).normal(5.0, 2.0, 400)
    low, high = bootstrap_interval(
        mean_tally("x", values).statistics, lambda s: s[..., :1] / s[..., 1:], seed=0
    )
    error = 1.96 * values.std() / np.sqrt(len(values))
    assert low[0] == pytest.approx(values.mean() - error, abs=0.03)
    assert high[0] == pytest.approx(values.mean() + error, abs=0.03)


def test_a_resample_of_bleu_is_a_true_corpus_bleu() -> None:
    hypotheses = ["the heart is normal", "no effusion", "left edema seen here"]
    references = ["the heart is enlarged", "no pleural effusion", "left edema is seen here"]
    tally = bleu(hypotheses, references)
    drawn = [2, 0, 2]
    expected = bleu([hypotheses[i] for i in drawn], [references[i] for i in drawn]).values()
    np.testing.assert_allclose(tally.aggregate(tally.statistics[drawn].sum(axis=0)), expected)


def test_same_seed_same_interval_other_seed_other_interval() -> None:
    tally = mean_tally("x", np.random.default_rng(0).random(50))
    assert tally.scores(seed=4) == tally.scores(seed=4)
    assert tally.scores(seed=4) != tally.scores(seed=5)


def test_one_sample_has_an_interval_without_width() -> None:
    assert mean_tally("x", np.array([0.25])).scores(seed=0) == {
        "x": {"value": 0.25, "ci95": [0.25, 0.25], "n": 1}
    }


def test_no_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="no samples"):
        resampled_sums(np.empty((0, 2)), seed=0)


def test_scores_name_every_column() -> None:
    tally = Tally(("a", "b"), np.array([[1.0, 2.0], [3.0, 4.0]]), lambda sums: sums)
    scores = tally.scores(seed=0)
    assert (scores["a"]["value"], scores["b"]["value"]) == (4.0, 6.0)
    assert scores["a"]["n"] == 2

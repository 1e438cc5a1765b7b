"""Intervals: agreement with a naive bootstrap, with the normal theory, and determinism."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from cxreport.metrics.bleu import bleu
from cxreport.metrics.statistics import (
    Tally,
    bootstrap_interval,
    difference,
    group_numbers,
    group_sums,
    mean_over,
    mean_tally,
    resampled_scores,
    resampled_sums,
    scores_of,
)


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


def test_groups_are_drawn_whole() -> None:
    """Two groups with constant values: the mean of a resample is one of the three mixtures."""
    values = np.array([0.0] * 3 + [1.0] * 3)
    groups = group_numbers(["a"] * 3 + ["b"] * 3)
    drawn = resampled_scores([mean_tally("x", values)], seed=0, groups=groups, resamples=300)[0]
    assert set(np.unique(drawn)) == {0.0, 0.5, 1.0}
    assert len(np.unique(resampled_scores([mean_tally("x", values)], seed=0)[0])) > 3


def test_a_group_of_its_own_each_changes_nothing() -> None:
    tally = mean_tally("x", np.random.default_rng(1).random(30))
    assert tally.scores(seed=2, groups=group_numbers([str(i) for i in range(30)])) == tally.scores(seed=2)


def test_sums_by_group_by_hand() -> None:
    statistics = np.array([[1.0, 10], [2, 20], [4, 40], [8, 80]])
    np.testing.assert_array_equal(group_numbers(["b", "a", "b", "c"]), [0, 1, 0, 2])
    np.testing.assert_array_equal(group_sums(statistics, np.array([0, 1, 0, 2])), [[5, 50], [2, 20], [8, 80]])


def test_all_tallies_see_the_same_resamples_together_or_alone() -> None:
    random = np.random.default_rng(3)
    tallies = [mean_tally("x", random.random(40)), mean_tally("y", random.random(40))]
    together = scores_of(tallies, seed=7)
    assert together == tallies[0].scores(seed=7) | tallies[1].scores(seed=7)


def test_interval_of_a_difference_is_paired() -> None:
    """Two systems that differ by 0.1 in every sample: the difference has no spread, whatever the samples."""
    values = np.random.default_rng(2).random(50)
    gap = difference(mean_tally("x", values + 0.1), mean_tally("x", values))
    low, high = gap.scores(seed=0)["x"]["ci95"]
    assert (low, high) == (pytest.approx(0.1), pytest.approx(0.1))


def test_mean_over_runs_and_parts_of_samples() -> None:
    first, second = mean_tally("x", np.array([1.0, 2.0, 6.0])), mean_tally("x", np.array([3.0, 3.0, 3.0]))
    assert mean_over([first, second]).values()[0] == 3.0
    assert first.within(np.array([True, True, False])).values()[0] == 1.5
    both = Tally(("a", "b"), np.array([[1.0, 2.0]]), lambda sums: sums)
    assert both.only(["b"]).values().tolist() == [2.0]


def test_what_does_not_belong_together_is_refused() -> None:
    one = mean_tally("x", np.ones(3))
    for other in (mean_tally("y", np.ones(3)), mean_tally("x", np.ones(4))):
        with pytest.raises(ValueError, match="do not combine"):
            difference(one, other)


def test_the_interval_agrees_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(8).exponential(2.0, 200)
    theirs = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=4000, rng=1
    ).confidence_interval
    low, high = bootstrap_interval(
        mean_tally("x", values).statistics, lambda s: s[..., :1] / s[..., 1:], seed=0, resamples=4000
    )
    assert low[0] == pytest.approx(theirs.low, abs=0.02)
    assert high[0] == pytest.approx(theirs.high, abs=0.02)


@pytest.mark.parametrize(("by_patient", "least", "most"), [(True, 0.90, 0.985), (False, 0.0, 0.80)])
def test_intervals_cover_the_truth_as_often_as_they_say(by_patient: bool, least: float, most: float) -> None:
    """Patients with four alike studies: intervals by patient cover in 95 % of worlds, by study far less."""
    random = np.random.default_rng(11)
    groups = np.repeat(np.arange(60), 4)
    covered = []
    for world in range(200):
        values = np.repeat(random.normal(0, 1, 60), 4) + random.normal(0, 0.3, 240)
        low, high = bootstrap_interval(
            mean_tally("x", values).statistics,
            lambda s: s[..., :1] / s[..., 1:],
            seed=world,
            resamples=200,
            groups=groups if by_patient else None,
        )
        covered.append(low[0] <= 0 <= high[0])
    assert least <= np.mean(covered) <= most


def test_memory_does_not_grow_with_the_resamples_but_for_their_scores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cxreport.metrics.statistics._BLOCK", 100_000)
    statistics = np.ones((1000, 3))
    peaks = []
    for resamples in (200, 4000):
        tracemalloc.start()
        resampled_sums(statistics, seed=0, resamples=resamples)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 2 * (4000 - 200) * 3 * 8
    assert peaks[0] > 100_000

"""Comparisons: exact tests by hand and by scipy, Holm's correction, sample size."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxreport.metrics.bleu import bleu
from cxreport.metrics.comparison import compare, exchange_test, holm, needed_count
from cxreport.metrics.statistics import mean_tally


def test_all_exchanges_of_three_samples_by_hand() -> None:
    """Differences 1, 2, 3: only none and all of the 8 exchanges are as far apart as 2."""
    first, second = mean_tally("x", np.array([1.0, 2.0, 3.0])), mean_tally("x", np.zeros(3))
    assert exchange_test(first, second, seed=0)[0] == 2 / 8


def test_an_exact_test_agrees_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    random = np.random.default_rng(4)
    one, other = random.random(11), random.random(11)
    theirs = stats.permutation_test(
        (one, other),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
    )
    ours = exchange_test(mean_tally("x", one), mean_tally("x", other), seed=0)
    assert ours[0] == pytest.approx(theirs.pvalue)


def test_exchanged_statistics_are_exchanged_drafts() -> None:
    """A corpus metric: every exchange is scored anew from the texts."""
    references = ["the heart is large", "no edema", "clear lungs and no effusion", "left rib fracture"]
    drafts = (
        ["the heart is normal", "edema", "clear lungs", "left rib fracture"],
        ["heart", "no edema", "no effusion and clear lungs", "fracture of a rib"],
    )
    observed = bleu(drafts[0], references).values() - bleu(drafts[1], references).values()
    extreme = np.zeros(4)
    for exchanged in product((0, 1), repeat=4):
        mine = [drafts[swap][place] for place, swap in enumerate(exchanged)]
        theirs = [drafts[1 - swap][place] for place, swap in enumerate(exchanged)]
        apart = bleu(mine, references).values() - bleu(theirs, references).values()
        extreme += np.abs(apart) >= np.abs(observed) - 1e-12
    ours = exchange_test(bleu(drafts[0], references), bleu(drafts[1], references), seed=0)
    np.testing.assert_allclose(ours, extreme / 16)


def test_random_exchanges_come_near_the_exact_test(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(9)
    one, other = (mean_tally("x", random.normal(mean, 1, 12)) for mean in (0.5, 0.0))
    exact = exchange_test(one, other, seed=0, rounds=4096)[0]
    monkeypatch.setattr("cxreport.metrics.statistics._BLOCK", 12 * 1000)
    drawn = exchange_test(one, other, seed=0, rounds=4000)[0]
    assert drawn == pytest.approx(exact, abs=0.03)
    assert 0.02 < exact < 0.9


def test_groups_are_exchanged_whole() -> None:
    """Two patients, four exchanges: p cannot be below 1/2, however many studies they have."""
    one, other = mean_tally("x", np.ones(40)), mean_tally("x", np.zeros(40))
    groups = np.repeat([0, 1], 20)
    assert exchange_test(one, other, seed=0, groups=groups)[0] == 0.5
    assert exchange_test(one, other, seed=0)[0] < 0.001


def test_equal_systems_are_not_different() -> None:
    one = mean_tally("x", np.random.default_rng(0).random(300))
    row = compare([one], [one], seed=0)["x"]
    assert (row["p"], row["p_holm"], row["difference"], row["needed"]) == (1.0, 1.0, 0.0, None)


def test_false_alarms_are_as_rare_as_the_level_says() -> None:
    random = np.random.default_rng(12)
    p_values = [
        exchange_test(*(mean_tally("x", random.random(25)) for _ in range(2)), seed=world, rounds=199)[0]
        for world in range(300)
    ]
    assert 0.02 < np.mean(np.array(p_values) <= 0.05) < 0.09


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
@settings(deadline=None)
def test_holm_only_raises_and_keeps_the_order(p_values: list[float]) -> None:
    corrected = holm(p_values)
    assert all(before <= after <= 1 for before, after in zip(p_values, corrected, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert np.all(np.diff(np.array(corrected)[order]) >= 0)


def test_needed_count_against_the_textbook() -> None:
    """A paired z-test: sd 1 of the differences, effect 0.5, level 0.05, power 0.8 need 31.4 pairs."""
    count = 400
    assert needed_count(0.5, 1 / count**0.5, count) == 32
    assert needed_count(-0.5, 1 / count**0.5, count) == 32
    assert needed_count(0.0, 0.1, count) is None
    assert needed_count(0.5, 0.0, 1) is None


def test_the_needed_number_shows_the_difference_in_four_of_five_worlds() -> None:
    random = np.random.default_rng(5)
    needed = needed_count(0.5, 1 / 100, 10_000)
    assert needed == 32
    shown = 0
    for world in range(150):
        apart = random.normal(0.5, 1.0, needed)
        p = exchange_test(mean_tally("x", apart), mean_tally("x", np.zeros(needed)), seed=world, rounds=400)
        shown += bool(p[0] <= 0.05)
    assert 0.70 < shown / 150 < 0.90


def test_a_row_holds_everything_that_a_reader_needs() -> None:
    random = np.random.default_rng(6)
    one, other = random.normal(0.6, 0.1, 80), random.normal(0.5, 0.1, 80)
    rows = compare(
        [mean_tally("x", one), mean_tally("y", one)], [mean_tally("x", other), mean_tally("y", one)], seed=3
    )
    row = rows["x"]
    assert row["difference"] == pytest.approx(one.mean() - other.mean())
    assert row["ci95"][0] < row["difference"] < row["ci95"][1]
    assert row["p"] < 0.001
    assert row["p_holm"] == pytest.approx(2 * row["p"])
    assert row["needed"] < 80
    assert rows["y"]["p_holm"] == 1.0

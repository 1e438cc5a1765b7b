"""Exact findings against counts made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxreport.metrics.counts import precision_recall_f1
from cxreport.metrics.findings import FindingCounts, Item

EFFUSION_LEFT: Item = ("pleural_effusion", "left")
EFFUSION_RIGHT: Item = ("pleural_effusion", "right")
NODULE_LEFT: Item = ("nodule", "left")
HEART: Item = ("cardiomegaly", None)

TRUTHS = [{EFFUSION_LEFT, EFFUSION_RIGHT}, {EFFUSION_LEFT, HEART}, {HEART}, set(), {NODULE_LEFT}]
DRAFTS = [{EFFUSION_LEFT}, {EFFUSION_RIGHT, HEART}, {HEART}, {HEART}, {("nodule", None)}]
# Effusion: tp 1 (left of study 1), fp 1 (right of study 2), fn 2; heart: tp 2, fp 1; nodule: fp 1, fn 1.


def scores_of(truths: list[set[Item]], drafts: list[set[Item]], min_positives: int) -> dict[str, float]:
    scores = FindingCounts.of(truths, drafts).tally(min_positives=min_positives).scores(seed=0)
    return {name: score["value"] for name, score in scores.items()}


def test_tables_by_hand() -> None:
    tables = FindingCounts.of(TRUTHS, DRAFTS).tables(min_positives=2)
    effusion = tables["by_kind"]["pleural_effusion"]
    assert (effusion["tp"], effusion["fp"], effusion["fn"], effusion["positives"]) == (1, 1, 2, 3)
    assert effusion["precision"] == 1 / 2
    assert effusion["recall"] == 1 / 3
    assert effusion["f1"] == pytest.approx(2 / 5)
    assert tables["kinds_counted"] == ["cardiomegaly", "pleural_effusion"]
    left, none = tables["by_side"]["left"], tables["by_side"]["none"]
    assert (left["tp"], left["fp"], left["fn"]) == (1, 0, 2)
    assert (none["tp"], none["fp"], none["fn"]) == (2, 2, 0)  # hearts, and the nodule without a side
    assert tables["by_kind_and_side"]["pleural_effusion right"]["fp"] == 1
    assert "mass left" not in tables["by_kind_and_side"]


def test_averages_by_hand() -> None:
    scores = scores_of(TRUTHS, DRAFTS, min_positives=2)
    assert scores["finding_precision"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert scores["finding_recall"] == pytest.approx((1 / 3 + 1) / 2)
    assert scores["finding_f1"] == pytest.approx((2 / 5 + 4 / 5) / 2)
    assert scores["finding_micro_f1"] == pytest.approx(2 * 3 / (2 * 3 + 3 + 3))  # the nodule counts here
    assert scores["finding_kind_f1"] == pytest.approx((1 + 4 / 5) / 2)
    assert scores["side_accuracy"] == 0.0  # three sided kinds named, none with exactly the right sides


def test_side_accuracy_asks_for_exactly_the_right_sides() -> None:
    truths = [{EFFUSION_LEFT, EFFUSION_RIGHT}, {EFFUSION_LEFT}, {NODULE_LEFT}, {HEART}, {NODULE_LEFT}]
    drafts = [{EFFUSION_LEFT, EFFUSION_RIGHT}, {EFFUSION_LEFT, EFFUSION_RIGHT}, {NODULE_LEFT}, {HEART}, set()]
    assert scores_of(truths, drafts, min_positives=1)["side_accuracy"] == pytest.approx(2 / 3)


def test_perfect_drafts_score_one_and_silent_ones_zero() -> None:
    perfect = scores_of(TRUTHS, TRUTHS, min_positives=1)
    assert set(perfect.values()) == {1.0}
    silent = scores_of(TRUTHS, [set() for _ in TRUTHS], min_positives=1)
    assert set(silent.values()) == {0.0}
    assert perfect.keys() - silent.keys() == {"side_accuracy"}  # nothing was found, so no side was named


def test_macro_averages_leave_out_rare_kinds_and_vanish_without_any() -> None:
    assert scores_of(TRUTHS, TRUTHS, min_positives=20).keys() == {"finding_micro_f1", "side_accuracy"}
    counts = FindingCounts.of(TRUTHS * 10, DRAFTS * 10)
    assert counts.kinds_counted(20) == ("cardiomegaly", "pleural_effusion")
    assert counts.kinds_counted(0) == ("cardiomegaly", "pleural_effusion", "nodule")


def test_normal_studies_without_any_finding_divide_by_nothing() -> None:
    scores = scores_of([set(), set()], [set(), set()], min_positives=1)
    assert scores == {"finding_micro_f1": 0.0}


def test_tables_hold_nothing_where_a_score_divides_by_zero() -> None:
    by_kind = FindingCounts.of([{HEART}, set()], [set(), {NODULE_LEFT}]).tables(min_positives=1)["by_kind"]
    rows = {kind: [by_kind[kind][key] for key in ("precision", "recall", "f1")] for kind in by_kind}
    assert rows["cardiomegaly"] == [None, 0.0, 0.0]  # never drafted
    assert rows["nodule"] == [0.0, None, 0.0]  # never true
    assert rows["mass"] == [None, None, None]


def test_perfect_drafts_keep_their_score_in_every_resample() -> None:
    score = FindingCounts.of(TRUTHS, TRUTHS).tally(min_positives=1).scores(seed=0)["finding_f1"]
    assert score["ci95"] == [1.0, 1.0]  # though most resamples lose a kind


def test_interval_of_the_macro_average_holds_the_value_and_shrinks_with_studies() -> None:
    few = FindingCounts.of(TRUTHS * 5, DRAFTS * 5).tally(min_positives=2).scores(seed=1)["finding_f1"]
    many = FindingCounts.of(TRUTHS * 80, DRAFTS * 80).tally(min_positives=2).scores(seed=1)["finding_f1"]
    for score in (few, many):
        assert score["ci95"][0] < score["value"] < score["ci95"][1]
    width_few, width_many = (score["ci95"][1] - score["ci95"][0] for score in (few, many))
    assert width_many == pytest.approx(width_few / 4, rel=0.25)  # 16 times the studies


@given(st.lists(st.integers(0, 30), min_size=3, max_size=3))
def test_f1_is_the_harmonic_mean(counts: list[int]) -> None:
    precision, recall, f1 = (float(score) for score in precision_recall_f1(*(np.array(c) for c in counts)))
    harmonic = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    assert f1 == pytest.approx(harmonic)
    assert f1 <= (precision + recall) / 2 + 1e-12

"""Subgroups: scores of parts, gaps, and what is too small or not known."""

from __future__ import annotations

import numpy as np
import pytest

from cxreport.errors import UserError
from cxreport.metrics.bleu import bleu
from cxreport.metrics.statistics import group_numbers, mean_tally
from cxreport.metrics.subgroups import age_band, subgroup_scores


def test_scores_of_a_subgroup_are_those_of_its_studies_alone() -> None:
    drafts = ["clear lungs are seen", "no edema here", "the heart is large", "left effusion"] * 20
    references = ["the lungs are clear", "no edema here now", "the heart is normal", "right effusion"] * 20
    sex = ["F", "F", "M", "M"] * 20
    table = subgroup_scores([bleu(drafts, references)], [{"sex": value} for value in sex], "sex", seed=1)
    for value in "FM":
        rows = [place for place, other in enumerate(sex) if other == value]
        alone = bleu([drafts[row] for row in rows], [references[row] for row in rows]).values()
        scores = table["groups"][value]["scores"]
        assert [scores[f"bleu{n}"]["value"] for n in range(1, 5)] == pytest.approx(alone.tolist())
        assert (table["groups"][value]["n"], scores["bleu1"]["n"]) == (40, 40)
    assert table["gaps"]["bleu1"]["highest"] == "F"
    gap = table["groups"]["F"]["scores"]["bleu1"]["value"] - table["groups"]["M"]["scores"]["bleu1"]["value"]
    assert table["gaps"]["bleu1"]["value"] == pytest.approx(gap)


def test_the_interval_of_a_gap_holds_zero_where_there_is_none() -> None:
    random = np.random.default_rng(2)
    sex = [{"sex": "FM"[place % 2]} for place in range(400)]
    same = subgroup_scores([mean_tally("x", random.normal(0.5, 0.1, 400))], sex, "sex", seed=0)["gaps"]["x"]
    assert same["ci95"][0] < 0 < same["ci95"][1]
    apart = random.normal(0.5, 0.1, 400) + np.array([0.1, 0.0] * 200)
    gap = subgroup_scores([mean_tally("x", apart)], sex, "sex", seed=0)["gaps"]["x"]
    assert (gap["highest"], gap["lowest"]) == ("F", "M")
    error = 1.96 * 0.1 * (2 / 200) ** 0.5
    assert gap["ci95"] == pytest.approx([gap["value"] - error, gap["value"] + error], abs=0.005)


def test_small_groups_are_named_and_not_scored() -> None:
    facts = [{"view": "PA"}] * 30 + [{"view": "AP"}] * 19 + [{}] * 25
    table = subgroup_scores([mean_tally("x", np.ones(74))], facts, "view", seed=0)
    assert list(table["groups"]) == ["PA", "unknown"]
    assert table["too_small"] == {"AP": 19}
    assert table["gaps"] == {}  # what is unknown is no end of a gap


def test_patients_and_not_studies_make_a_group_large_enough() -> None:
    facts = [{"sex": "FM"[place % 2]} for place in range(80)]
    groups = group_numbers([f"{place % 2} {place // 40}" for place in range(80)])
    table = subgroup_scores([mean_tally("x", np.ones(80))], facts, "sex", seed=0, groups=groups)
    assert (table["groups"], table["too_small"]) == ({}, {"F": 2, "M": 2})


@pytest.mark.parametrize(
    ("age", "band"),
    [
        ("17", "under 18"),
        ("18", "18 to 39"),
        ("39.9", "18 to 39"),
        ("064Y", "40 to 64"),
        ("65", "65 and over"),
        ("102 years", "65 and over"),
        ("50-60", "50-60"),
        ("", "unknown"),
    ],
)
def test_ages_in_years_are_put_into_bands(age: str, band: str) -> None:
    assert age_band(age) == band


def test_an_unknown_fact_is_told_with_those_that_are_known() -> None:
    with pytest.raises(UserError, match="--by race: no study has it; the file knows age, sex"):
        subgroup_scores([mean_tally("x", np.ones(2))], [{"sex": "F"}, {"age": "3"}], "race", seed=0)

"""Scores as the rows that people read."""

from __future__ import annotations

import pytest

from cxreport.errors import UserError
from cxreport.metrics.findings import FindingCounts
from cxreport.metrics.tables import (
    benchmark_table,
    comparison_table,
    finding_table,
    label_table,
    markdown,
    score_table,
    subgroup_tables,
    with_interval,
)


def score(value: float, low: float, high: float) -> dict[str, object]:
    return {"value": value, "ci95": [low, high], "n": 9}


def test_values_with_and_without_interval() -> None:
    assert with_interval(score(0.51234, 0.48, 0.5444)) == "0.512 [0.480, 0.544]"
    assert with_interval({"value": 0.25, "ci95": None, "n": 9}) == "0.250"
    assert with_interval(None) == "-"


def test_one_row_per_metric_and_one_column_per_system() -> None:
    scores = {
        "protocol": "findings.full.clean",
        "n": 9,
        "scores": {"unique_ratio": score(1, 1, 1), "bleu1": score(0.5, 0.4, 0.6), "new": score(2, 1, 3)},
        "controls": {
            "random_train": {"bleu1": score(0.1, 0.0, 0.2)},
            "shuffled_images": {"bleu1": score(0.2, 0.1, 0.3)},
        },
    }
    header, rows = score_table(scores)
    assert header == ["findings.full.clean, n = 9", "model", "shuffled images", "random report"]
    assert rows == [
        ["BLEU-1", "0.500 [0.400, 0.600]", "0.200 [0.100, 0.300]", "0.100 [0.000, 0.200]"],
        ["unique drafts", "1.000 [1.000, 1.000]", "-", "-"],
        ["new", "2.000 [1.000, 3.000]", "-", "-"],
    ]


def test_findings_by_kind_and_side() -> None:
    truths = [{("pleural_effusion", "left")}, {("cardiomegaly", None)}]
    drafts = [{("pleural_effusion", "left")}, {("pleural_effusion", "left")}]
    tables = FindingCounts.of(truths, drafts).tables(min_positives=1)
    header, rows = finding_table({"findings": tables})
    assert len(header) == 8
    row_of = {row[0]: row[1:] for row in rows}
    assert row_of["pleural effusion*"] == ["1", "1", "1", "0", "0.500", "1.000", "0.667"]
    assert row_of["nodule"] == ["0", "0", "0", "0", "-", "-", "-"]
    assert row_of["all without a side"] == ["1", "0", "0", "1", "-", "0.000", "0.000"]
    assert finding_table({"scores": {}})[1] == []


def test_missing_scores_and_deviations() -> None:
    assert with_interval({"value": None, "ci95": None, "n": 9, "reason": "x"}) == "missing"
    assert with_interval(score(0.5, 0.4, 0.6) | {"sd": 0.01}) == "0.500 ± 0.010 [0.400, 0.600]"


def labels(*names: str) -> dict[str, object]:
    return {name: score(0.5, 0.4, 0.6) for name in names}


def test_of_label_scores_the_averages_stand_in_the_first_table() -> None:
    macro, ignored = "chexpert14.rules.macro.uncertain0.f1", "chexpert14.rules.macro.uncertain_ignored.f1"
    one = "chexpert14.rules.edema.uncertain0"
    parts = [f"{one}.{part}" for part in ("precision", "recall", "f1", "positives")]
    scores = {"protocol": "raw", "n": 9, "scores": labels(macro, ignored, *parts)}
    assert [row[0] for row in score_table(scores)[1]] == [macro]
    assert label_table(scores)[1] == [["Edema", "rules", "0", *["0.500 [0.400, 0.600]"] * 3]]
    alone = {"protocol": "raw", "n": 9, "scores": labels(ignored)}
    assert [row[0] for row in score_table(alone)[1]] == [ignored]
    assert label_table(alone)[1] == []


def test_a_comparison_as_rows() -> None:
    row = {"value": 0.5, "other": 0.25, "difference": 0.25, "ci95": [0.1, 0.4], "p": 0.0002, "p_holm": 0.0004}
    comparison = {"unit": "patients", "with": "b.csv", "scores": {"bleu4": row | {"needed": 1234}}}
    header, rows = comparison_table({"comparison": comparison})
    assert header[-1] == "patients needed"
    assert rows == [["BLEU-4", "0.500", "0.250", "+0.250 [0.100, 0.400]", "< 0.001", "< 0.001", "1,234"]]
    assert comparison_table({})[1] == []


def test_subgroups_as_rows() -> None:
    groups = {
        sex: {"n": 30, "scores": {"bleu4": score(value, 0.1, 0.9)}} for sex, value in (("F", 0.5), ("M", 0.4))
    }
    gap = {"highest": "F", "lowest": "M", "value": 0.1, "ci95": [0.0, 0.2]}
    table = {"groups": groups, "gaps": {"bleu4": gap}, "too_small": {}}
    assert list(subgroup_tables({"subgroups": {"sex": table}})) == [
        (
            ["sex", "F, n = 30", "M, n = 30", "gap"],
            [["BLEU-4", "0.500 [0.100, 0.900]", "0.400 [0.100, 0.900]", "F - M: 0.100 [0.000, 0.200]"]],
        )
    ]


def test_columns_of_the_benchmark_and_one_protocol_in_a_table() -> None:
    first = {"protocol": "raw", "protocol_settings": {"cleaner": "none"}, "scores": labels("bleu4")}
    header, rows = benchmark_table({"ours": first})
    assert header == ["raw", "BLEU-4", "ROUGE-L", "METEOR", "CIDEr", "P", "R", "F1"]
    assert rows == [["ours", "0.500 [0.400, 0.600]", *["-"] * 6]]
    other = first | {"protocol": "cxpmrg", "protocol_settings": {"cleaner": "clean"}}
    with pytest.raises(UserError, match="ours was scored as raw but theirs as cxpmrg"):
        benchmark_table({"ours": first, "theirs": other})
    assert markdown((["a", "b"], [["1", "2"]])) == "| a | b |\n| --- | --- |\n| 1 | 2 |"

"""Scores as the rows that people read."""

from __future__ import annotations

from cxreport.metrics.findings import FindingCounts
from cxreport.metrics.tables import finding_table, score_table, with_interval


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

"""Baselines without images: what they are made of, and what they may not use."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cxreport.data.sources.phantom import SOURCE_VERSION, options_of, phantom_studies
from cxreport.data.store import write_dataset
from cxreport.errors import UserError
from cxreport.metrics.clinical import POSITIVE, rule_labels
from cxreport.metrics.controls import ALL_NORMAL, image_free, oracle_neighbour, read_train_reports
from cxreport.metrics.protocols import protocol_of
from cxreport.study import LABELS

CLEAN = protocol_of("findings.full.clean")


def test_the_normal_report_says_no_finding_and_nothing_else() -> None:
    labels = rule_labels([ALL_NORMAL, CLEAN.prepared(ALL_NORMAL)], "en")
    for row in labels == POSITIVE:
        assert [label for label, there in zip(LABELS, row, strict=True) if there] == ["No Finding"]


def test_without_train_reports_there_is_only_the_normal_report() -> None:
    drafts = image_free(["a", "b"], CLEAN, None, 0)
    assert drafts == {"all_normal": [CLEAN.prepared(ALL_NORMAL)] * 2}


def test_baselines_from_train_reports() -> None:
    train = ["no edema .", "no edema .", "large left pleural effusion ."]
    drafts = image_free(["small pleural effusion .", "clear ."] * 10, CLEAN, train, 3)
    assert set(drafts) == {"all_normal", "most_frequent", "random_train", "oracle_neighbour"}
    assert set(drafts["most_frequent"]) == {"no edema ."}
    assert set(drafts["random_train"]) == set(train)
    assert drafts["oracle_neighbour"] == ["large left pleural effusion .", "no edema ."] * 10
    assert image_free(["a"] * 20, CLEAN, train, 3) != image_free(["a"] * 20, CLEAN, train, 4)
    assert image_free(["a"] * 20, CLEAN, train, 3) == image_free(["a"] * 20, CLEAN, train, 3)


def test_the_oracle_takes_the_fewest_differences_and_draws_among_equals() -> None:
    train = np.array([[1, 0, 0], [1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=bool)
    labels = np.array([[1, 1, 1]] * 200 + [[1, 0, 0]], dtype=bool)
    drafts = oracle_neighbour(labels, train, ["a", "b", "c", "d"], seed=0)
    assert set(drafts[:200]) == {"b", "c"}
    assert 60 < drafts.count("b") < 140
    assert drafts[200] == "a"


def test_train_reports_from_every_kind_of_file(tmp_path: Path) -> None:
    text, table, annotation = (tmp_path / name for name in ("t.txt", "t.csv", "annotation.json"))
    text.write_text("clear\n\nedema\n")
    table.write_text("study,report\n1,clear\n2,\n3,edema\n")
    tree = {"train": [{"report": "clear"}, {"report": "edema"}], "test": [{"report": "a test report"}]}
    annotation.write_text(json.dumps(tree))
    for path in (text, table, annotation):
        assert read_train_reports(path, CLEAN) == ["clear", "edema"]


def test_train_reports_of_a_dataset_are_those_of_its_train_split(tmp_path: Path) -> None:
    dataset = write_dataset(
        phantom_studies(10, 32, "grammar", 1),
        tmp_path / "data",
        source="phantom",
        source_version=SOURCE_VERSION,
        options=options_of(10, 32, "grammar", 1),
        total=10,
    )
    reports = [report.findings for report in dataset.split("train").reports]
    assert read_train_reports(tmp_path / "data", CLEAN) == reports
    assert len(reports) == 7


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.txt", "\n\n", "holds no report with text"),
        ("t.csv", "text\na\n", "has no column 'report'"),
        ("t.json", "{", "is not JSON"),
        ("t.json", '{"test": []}', 'needs a list "train"'),
        ("t.json", '{"train": [{"report": null}]}', 'needs a list "train"'),
    ],
)
def test_bad_train_reports_are_told(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_train_reports(path, CLEAN)

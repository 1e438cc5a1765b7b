"""Phantoms as studies: splits, truth, seeds, the Open-i language."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxreport.data.sources.phantom import _apportioned, count_of, options_of, phantom_studies
from cxreport.errors import UserError
from cxreport.phantom.parser import parse


def items(study) -> set[tuple[str, str | None]]:
    sides = {"bilateral": ("left", "right")}
    return {(f.kind, side) for f in study.findings for side in sides.get(f.side, (f.side,))}


def test_grammar_studies_say_what_they_show() -> None:
    studies = list(phantom_studies(20, 48, "grammar", 5))
    assert Counter(study.split for study in studies) == {"train": 14, "val": 2, "test": 4}
    assert len({study.patient_id for study in studies}) == 20
    for study in studies:
        assert parse(study.report.findings) == items(study)
        assert study.labels["No Finding"] == int(not study.findings) or study.findings
    assert any(study.findings for study in studies)


def test_the_language_changes_the_words_alone() -> None:
    english, chinese = (list(phantom_studies(10, 32, language, 5)) for language in ("grammar", "grammar-zh"))
    for ours, theirs in zip(english, chinese, strict=True):
        assert (ours.views, ours.findings, ours.labels) == (theirs.views, theirs.findings, theirs.labels)
        assert theirs.metadata["language"] == "grammar-zh"
        assert theirs.report.findings.endswith("。")
        assert parse(theirs.report.findings) == parse(ours.report.findings) == items(theirs)


def test_processes_do_not_change_the_studies() -> None:
    many = list(phantom_studies(64, 32, "grammar", 11))
    few = list(phantom_studies(10, 32, "grammar", 11))
    assert [study.views for study in many[:7]] == [study.views for study in few[:7]]
    assert [study.report for study in many[:7]] == [study.report for study in few[:7]]


def test_seed_decides() -> None:
    first, second = (next(iter(phantom_studies(10, 32, "grammar", seed))) for seed in (1, 2))
    assert first.views != second.views


@pytest.mark.parametrize(
    ("count", "size", "words"),
    [(5, 64, "--studies"), (None, 64, "--studies"), (20, 8, "--size"), (20, 9999, "--size")],
)
def test_bad_arguments_are_named(count: int | None, size: int, words: str) -> None:
    with pytest.raises(UserError, match=words):
        list(phantom_studies(count, size, "grammar", 0))


def test_openi_studies_keep_the_split_and_the_real_text(shared: Path) -> None:
    archive = shared / "data" / "iu_xray" / "NLMCXR_reports.tgz"
    assert count_of(None, "openi", archive) == 2955
    studies = list(phantom_studies(20, 32, "openi", 3, archive))
    assert count_of(20, "openi", archive) == len(studies)
    assert Counter(study.split for study in studies) == {"train": 14, "val": 2, "test": 4}
    assert all(study.study_id.startswith("CXR") for study in studies)
    assert all(study.metadata["language"] == "openi" for study in studies)
    drawn = {finding.kind for study in studies for finding in study.findings or ()}
    assert drawn
    assert any(study.metadata["lookalike_codes"] for study in studies)


@given(st.integers(10, 3000), st.sampled_from([(7, 1, 2), (2069, 296, 590)]))
def test_splits_add_up_to_the_number_asked_for(count: int, weights: tuple[int, int, int]) -> None:
    counts = _apportioned(count, weights)
    assert sum(counts.values()) == count
    assert min(counts.values()) >= 1
    for number, weight in zip(counts.values(), weights, strict=True):
        assert abs(number - count * weight / sum(weights)) < 1


def test_any_number_of_openi_studies_is_that_many(shared: Path) -> None:
    archive = shared / "data" / "iu_xray" / "NLMCXR_reports.tgz"
    assert [count_of(count, "openi", archive) for count in (10, 12, 13, 5000)] == [10, 12, 13, 2955]
    assert Counter(study.split for study in phantom_studies(12, 32, "openi", 3, archive)) == {
        "train": 9,
        "val": 1,
        "test": 2,
    }


def test_options_of_openi_say_that_labels_are_of_the_drawing() -> None:
    grammar = {"language": "grammar", "studies": 12, "size": 64, "seed": 3}
    assert options_of(12, 64, "grammar", 3) == grammar
    assert "not labels of the reports" in options_of(12, 64, "openi", 3)["labels"]

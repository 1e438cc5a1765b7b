"""Phantoms as studies: splits, truth, seeds, the Open-i language."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from cxreport.data.sources.phantom import count_of, phantom_studies
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

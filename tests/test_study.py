"""The nouns."""

from __future__ import annotations

import dataclasses

import pytest

from cxreport.study import LABELS, Draft, Study


def test_labels_are_those_of_chexbert_in_its_order() -> None:
    assert len(LABELS) == len(set(LABELS)) == 14
    assert LABELS[0] == "Enlarged Cardiomediastinum"
    assert LABELS[-2:] == ("Support Devices", "No Finding")


def test_mean_logprob_is_the_mean_over_tokens() -> None:
    assert Draft("clear .", (-0.5, -1.0, -1.5)).mean_logprob == -1.0
    assert Draft("clear .").mean_logprob == 0.0


def test_a_study_does_not_change_and_knows_no_truth_by_default() -> None:
    study = Study("s", "p", ())
    assert study.findings is None
    with pytest.raises(dataclasses.FrozenInstanceError):
        study.study_id = "other"  # type: ignore[misc]

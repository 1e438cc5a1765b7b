"""Sides and severities of findings that draft and reference share."""

from __future__ import annotations

import numpy as np
import pytest

from cxreport.metrics.sides import side_and_severity


def rates(*pairs: tuple[str, str]) -> dict[str, float]:
    tally = side_and_severity([draft for draft, _ in pairs], [truth for _, truth in pairs])
    return dict(zip(tally.names, tally.values().tolist(), strict=True))


def test_by_hand() -> None:
    """Three sided effusions, one right, one swapped, one half of both; two severities, one wrong."""
    assert rates(
        ("Small left pleural effusion.", "Small left pleural effusion."),
        ("Right pleural effusion.", "Large left pleural effusion."),
        ("Left pleural effusion.", "Bilateral pleural effusions."),
        ("Mild cardiomegaly.", "Severe cardiomegaly."),
    ) == pytest.approx({"side_error_rate": 2 / 3, "side_swap_rate": 1 / 3, "severity_error_rate": 1 / 2})


def test_left_and_right_are_bilateral() -> None:
    pair = ("Left pleural effusion. Right pleural effusion.", "Bilateral pleural effusions.")
    assert rates(pair) == {"side_error_rate": 0, "side_swap_rate": 0}


@pytest.mark.parametrize(
    ("draft", "truth"),
    [
        ("Right pleural effusion.", "No left pleural effusion."),
        ("No right pleural effusion.", "Left pleural effusion."),
        ("Pleural effusion.", "Left pleural effusion."),
        ("Right pneumothorax.", "Left pleural effusion."),
        ("", "Left pleural effusion."),
    ],
)
def test_nothing_to_compare(draft: str, truth: str) -> None:
    assert rates((draft, truth)) == {}


def test_a_finding_that_did_not_change_counts() -> None:
    pair = ("Right basilar atelectasis is unchanged.", "Left basilar atelectasis.")
    assert rates(pair) == {"side_error_rate": 1, "side_swap_rate": 1}


def test_resamples_without_anything_to_compare_are_zero() -> None:
    tally = side_and_severity(["Right effusion.", ""], ["Left effusion.", ""])
    assert np.array_equal(tally.per_sample(), [[1, 1], [0, 0]])

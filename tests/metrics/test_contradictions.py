"""A draft against itself."""

from __future__ import annotations

import pytest

from cxreport.metrics.contradictions import contradiction_rates, contradictions


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Small right pleural effusion. The heart is normal. No pleural effusion.", "Pleural Effusion"),
        ("The heart size is normal. There is cardiomegaly.", "Cardiomegaly"),
        ("left pneumothorax . no pneumothorax is seen .", "Pneumothorax"),
        ("Bilateral pleural effusions. No left pleural effusion.", "Pleural Effusion"),
    ],
)
def test_a_thing_and_its_opposite(text: str, label: str) -> None:
    assert {yes.label for yes, _ in contradictions(text)} == {label}
    assert all(yes.status == "positive" and no.status == "negative" for yes, no in contradictions(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Right pleural effusion. No left pleural effusion.",
        "There is a small pleural effusion. No large pleural effusion.",
        "No pneumothorax. Small pleural effusion.",
        "No pneumothorax. No pneumothorax.",
        "Possible pneumonia. No effusion.",
        "Streaky opacities in the left base. The lungs are otherwise clear.",
    ],
)
def test_no_contradiction(text: str) -> None:
    assert contradictions(text) == []


def test_rates() -> None:
    bad, good = "Pneumothorax. No pneumothorax.", "No pneumothorax."
    assert contradiction_rates([bad, good, good, ""], [bad, bad, good, good]).values() == pytest.approx(
        [0.25, 0.5]
    )

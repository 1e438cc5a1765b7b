"""Claims of a comparison with an earlier exam."""

from __future__ import annotations

import pytest

from cxreport.metrics.priors import prior_claims, prior_hallucinations


@pytest.mark.parametrize(
    ("text", "claims"),
    [
        ("The heart is unchanged in size.", ["unchanged"]),
        ("No significant change in the left effusion.", ["No significant change"]),
        ("No interval change.", ["No interval change"]),
        ("Compared to the prior radiograph the effusion is smaller.", ["Compared to", "prior radiograph"]),
        ("Previously seen nodule is no longer visible.", ["Previously seen"]),
        (
            "Stable cardiomegaly. There is a new right effusion.",
            ["Stable cardiomegaly", "new right effusion"],
        ),
        ("The edema has improved.", ["has improved"]),
        ("The tube has been removed in the interval.", ["has been removed", "in the interval"]),
        ("cardiomegaly is again noted .", ["again noted"]),
        ("since the previous exam , no pneumothorax", ["since the previous"]),
    ],
)
def test_claims_are_found(text: str, claims: list[str]) -> None:
    assert [claim.lower() for claim in prior_claims(text)] == [claim.lower() for claim in claims]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The lungs are clear. No effusion.",
        "No prior studies are available for comparison.",
        "Comparison: none.",
        "Prior granulomatous disease.",
        "Status post prior median sternotomy.",
        "Degenerative changes of the spine. Mild degenerative change.",
        "Increased interstitial markings.",
        "The interval between the ribs is normal.",
        "Two views of the chest were obtained, with no change of position.",
    ],
)
def test_other_texts_claim_nothing(text: str) -> None:
    assert prior_claims(text) == []


def test_rates_by_hand() -> None:
    """Two of four drafts claim a change; of the three references that do not, one is drafted with a claim."""
    drafts = ["Stable cardiomegaly.", "Unchanged effusion.", "No effusion.", ""]
    truths = ["Cardiomegaly.", "Effusion is unchanged.", "No effusion.", "Normal."]
    tally = prior_hallucinations(drafts, truths)
    assert tally.names == ("prior_claim_rate", "prior_hallucination_rate")
    assert tally.values() == pytest.approx([1 / 2, 1 / 3])


def test_no_rate_without_a_reference_that_is_silent() -> None:
    assert prior_hallucinations(["Clear."], ["Unchanged."]).names == ("prior_claim_rate",)

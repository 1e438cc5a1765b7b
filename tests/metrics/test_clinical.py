"""Label scores against scikit-learn, and what every choice in their names means."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cxreport.metrics.clinical import (
    ABSENT,
    LABEL_SETS,
    NEGATIVE,
    POSITIVE,
    SCORES,
    TOP_5,
    UNCERTAIN,
    UNCERTAINTY,
    label_tally,
    slug,
)
from cxreport.metrics.counts import check_f1
from cxreport.study import LABELS

CODES = np.random.default_rng(5).choice(4, size=(2, 60, 14), p=[0.6, 0.2, 0.1, 0.1]).astype(np.int8)


def values(hypotheses: np.ndarray, references: np.ndarray) -> dict[str, float]:
    tally = label_tally(hypotheses, references, "rules")
    return dict(zip(tally.names, tally.values().tolist(), strict=True))


@pytest.mark.parametrize("group", LABEL_SETS)
@pytest.mark.parametrize(
    ("average", "theirs"), [("macro", "macro"), ("micro", "micro"), ("example", "samples")]
)
@pytest.mark.parametrize("uncertainty", ["uncertain0", "uncertain1"])
def test_averages_are_those_of_scikit_learn(group: str, average: str, theirs: str, uncertainty: str) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    positive = [POSITIVE] if uncertainty == "uncertain0" else [POSITIVE, UNCERTAIN]
    drafts, truths = (np.isin(codes, positive)[:, LABEL_SETS[group]] for codes in CODES)
    expected = metrics.precision_recall_fscore_support(truths, drafts, average=theirs, zero_division=0)[:3]
    found = values(*CODES)
    ours = [found[f"{group}.rules.{average}.{uncertainty}.{score}"] for score in SCORES]
    assert ours == pytest.approx(expected, abs=1e-12)


def test_one_label_by_hand() -> None:
    references, hypotheses = np.zeros((2, 5, 14), dtype=np.int8)
    effusion = LABELS.index("Pleural Effusion")
    references[:, effusion] = [POSITIVE, POSITIVE, NEGATIVE, UNCERTAIN, ABSENT]
    hypotheses[:, effusion] = [POSITIVE, NEGATIVE, POSITIVE, POSITIVE, UNCERTAIN]
    found = values(hypotheses, references)
    stem = "chexpert14.rules.pleural_effusion"
    scores = {
        uncertainty: [found[f"{stem}.{uncertainty}.{score}"] for score in SCORES]
        for uncertainty in UNCERTAINTY
    }
    assert found[f"{stem}.uncertain0.positives"] == 2
    assert found[f"{stem}.uncertain1.positives"] == 3
    assert scores["uncertain0"] == pytest.approx([1 / 3, 1 / 2, 2 / 5])  # tp 1, fp 2, fn 1
    assert scores["uncertain1"] == pytest.approx([2 / 4, 2 / 3, 4 / 7])  # tp 2, fp 2, fn 1
    assert scores["uncertain_ignored"] == pytest.approx([1 / 2, 1 / 2, 1 / 2])  # tp 1, fp 1, fn 1


def test_a_hedging_draft_is_not_left_out() -> None:
    """Only the reference's uncertainty takes a label out of the count."""
    references, hypotheses = np.zeros((2, 3, 14), dtype=np.int8)
    references[:, 0], hypotheses[:, 0] = [POSITIVE, POSITIVE, UNCERTAIN], [POSITIVE, UNCERTAIN, ABSENT]
    assert values(hypotheses, references)["chexpert14.rules.micro.uncertain_ignored.recall"] == 1 / 2


def test_labels_that_nobody_has_lower_the_macro_average_and_not_the_present_one() -> None:
    references = np.zeros((3, 14), dtype=np.int8)
    references[:, LABELS.index("Edema")] = POSITIVE
    found = values(references, references)
    assert found["chexpert14.rules.macro.uncertain0.f1"] == pytest.approx(1 / 14)
    assert found["chexpert5.rules.macro.uncertain0.f1"] == pytest.approx(1 / 5)
    assert found["chexpert14.rules.macro_present.uncertain0.f1"] == 1.0
    assert found["chexpert14.rules.micro.uncertain0.f1"] == 1.0


def test_macro20_is_over_the_labels_that_20_references_have() -> None:
    references = np.zeros((30, 14), dtype=np.int8)
    references[:20, LABELS.index("Edema")] = references[:19, LABELS.index("Fracture")] = POSITIVE
    hypotheses = references.copy()
    hypotheses[10:, LABELS.index("Edema")] = ABSENT
    hypotheses[:, LABELS.index("Fracture")] = ABSENT
    found = values(hypotheses, references)
    assert found["chexpert14.rules.macro20.uncertain0.f1"] == pytest.approx(2 / 3)  # precision 1, recall 1/2
    assert found["chexpert14.rules.macro_present.uncertain0.f1"] == pytest.approx(1 / 3)


def test_two_empty_sets_of_labels_score_0() -> None:
    nothing = np.zeros((4, 14), dtype=np.int8)
    assert set(values(nothing, nothing).values()) == {0.0}


@given(arrays(np.int8, (2, 7, 14), elements=st.integers(0, 3)))
@settings(deadline=None, max_examples=60)
def test_no_f1_is_above_the_mean_of_precision_and_recall(codes: np.ndarray) -> None:
    found = values(codes[0], codes[1])
    check_f1({name: {"value": value} for name, value in found.items()})
    assert all(0 <= value <= 1 for name, value in found.items() if not name.endswith("positives"))


def test_an_f1_above_the_mean_is_refused() -> None:
    scores = {f"x.{score}": {"value": value} for score, value in zip(SCORES, (0.2, 0.4, 0.31), strict=True)}
    with pytest.raises(ArithmeticError, match=r"x\.f1 is 0\.31, above the mean of 0\.2 and 0\.4"):
        check_f1(scores)
    scores["x.f1"]["value"] = 0.3
    check_f1(scores)


def test_a_resample_is_a_true_score_of_the_resampled_studies() -> None:
    tally = label_tally(*CODES, "rules")
    drawn = np.random.default_rng(0).integers(60, size=60)
    expected = label_tally(CODES[0][drawn], CODES[1][drawn], "rules")
    present = [
        place
        for place, name in enumerate(tally.names)
        if not {"macro_present", "macro20"} & {*name.split(".")}
    ]
    ours = tally.aggregate(tally.statistics[drawn].sum(axis=0))
    np.testing.assert_allclose(ours[present], expected.values()[present])


def test_names_are_complete() -> None:
    tally = label_tally(*CODES, "chexbert")
    assert len(tally.names) == len(set(tally.names)) == 3 * (2 * 5 * 3 + 14 * 4)
    assert tally.values().shape == (len(tally.names),)
    assert slug("No Finding") == "no_finding"
    assert [LABELS[place] for place in LABEL_SETS["chexpert5"]] == list(TOP_5)


def test_other_shapes_and_codes_are_refused() -> None:
    good = np.zeros((2, 14), dtype=np.int8)
    for bad in (np.zeros((2, 5), dtype=np.int8), np.full((2, 14), 4, dtype=np.int8), good[:1]):
        with pytest.raises(ValueError, match="codes must be"):
            label_tally(bad, good, "rules")

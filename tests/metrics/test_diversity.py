"""Diversity, and why a language score needs it beside itself."""

from __future__ import annotations

import pytest

from cxreport.metrics.bleu import bleu
from cxreport.metrics.diversity import length_ratio, most_common_share, unique_ratio

NORMAL = "the heart is normal in size . the lungs are clear . no pleural effusion or pneumothorax ."
VARIANTS = (
    "the heart is normal in size . the lungs are clear . no pneumothorax or pleural effusion .",
    "heart size is normal . the lungs are clear . no pleural effusion or pneumothorax is seen .",
    "the cardiac silhouette is normal in size . the lungs are clear . no effusion or pneumothorax .",
    "the heart is enlarged . there is a small left pleural effusion . no pneumothorax .",
)


def test_by_hand() -> None:
    drafts = ["a b", "a  b", "c", "d e f"]
    assert unique_ratio(drafts) == 3 / 4
    assert most_common_share(drafts).values()[0] == 2 / 4
    ratio, words = length_ratio(drafts, ["a b c d"] * 4).values()
    assert (ratio, words) == (8 / 16, 8 / 4)


def test_several_references_count_with_their_mean_length() -> None:
    assert length_ratio(["a b c"], [["a", "a b c"]]).values()[0] == 3 / 2


def test_empty_references_do_not_divide_by_zero() -> None:
    assert length_ratio(["a"], [""]).values()[0] == 1.0


def test_one_report_for_everybody_scores_well_and_only_diversity_tells() -> None:
    references = list(VARIANTS) * 150
    drafts = [NORMAL] * len(references)
    assert bleu(drafts, references).values()[3] > 0.4
    assert unique_ratio(drafts) == pytest.approx(1 / 600)
    assert most_common_share(drafts).values()[0] == 1.0

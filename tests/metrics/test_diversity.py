"""Diversity, and why a language score needs it beside itself."""

from __future__ import annotations

import pytest

from cxreport.metrics.bleu import bleu
from cxreport.metrics.diversity import (
    distinct_ratio,
    diversity_values,
    length_ratio,
    most_common_share,
    repeated_sentences,
    unique_ratio,
    vocabulary_coverage,
)

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


def test_distinct_ngrams_and_vocabulary_by_hand() -> None:
    drafts = ["a b a", "a b", "c"]
    assert distinct_ratio(drafts, 1) == 3 / 6
    assert distinct_ratio(drafts, 2) == 2 / 3
    assert distinct_ratio(["a", ""], 2) == 0.0
    assert vocabulary_coverage(["a b", "x"], ["a c", "d b"]) == 2 / 4
    assert vocabulary_coverage(["a"], [""]) == 0.0


def test_repeated_sentences_by_hand() -> None:
    drafts = [
        "the heart is normal . the heart is normal . no edema .",
        "Nodule of 1.5 cm. No edema. NO EDEMA!",
        "clear",
        "",
    ]
    tally = repeated_sentences(drafts)
    assert tally.statistics.tolist() == [[1, 3], [1, 3], [0, 1], [0, 0]]
    assert tally.values()[0] == 2 / 7
    assert repeated_sentences([""]).values()[0] == 0.0
    assert repeated_sentences(["心影正常。心影正常。"]).values()[0] == 1 / 2
    assert repeated_sentences(["views . views . views . views ."]).values()[0] == 3 / 4


def test_all_values_of_a_set_by_name() -> None:
    found = diversity_values(["a b", "a b"], ["a b c", "d"])
    assert found == {"unique_ratio": 0.5, "distinct1": 0.5, "distinct2": 0.5, "vocabulary_coverage": 0.5}

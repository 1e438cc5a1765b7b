"""The Chinese labeler against hand-written sentences."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_table import read_table

from cxreport.metrics.labeler import CODES, label_matrix, label_report

ROWS = read_table("chinese_sentences.txt")
SENTENCES = [sentence for sentence, _ in ROWS]


@pytest.mark.parametrize(("sentence", "expected"), ROWS, ids=SENTENCES)
def test_a_sentence_gets_the_statuses_that_a_reader_gives_it(sentence: str, expected: dict[str, str]) -> None:
    labels = label_report(sentence, "zh").labels
    assert {label: labels[label] for label in expected} == expected


def test_there_are_enough_sentences_and_each_stands_once() -> None:
    assert len(SENTENCES) >= 80
    assert len(set(SENTENCES)) == len(SENTENCES)


def test_evidence_has_place_side_severity_and_cue() -> None:
    text = "双肺野清晰。左侧少量胸腔积液，未见气胸。"
    mentions = label_report(text, "zh").mentions
    assert [(one.label, one.text, one.side, one.severity, one.cue) for one in mentions[-2:]] == [
        ("Pleural Effusion", "胸腔积液", "left", "mild", ""),
        ("Pneumothorax", "气胸", None, None, "未见"),
    ]
    assert all(text[one.start : one.end] == one.text for one in mentions)


def test_the_matrix_agrees_with_the_reports() -> None:
    codes = [[CODES[status] for status in label_report(text, "zh").labels.values()] for text in SENTENCES]
    assert label_matrix(SENTENCES, "zh").tolist() == codes


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from("双侧肺胸腔积液未见气胸，。、？心影增大考虑不除外结节左右\n "), max_size=200))
def test_any_text_is_labelled(text: str) -> None:
    labelled = label_report(text, "zh")
    assert all(text[one.start : one.end] == one.text for one in labelled.mentions)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=4), st.randoms())
def test_the_order_of_sentences_does_not_matter(sentences: list[str], random: object) -> None:
    plain = [one for one in sentences if "：" not in one]
    assert label_report("".join(plain), "zh").labels == label_report("".join(reversed(plain)), "zh").labels


def test_a_cleaned_full_stop_ends_a_sentence_and_a_decimal_point_does_not() -> None:
    cleaned = label_report("未见气胸 . 左侧胸腔积液 .", "zh").labels
    assert (cleaned["Pneumothorax"], cleaned["Pleural Effusion"]) == ("negative", "positive")
    assert label_report("未见约1.5cm结节", "zh").labels["Lung Lesion"] == "negative"


def test_a_text_without_full_stops_is_cut() -> None:
    assert label_report("胸腔积液和" * 2000, "zh").labels["Pleural Effusion"] == "positive"

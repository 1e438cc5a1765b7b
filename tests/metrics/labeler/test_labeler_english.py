"""The English labeler against hand-written sentences, and what must hold for every text."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sentence_table import read_table

from cxreport.metrics.labeler import CODES, LABELS, STATUSES, label_matrix, label_report
from cxreport.metrics.labeler.english import read_sentence, read_sentence_uncached

ROWS = read_table("english_sentences.txt")
SENTENCES = [sentence for sentence, _ in ROWS]
OTHERS = [label for label in LABELS if label != "No Finding"]

reports = st.lists(st.sampled_from(SENTENCES), max_size=6).map(" ".join)


def said(text: str) -> dict[str, str]:
    return {label: status for label, status in label_report(text).labels.items() if status != "absent"}


@pytest.mark.parametrize(("sentence", "expected"), ROWS, ids=SENTENCES)
def test_a_sentence_gets_the_statuses_that_a_reader_gives_it(sentence: str, expected: dict[str, str]) -> None:
    labels = label_report(sentence).labels
    assert {label: labels[label] for label in expected} == expected


def test_there_are_enough_sentences_and_each_stands_once() -> None:
    assert len(SENTENCES) >= 250
    assert len(set(SENTENCES)) == len(SENTENCES)


def test_positive_stands_before_uncertain_before_negative() -> None:
    assert said("No effusion. Possible effusion.")["Pleural Effusion"] == "uncertain"
    assert said("Small effusion. Possible effusion. No effusion.")["Pleural Effusion"] == "positive"


def test_heart_failure_is_edema_and_does_not_imply_other_labels() -> None:
    assert said("Congestive heart failure.") == {"Edema": "positive"}
    assert said("Consolidation.") == {"Consolidation": "positive"}


@pytest.mark.parametrize("text", ["", " ", "\n\t", "...", "-- , ;", "🫁", "( ) ["])
def test_a_text_without_a_word_is_an_empty_report(text: str) -> None:
    assert said(text) == {}
    assert label_report(text).mentions == ()


def test_no_finding_needs_words_and_nothing_but_devices() -> None:
    assert said("Unremarkable examination.") == {"No Finding": "positive"}
    assert said("Pacemaker. No effusion.")["No Finding"] == "positive"
    assert "No Finding" not in said("Possible nodule.")
    assert "No Finding" not in said("Severe emphysema.")
    assert said("No emphysema.") == {"No Finding": "positive"}


def test_mentions_are_where_they_say_they_are() -> None:
    text = "IMPRESSION:  No PNEUMOTHORAX; there is a small\nLEFT pleural effusion."
    first, second = label_report(text).mentions
    assert (first.label, first.status, first.text, first.cue) == (
        "Pneumothorax",
        "negative",
        "PNEUMOTHORAX",
        "no",
    )
    assert (second.text, second.side, second.severity, second.cue) == (
        "pleural effusion",
        "left",
        "mild",
        "",
    )
    assert all(text[one.start : one.end] == one.text for one in (first, second))


@pytest.mark.parametrize(
    ("sentence", "side", "severity"),
    [
        ("Small left pleural effusion.", "left", "mild"),
        ("Large effusion on the right.", "right", "severe"),
        ("Moderate bilateral pleural effusions.", "bilateral", "moderate"),
        ("Left and right pleural effusions.", "bilateral", None),
        ("Right greater than left pleural effusions.", "bilateral", None),
        ("Bibasilar pleural effusions, small.", "bilateral", None),
        ("Severe cardiomegaly and a trace pleural effusion.", None, "mild"),
        ("The right pleural effusion is moderate.", "right", "moderate"),
        ("Mild to moderate pleural effusion.", None, "moderate"),
        ("Left pneumothorax and right pleural effusion.", "right", None),
        ("Pleural effusion.", None, None),
    ],
)
def test_side_and_severity_of_an_effusion(sentence: str, side: str | None, severity: str | None) -> None:
    mention = next(one for one in label_report(sentence).mentions if one.label == "Pleural Effusion")
    assert (mention.side, mention.severity) == (side, severity)


@pytest.mark.parametrize(
    ("sentence", "is_prior"),
    [
        ("Small effusion.", False),
        ("Unchanged small effusion.", True),
        ("Compared to the prior exam, the effusion is larger.", True),
        ("The effusion has resolved.", True),
        ("No effusion.", False),
        ("No change in the effusion.", True),
        ("Effusion and degenerative changes of the spine.", False),
        ("History of pleural effusion.", True),
    ],
)
def test_talk_of_other_exams_is_marked(sentence: str, is_prior: bool) -> None:
    assert [one.is_prior for one in label_report(sentence).mentions] == [is_prior]


def test_history_is_kept_as_evidence_but_counts_for_nothing() -> None:
    labelled = label_report("History of pneumonia.")
    assert labelled.labels["Pneumonia"] == "absent"
    assert [(one.label, one.status) for one in labelled.mentions] == [("Pneumonia", "absent")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("INDICATION: effusion\n\nFINDINGS:\nNo pneumothorax.", {"Pneumothorax": "negative"}),
        ("HISTORY : pneumonia . findings : small effusion .", {"Pleural Effusion": "positive"}),
        ("Comparison: None. The heart is enlarged.", {"Cardiomegaly": "positive"}),
        ("INDICATION: Edema.\nAP CHEST: Small effusion.", {"Pleural Effusion": "positive"}),
        ("TECHNIQUE: Chest tube protocol. IMPRESSION: Edema.", {"Edema": "positive"}),
        ("Findings: No edema. Comparison: prior with edema.", {"Edema": "negative"}),
        ("reason for exam: ptx . impression: no ptx .", {"Pneumothorax": "negative"}),
        ("Reason for examination : rule out effusion .", {}),
    ],
)
def test_sections_that_are_not_about_this_exam_do_not_count(text: str, expected: dict[str, str]) -> None:
    labels = said(text)
    labels.pop("No Finding", None)
    assert labels == expected


def test_wrapped_lines_are_one_sentence_and_short_lines_are_their_own() -> None:
    wrapped = "There is no evidence of focal consolidation, large pleural effusion or\npneumothorax."
    assert said(wrapped)["Pneumothorax"] == "negative"
    listed = "No pneumothorax\nSmall effusion\nHeart enlarged"
    assert said(listed) == {
        "Pneumothorax": "negative",
        "Pleural Effusion": "positive",
        "Cardiomegaly": "positive",
    }


def test_the_matrix_has_chexberts_codes_in_the_order_of_the_labels() -> None:
    rows = label_matrix(["Small effusion.", "", "No effusion. Possible edema."])
    assert rows.shape == (3, 14)
    assert rows.dtype == np.int8
    columns = [LABELS.index(name) for name in ("Pleural Effusion", "Edema", "No Finding")]
    assert rows[:, columns].tolist() == [[1, 0, 0], [0, 0, 0], [2, 3, 0]]
    assert set(CODES) == set(STATUSES)
    assert label_matrix([]).shape == (0, 14)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_labelled(text: str) -> None:
    labelled = label_report(text)
    assert list(labelled.labels) == list(LABELS)
    assert set(labelled.labels.values()) <= set(STATUSES)
    assert all(text[one.start : one.end] == one.text for one in labelled.mentions)


@settings(max_examples=100, deadline=None)
@given(reports)
def test_case_does_not_matter(text: str) -> None:
    labels = label_report(text).labels
    assert label_report(text.upper()).labels == labels
    assert label_report(text.lower()).labels == labels


@settings(max_examples=100, deadline=None)
@given(reports, st.sampled_from(["The trachea is midline.", "Bony structures are intact.", "🙂 Thank you."]))
@example("Pneumonia??", "The trachea is midline.")
def test_a_sentence_about_something_else_changes_nothing(text: str, sentence: str) -> None:
    before, after = label_report(text).labels, label_report(f"{text} {sentence}").labels
    assert {label: before[label] for label in OTHERS} == {label: after[label] for label in OTHERS}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=5))
def test_a_report_says_what_its_lines_say(sentences: list[str]) -> None:
    """Every label has the strongest status that a line alone gives it, whatever the order."""
    rank = {status: number for number, status in enumerate(("absent", "negative", "uncertain", "positive"))}
    whole = label_report("\n\n".join(f"FINDINGS: {one}" for one in sentences)).labels
    alone = [label_report(f"FINDINGS: {one}").labels for one in sentences]
    assert {label: whole[label] for label in OTHERS} == {
        label: max((labels[label] for labels in alone), key=rank.__getitem__) for label in OTHERS
    }


def test_matrix_and_report_agree() -> None:
    codes = [[CODES[status] for status in label_report(text).labels.values()] for text in SENTENCES]
    assert label_matrix(SENTENCES).tolist() == codes


@pytest.mark.parametrize(
    "unit", ["no effusion , small left edema ", "opacity ", "( ", "findings:\n", ", ", "no "]
)
def test_work_grows_with_the_length_of_a_text(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events read per word stay the same: a text without full stops is cut, and nothing rereads all of it."""
    from cxreport.metrics.labeler import english

    lengths: list[int] = []
    inner = english._mentions

    def counted(words: list[str], *rest: object) -> object:
        lengths.append(len(words))
        return inner(words, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(english, "_mentions", counted)
    text = unit * (10_000 // len(unit.split()))
    label_report(text)
    assert max(lengths, default=0) <= english.LONGEST_SENTENCE
    assert sum(lengths) <= 12_500


def test_the_cache_changes_nothing() -> None:
    lines = [sentence.lower() for sentence in SENTENCES]
    assert [read_sentence(line) for line in lines] == [read_sentence_uncached(line) for line in lines]

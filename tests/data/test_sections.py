from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cxreport.data.sections import (
    HAND_RULED,
    LAST_PARAGRAPH,
    Section,
    lacks,
    official_sections,
    report_of,
    section_name,
    split_sections,
)
from cxreport.study import Report

HEADERS = ("FINDINGS", "IMPRESSION", "INDICATION", "CHEST, TWO VIEWS", "WET READ", "COMPARISON", "FOO-BAR")
REPORT_LIKE = st.lists(
    st.one_of(
        st.sampled_from([f"\n {header}: " for header in HEADERS]),
        st.sampled_from(
            ["\n", "\n \n", " ", "The lungs are clear.", "left", "10:45", "FINDINGS:", "___", "\r"]
        ),
        st.text(max_size=12),
    ),
    max_size=20,
).map("".join)


def test_headers_stand_on_a_line_after_a_blank():
    text = " FINAL REPORT\n EXAMINATION:  CHEST\nTECHNIQUE: no blank\n Findings: small\n  FINDINGS: Clear.\n"
    assert split_sections(text) == [
        Section("preamble", " FINAL REPORT\n "),
        Section("examination", " CHEST\nTECHNIQUE: no blank\n Findings: small"),
        Section("findings", "Clear.\n"),
    ]


def test_a_text_without_headers_is_one_section():
    assert split_sections("FINDINGS: clear") == [Section("full report", "FINDINGS: clear")]
    assert split_sections("") == [Section("full report", "")]


def test_a_header_right_after_an_empty_one_is_not_split_off():
    """The official parser looks on from the next line break, which the empty header has consumed."""
    text = "x\n INDICATION:\n FINDINGS: Clear.\n IMPRESSION: Normal."
    assert official_sections(text)["indication"] == "FINDINGS: Clear."
    assert official_sections(text)["impression"] == "Normal."
    with_blank_line = "x\n INDICATION:\n \n FINDINGS: Clear."
    assert official_sections(with_blank_line)["findings"] == "Clear."


def test_empty_findings_and_impressions_are_dropped():
    names = [section.name for section in split_sections("x\n FINDINGS: \n\n HISTORY: \n\n IMPRESSION: a")]
    assert names == ["preamble", "history", "impression"]


def test_the_last_of_repeated_sections_counts():
    text = "x\n FINDINGS: First.\n CHEST, TWO VIEWS: Second.\n IMPRESSION: One.\n CONCLUSION: Two."
    assert official_sections(text) == {"preamble": "x", "findings": "Second.", "impression": "Two."}


def test_the_last_paragraph():
    text = "x\n COMPARISON: None.\n \n The lungs.\n \n The heart."
    assert split_sections(text)[-2:] == [
        Section("comparison", "None."),
        Section(LAST_PARAGRAPH, " The lungs.\n \n The heart."),
    ]
    assert LAST_PARAGRAPH not in official_sections(f"{text}\n IMPRESSION: Normal.")
    assert LAST_PARAGRAPH not in official_sections("x\n COMPARISON: None.\n\n The lungs.")
    assert official_sections("whole\n \n report") == {"full report": "whole", LAST_PARAGRAPH: "report"}


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("IMPRESSION", "impression"),
        ("CONCLUSION", "impression"),
        ("FINDINGS AND IMPRESSION", "impression"),
        ("FINDINGS/IMPRESSION", "impression"),
        ("IMPRESSON", "impression"),
        ("NDICATION", "impression"),
        ("FINDNGS", "findings"),
        ("CHEST, TWO VIEWS", "findings"),
        ("PORTABLE UPRIGHT AP", "findings"),
        ("RIGHT RIBS", "findings"),
        ("REASON FOR EXAM", "indication"),
        ("REASON FOR EXAMINATION", "indication"),
        ("CLINICAL INDICATION", "indication"),
        ("CLINICAL HISTORY", "history"),
        ("PFI", "history"),
        ("COMPARISONS", "comparison"),
        ("COMPARISON TO PRIOR", "comparison"),
        ("FINDINGS COMPARISON", "findings"),
        ("ADDENDUM TO THE REPORT", "addendum"),
        ("RECOMMENDATION(S)", "recommendations"),
        (" WETREAD ", "wet read"),
        ("SOMETHING ELSE", "something else"),
    ],
)
def test_names_of_headers(header, name):
    assert section_name(header) == name


def test_the_studies_ruled_by_hand_are_fifty_four():
    assert len(HAND_RULED) == 54
    assert all(50_000_000 <= number < 60_000_000 for number in HAND_RULED)


def test_a_report_of_sections():
    sections = {"findings": "F.", "history": "H.", "comparison": "C."}
    assert report_of(sections) == Report("F.", "", "H.", "C.")
    assert report_of({**sections, "indication": "I."}).indication == "I."


@pytest.mark.parametrize(
    ("findings", "impression", "policy", "reason"),
    [
        ("F", "", "any", ""),
        ("", "I", "any", ""),
        (" ", "\n", "any", "empty report"),
        ("F", "", "findings", ""),
        ("", "I", "findings", "no findings section"),
        ("F", "", "impression", "no impression section"),
        ("F", "", "both", "no impression section"),
        ("", "I", "both", "no findings section"),
        ("F", "I", "both", ""),
        ("", "", "both", "empty report"),
        ("", "", "none", ""),
    ],
)
def test_policies(findings, impression, policy, reason):
    assert lacks(Report(findings, impression), policy) == reason


@given(st.one_of(REPORT_LIKE, st.text()))
@example("\n A:\n B: \n \n")
def test_sections_are_parts_of_the_text_in_its_order(text):
    place = 0
    for section in split_sections(text):
        place = text.find(section.text, place)
        assert place >= 0
        assert section.name == section.name.strip().lower()
    assert sum(len(section.text) for section in split_sections(text)) <= len(text)


@given(REPORT_LIKE)
def test_findings_and_impression_are_never_blank(text):
    sections = official_sections(text)
    assert all(sections[name] for name in ("findings", "impression") if name in sections)
    assert {"findings", "impression"}.isdisjoint(sections) or LAST_PARAGRAPH not in sections


@pytest.mark.parametrize("piece", ["\n ", "\n A", "A ", "\n A:", "\n A:\n ", "\n \n", ":", "\n ()/,-"])
def test_long_texts_take_a_pass(piece):
    """Were a step to go over the whole text again for every header or blank, this would not end."""
    text = piece * 200_000
    assert sum(len(section.text) for section in split_sections(text)) <= len(text)

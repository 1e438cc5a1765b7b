from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cxreport.data.text import clean, legacy_iu, target_text
from cxreport.recipe import DataOptions
from cxreport.study import Report

REPORT_LIKE = st.text(st.sampled_from("abXx_ 0123456789.,:;!?-/'()<+%\n–é\u00ad"), max_size=60)


def test_legacy_iu_is_published_code_bit_for_bit(shared):
    golden = json.loads((shared / "golden" / "report_cleaners.json").read_text(encoding="utf-8"))
    cases = golden["real"] + golden["invented"]
    assert len(cases) == 465
    assert [legacy_iu(case["raw"]) for case in cases] == [case["iu"] for case in cases]


def test_legacy_iu_keeps_its_known_faults():
    assert legacy_iu("") == " ."
    assert legacy_iu("A nodule of 1.5 cm; left/right: 11. eleven") == "a nodule of 15 cm leftright 1eleven ."


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("Heart size is normal. No effusion.", "heart size is normal . no effusion ."),
        ("Heart size normal.. Lungs clear...", "heart size normal . lungs clear ."),
        ("Nodule of 1.5 x .5 cm", "nodule of 1.5 x .5 cm ."),
        ("Well-expanded; T11-T12 - unchanged.", "well-expanded . t11-t12 - unchanged ."),
        ("FINDINGS: Right/left lower lobe.", "findings : right / left lower lobe ."),
        ("Seen at 10:45 on 12/03/2011.", "seen at 10:45 on 12/03/2011 ."),
        ('Lungs, heart (and "bones") aren\'t [new].', "lungs heart and bones aren't new ."),
        ("1. Clear. 2. Normal. 11. Clips.", "clear . normal . clips ."),
        ("1) Clear\n2) Normal", "clear . normal ."),
        ("- Clear\n- Normal", "clear . normal ."),
        ("The third to 5. rib. Nodule of 3. Stable.", "the third to 5 . rib . nodule of 3 . stable ."),
        ("There are 2 nodules. 5 mm granuloma.", "there are 2 nodules . 5 mm granuloma ."),
        ("XXXX pneumonia, ___ and XXXX-XXXX.", "xxxx pneumonia xxxx and xxxx - xxxx ."),
        ("Clear lungs.No effusion", "clear lungs . no effusion ."),
        ("Dr. Smith at 5 p.m. today, e.g. here.", "dr smith at 5 pm today eg here ."),
        ("About 50% of the left lung", "about 50 % of the left lung ."),
        ("wrapped\nline", "wrapped line ."),
        ("心影不大。双肺清晰。", "心影不大 . 双肺清晰 ."),
    ],
)
def test_clean(raw, cleaned):
    assert clean(raw) == cleaned


@pytest.mark.parametrize("raw", ["", " \n\t", "...", "?!", "'\"()", "-", ".-."])
def test_text_without_words_is_empty(raw):
    assert clean(raw) == ""


@given(st.one_of(st.text(max_size=60), REPORT_LIKE))
@example("1. 1. 1. nested")
@example("found. 6; clear")
@example(". - a")
def test_cleaning_twice_changes_nothing(text):
    once = clean(text)
    assert clean(once) == once
    assert once == " ".join(once.split())
    assert once == once.lower()
    assert not once or once.endswith(" .")


def test_cleaning_real_reports_loses_no_number(shared):
    golden = json.loads((shared / "golden" / "report_cleaners.json").read_text(encoding="utf-8"))
    raws = [case["raw"] for case in golden["real"]]
    decimals = [word.strip(".,;()") for raw in raws for word in raw.split() if "." in word.strip(".,;()")]
    decimals = [word for word in decimals if word.replace(".", "").isdigit()]
    assert decimals
    words = {word for raw in raws for word in clean(raw).split()}
    assert set(decimals) <= words


REPORT = Report(findings="Lungs clear.", impression="No acute disease.")


@pytest.mark.parametrize(
    ("report", "section", "text"),
    [
        (REPORT, "findings", "lungs clear ."),
        (REPORT, "impression", "no acute disease ."),
        (REPORT, "both", "lungs clear . no acute disease ."),
        (Report(impression="Normal."), "both", "normal ."),
        (Report(impression="Normal."), "findings", ""),
        (Report(findings=" ... "), "findings", ""),
        (Report(), "both", ""),
    ],
)
@pytest.mark.parametrize("cleaner", ["clean", "legacy-iu"])
def test_target_text(report, section, text, cleaner):
    assert target_text(report, DataOptions(section=section, cleaner=cleaner)) == text


def test_target_text_uses_the_cleaner_of_the_recipe():
    report = Report(findings="A nodule of 1.5 cm.")
    assert target_text(report, DataOptions()) == "a nodule of 1.5 cm ."
    assert target_text(report, DataOptions(cleaner="legacy-iu")) == "a nodule of 15 cm ."

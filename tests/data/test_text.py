from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cxreport.data.legacy_text import legacy_iu, legacy_mimic, legacy_r2gengpt
from cxreport.data.text import CLEANERS, characters, clean, target_text
from cxreport.options import DataOptions
from cxreport.study import Report

REPORT_LIKE = st.text(st.sampled_from("abXx_ 0123456789.,:;!?-/'()<+%\n–é\u00ad"), max_size=60)


@pytest.mark.parametrize(
    ("cleaner", "column"),
    [(legacy_iu, "iu"), (legacy_mimic, "mimic_r2gen"), (legacy_r2gengpt, "mimic_r2gengpt")],
)
def test_legacy_cleaners_are_published_code_bit_for_bit(shared, cleaner, column):
    golden = json.loads((shared / "golden" / "report_cleaners.json").read_text(encoding="utf-8"))
    cases = golden["real"] + golden["invented"]
    assert len(cases) == 465
    assert [cleaner(case["raw"]) for case in cases] == [case[column] for case in cases]


FAULTS = "A nodule of 1.5 cm;\nleft/right: 11. eleven at 10:45  @T-4"


@pytest.mark.parametrize(
    ("cleaner", "cleaned"),
    [
        (legacy_iu, "a nodule of 15 cm\nleftright 1eleven at 1045  t-4"),
        (legacy_mimic, "a nodule of 15 cm leftright 1eleven at 1045 t-4"),
        (legacy_r2gengpt, "a nodule of 15 cm leftright : 1eleven at 10 :45 @t-4"),
    ],
)
def test_legacy_cleaners_keep_their_known_faults(cleaner, cleaned):
    assert cleaner("") == " ."
    assert cleaner(FAULTS) == f"{cleaned} ."


@pytest.mark.parametrize(
    ("dots", "iu", "mimic"), [(8, "", ""), (9, "1 . ", ""), (256, "1 . ", ""), (257, "1 . ", "1 . ")]
)
def test_legacy_cleaners_halve_runs_of_dots_a_fixed_number_of_times(dots, iu, mimic):
    assert legacy_iu(f"1{'.' * dots} x") == f"{iu}x ."
    assert legacy_mimic(f"1{'.' * dots} x") == legacy_r2gengpt(f"1{'.' * dots} x") == f"{mimic}x ."


@pytest.mark.parametrize("blanks", [64, 65])
def test_legacy_cleaners_halve_runs_of_blanks_six_times(blanks):
    assert legacy_mimic(f"a{' ' * blanks}b") == f"a{' ' * (1 + (blanks > 64))}b ."


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
        ("T-12, left > right; ≥ 5 x 3 mm.", "t-12 left > right . ≥ 5 x 3 mm ."),
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


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("心影不大。双肺纹理清晰。", "心 影 不 大 . 双 肺 纹 理 清 晰 ."),
        ("右肺见约１．５cm结节，10：45。", "右 肺 见 约 1.5 cm 结 节 10:45 ."),
        ("双肺 纹理 增多", "双 肺 纹 理 增 多 ."),
        ("左侧＞右侧；T12椎体", "左 侧 > 右 侧 . t12 椎 体 ."),
        ("Clear lungs, 1.5 cm.", "clear lungs 1.5 cm ."),
        ("，。", ""),
    ],
)
def test_chinese_characters_are_words(raw, cleaned):
    assert characters(raw) == cleaned


@given(
    st.one_of(st.text(max_size=60), st.text(st.sampled_from("左肺 ab1.5，。：-１．（）x_〇"), max_size=40))
)
def test_characters_twice_changes_nothing(text):
    once = characters(text)
    assert characters(once) == once
    assert all(len(word) == 1 or not any("\u4e00" <= c <= "\u9fff" for c in word) for word in once.split())


KEPT = (
    "left",
    "right",
    "bilateral",
    "1.5",
    "0.8",
    "10:45",
    "t-12",
    "post-operative",
    "left-sided",
    "12/03/2011",
)
SEPARATORS = (" ", ", ", ". ", "; ", "\n", " (", ") ", "  ", ": ", ' "', " - ")


@given(st.lists(st.tuples(st.sampled_from(SEPARATORS), st.sampled_from(KEPT)), min_size=1, max_size=12))
@example([(". ", "1.5"), (") ", "left")])
def test_clean_loses_no_side_decimal_time_or_hyphen(parts):
    text = "The " + "".join(separator + word.upper() for separator, word in parts) + "."
    assert [word for word in clean(text).split() if word in KEPT] == [word for _, word in parts]


@pytest.mark.parametrize("cleaner", sorted(CLEANERS))
@given(text=st.one_of(st.text(max_size=80), REPORT_LIKE))
def test_no_cleaner_raises(cleaner, text):
    assert isinstance(CLEANERS[cleaner](text), str)


@pytest.mark.parametrize(
    "piece", ["1. ", "a.", "x", "_", "- ", "1.5", "((", ". -", ") 1", "a.b.", "xxx", "左1"]
)
@pytest.mark.parametrize("cleaner", sorted(CLEANERS))
def test_long_texts_take_a_pass(cleaner, piece):
    """Were a step to go over the whole text again for every piece, this would not end."""
    text = piece * 50_000
    assert len(CLEANERS[cleaner](text)) <= 3 * len(text) + 2


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
@pytest.mark.parametrize("cleaner", sorted(CLEANERS))
def test_target_text(report, section, text, cleaner):
    assert target_text(report, DataOptions(section=section, cleaner=cleaner)) == text


def test_target_text_uses_the_cleaner_of_the_recipe():
    report = Report(findings="A nodule of 1.5 cm.")
    assert target_text(report, DataOptions()) == "a nodule of 1.5 cm ."
    assert target_text(report, DataOptions(cleaner="legacy-iu")) == "a nodule of 15 cm ."


MARKED = Report(findings="XXXX year old with ___ and a 1.5 cm nodule. XXXX.")


@pytest.mark.parametrize(
    ("cleaner", "marks", "text"),
    [
        ("clean", "keep", "xxxx year old with xxxx and a 1.5 cm nodule . xxxx ."),
        ("clean", "token", "xxxx year old with xxxx and a 1.5 cm nodule . xxxx ."),
        ("clean", "drop", "year old with and a 1.5 cm nodule ."),
        ("legacy-mimic", "keep", "xxxx year old with  and a 15 cm nodule . xxxx ."),
        ("legacy-mimic", "token", "xxxx year old with xxxx and a 15 cm nodule . xxxx ."),
        ("legacy-iu", "drop", "year old with   and a 15 cm nodule .  ."),
    ],
)
def test_marks_of_de_identification(cleaner, marks, text):
    assert target_text(MARKED, DataOptions(cleaner=cleaner, marks=marks)) == text


def test_every_cleaner_can_be_named_in_a_recipe():
    for cleaner in CLEANERS:
        assert DataOptions(cleaner=cleaner).cleaner == cleaner

"""The Chinese grammar: what it writes is true, complete and short, and is read back exactly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxreport.data.text import characters
from cxreport.phantom.kinds import KINDS, zones_of
from cxreport.phantom.language_zh import CHINESE, NORMAL_STATEMENTS, WORDINGS, write_chinese
from cxreport.phantom.parser import parse, parse_findings
from cxreport.study import Finding, sided_kinds

EVERY_FINDING = [
    Finding(kind.name, side, zone, severity)
    for kind in KINDS.values()
    for side in kind.sides or (None,)
    for zone in zones_of(kind.name, side) or (None,)
    for severity in kind.severities or (None,)
]


def one_a_place(findings: list[Finding]) -> list[Finding]:
    """At most one finding of a kind on a side, where a bilateral one takes both sides."""
    kept: list[Finding] = []
    for finding in findings:
        if not sided_kinds([finding]) & sided_kinds(kept):
            kept.append(finding)
    return kept


studies = st.lists(st.sampled_from(EVERY_FINDING), max_size=6).map(one_a_place)


@settings(max_examples=600, deadline=None)
@given(studies, st.integers(0, 2**32))
def test_reads_back_exactly_what_was_written(findings: list[Finding], seed: int) -> None:
    report = write_chinese(findings, np.random.default_rng(seed))
    details = {
        (finding.kind, side, finding.zone, finding.severity)
        for finding in findings
        for _, side in sided_kinds([finding])
    }
    for text in (report.findings, characters(report.findings)):
        assert parse(text) == sided_kinds(findings), text
        read = parse_findings(text)
        assert {(one.kind, one.side, one.zone, one.severity) for one in read} == details, text
    assert parse(report.impression) <= sided_kinds(findings)


@pytest.mark.parametrize("finding", EVERY_FINDING, ids=lambda finding: "-".join(map(str, (
    finding.kind, finding.side, finding.zone, finding.severity))))  # fmt: skip
def test_every_form_of_every_finding_is_read_back(finding: Finding) -> None:
    sentences = {
        write_chinese([finding], np.random.default_rng(seed)).findings.split("。")[0] for seed in range(40)
    }
    assert len(sentences) == 4
    assert all("{" not in sentence and "None" not in sentence for sentence in sentences)
    for sentence in sentences:
        assert parse(sentence) == sided_kinds([finding]), sentence


@pytest.mark.parametrize(
    ("text", "truth"),
    [
        ("", set()),
        ("未见胸腔积液及气胸。", set()),
        ("心影未见增大。", set()),
        ("未见气胸，但左侧见少量胸腔积液。", {("pleural_effusion", "left")}),
        ("左侧胸腔积液已吸收。", set()),
        ("双侧胸腔积液伴左肺不张。",
         {("pleural_effusion", "left"), ("pleural_effusion", "right"), ("atelectasis", "left")}),
        ("右侧气胸及左侧胸腔积液。", {("pneumothorax", "right"), ("pleural_effusion", "left")}),
        ("少量胸腔积液。", {("pleural_effusion", None)}),
        ("心包积液。", set()),
        ("皮下水肿。", set()),
        ("右肺上野钙化结节。", {("calcified_granuloma", "right")}),
        ("主动脉迂曲、钙化。", {("tortuous_aorta", None), ("aortic_calcification", None)}),
        ("左肺实变。There is a small right pleural effusion.",
         {("consolidation", "left"), ("pleural_effusion", "right")}),
    ],
)  # fmt: skip
def test_reads_sentences_that_the_grammar_does_not_write(text: str, truth: set) -> None:
    assert parse(text) == truth


@pytest.mark.parametrize("kind", KINDS)
def test_no_normal_statement_contradicts_a_finding(kind: str) -> None:
    finding = next(one for one in EVERY_FINDING if one.kind == kind)
    denying = {form for denied, forms in NORMAL_STATEMENTS if kind in denied for form in forms}
    for seed in range(40):
        sentences = write_chinese([finding], np.random.default_rng(seed)).findings.split("。")
        assert not denying & {f"{sentence}。" for sentence in sentences}
        denied = [sentence for sentence in sentences if sentence.startswith(("未", "无"))]
        assert not any(CHINESE.denials.get(kind, "-") in sentence for sentence in denied)


def test_words_name_side_zone_and_severity() -> None:
    rng = np.random.default_rng(0)
    severe = Finding("consolidation", "right", "lower lobe", "severe")
    assert write_chinese([severe], rng).impression == "右肺下叶大片状实变影。"
    both = Finding("scarring", "bilateral", "apical")
    assert write_chinese([both], rng).impression == "双肺尖纤维灶。"
    assert write_chinese([], rng).impression in CHINESE.normal_impressions


def test_the_table_covers_exactly_the_kinds() -> None:
    assert {name.split("/")[0] for name in WORDINGS} == set(KINDS)
    for name, wording in WORDINGS.items():
        assert bool(wording.bilateral) == ("bilateral" in KINDS[name.split("/")[0]].sides)


@settings(max_examples=300, deadline=None)
@given(
    st.text(
        st.sampled_from("左右双两肺侧胸腔积液气胸未见无但及心影增大实变结节上中下叶野。， ."), max_size=60
    )
)
def test_any_text_is_read(text: str) -> None:
    assert all(kind in KINDS for kind, _ in parse(text))

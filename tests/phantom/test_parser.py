"""The reader of the grammar: exact on everything the grammar writes, sane on everything else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxreport.data.text import clean
from cxreport.phantom.kinds import KINDS, zones_of
from cxreport.phantom.language import write
from cxreport.phantom.parser import parse, parse_findings
from cxreport.study import Finding

Truth = frozenset[tuple[str, str | None]]

EVERY_FINDING = [
    Finding(kind.name, side, zone, severity)
    for kind in KINDS.values()
    for side in kind.sides or (None,)
    for zone in zones_of(kind.name, side) or (None,)
    for severity in kind.severities or (None,)
]


def one_a_place(findings: list[Finding]) -> list[Finding]:
    """At most one finding of a kind on a side, where a bilateral one takes both sides."""
    taken: set[tuple[str, str | None]] = set()
    kept = []
    for finding in findings:
        places = set(pairs(finding))
        if not places & taken:
            kept.append(finding)
            taken |= places
    return kept


def pairs(finding: Finding) -> list[tuple[str, str | None]]:
    sides = ("left", "right") if finding.side == "bilateral" else (finding.side,)
    return [(finding.kind, side) for side in sides]


studies = st.lists(st.sampled_from(EVERY_FINDING), max_size=6).map(one_a_place)


@settings(max_examples=1500, deadline=None)
@given(studies, st.integers(0, 2**32))
def test_reads_back_exactly_what_was_written(findings: list[Finding], seed: int) -> None:
    report = write(findings, np.random.default_rng(seed))
    truth = frozenset(pair for finding in findings for pair in pairs(finding))
    assert parse(report.findings) == truth
    assert parse(clean(report.findings)) == truth
    assert parse(f"{report.findings} {report.findings}") == truth
    assert parse(report.impression) <= truth


def test_reads_back_three_thousand_studies_with_zone_and_severity() -> None:
    rng = np.random.default_rng(2024)
    for _ in range(3000):
        drawn = [EVERY_FINDING[i] for i in rng.integers(len(EVERY_FINDING), size=rng.integers(0, 7))]
        findings = one_a_place(drawn)
        text = write(findings, rng).findings
        truth = {
            Finding(kind, side, finding.zone, finding.severity).__repr__()
            for finding in findings
            for kind, side in pairs(finding)
        }
        assert {repr(finding) for finding in parse_findings(text)} == truth, text
        assert {repr(finding) for finding in parse_findings(clean(text))} == truth, text


LEFT_EFFUSION = {("pleural_effusion", "left")}


@pytest.mark.parametrize(
    ("text", "truth"),
    [
        ("", set()),
        ("Small left effusion without pneumothorax.", LEFT_EFFUSION),
        ("No pneumothorax but small left effusion.", LEFT_EFFUSION),
        ("No pneumothorax and a small left effusion.", LEFT_EFFUSION),
        ("No acute abnormality aside from a small left pleural effusion.", LEFT_EFFUSION),
        ("No pleural effusion, pneumothorax, or focal consolidation.", set()),
        ("no pleural effusion pneumothorax or focal consolidation .", set()),
        ("There is no left pleural effusion. There is a right pneumothorax.", {("pneumothorax", "right")}),
        ("The heart is not enlarged.", set()),
        ("The heart is not enlarged and there is a left effusion.", LEFT_EFFUSION),
        ("The heart is not enlarged and the aorta is tortuous.", {("tortuous_aorta", None)}),
        ("Pneumothorax is not seen.", set()),
        ("Small left effusion and pneumothorax is not seen.", LEFT_EFFUSION),
        ("Effusion and pneumothorax are not seen.", set()),
        ("The left effusion has resolved.", set()),
        ("No change in the left pleural effusion.", LEFT_EFFUSION),
        ("Lungs are free of consolidation.", set()),
        ("Left and right pleural effusions.", {*LEFT_EFFUSION, ("pleural_effusion", "right")}),
        ("Pleural effusions, left greater than right.", {*LEFT_EFFUSION, ("pleural_effusion", "right")}),
        ("Nodules in both lungs.", {("nodule", "left"), ("nodule", "right")}),
        ("Bibasilar atelectasis.", {("atelectasis", "left"), ("atelectasis", "right")}),
        ("Scarring in the lung apices.", {("scarring", "left"), ("scarring", "right")}),
        ("Small pleural effusion.", {("pleural_effusion", None)}),
        ("Left base atelectasis and effusion.", {("atelectasis", "left"), *LEFT_EFFUSION}),
        ("Left effusion and right pneumothorax.", {*LEFT_EFFUSION, ("pneumothorax", "right")}),
        ("Effusion on the left and pneumothorax on the right.", {*LEFT_EFFUSION, ("pneumothorax", "right")}),
        ("Lingular consolidation.", {("consolidation", "left")}),
        ("Middle lobe consolidation.", {("consolidation", "right")}),
        ("Mild dextroscoliosis.", {("scoliosis", "right")}),
        ("A calcified nodule in the left upper lung.", {("calcified_granuloma", "left")}),
        ("Tortuous and calcified aorta.", {("tortuous_aorta", None), ("aortic_calcification", None)}),
        ("Tortuous aorta and calcified granuloma of the left lung.",
         {("tortuous_aorta", None), ("calcified_granuloma", "left")}),
        ("small left pleural effusion . small left pleural effusion . there is a right", LEFT_EFFUSION),
        ("small small left left effusion effusion", LEFT_EFFUSION),
        ("Clavicle fracture on the left.", set()),
    ],
)  # fmt: skip
def test_reads_sentences_that_the_grammar_does_not_write(text: str, truth: set) -> None:
    assert parse(text) == truth
    assert parse(clean(text)) == truth


def test_a_decimal_point_does_not_end_a_sentence() -> None:
    assert parse("No 1.5 cm nodule in the left lung.") == frozenset()


def test_details_stay_with_their_own_finding() -> None:
    text = "Small right effusion and large left effusion with mild cardiomegaly."
    assert [(f.kind, f.side, f.severity) for f in parse_findings(text)] == [
        ("pleural_effusion", "right", "mild"),
        ("pleural_effusion", "left", "severe"),
        ("cardiomegaly", None, "mild"),
    ]
    (finding,) = parse_findings("Extensive right upper lobe airspace disease.")
    assert (finding.kind, finding.zone, finding.severity) == ("consolidation", "upper lobe", "severe")


@settings(max_examples=500, deadline=None)
@given(st.text())
def test_never_raises(text: str) -> None:
    assert isinstance(parse(text), frozenset)


WORDS = sorted({
    word
    for finding in EVERY_FINDING
    for word in clean(write([finding], np.random.default_rng(len(finding.kind))).findings).split()
})  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=40))
def test_never_raises_on_word_salad_and_names_known_kinds_only(words: list[str]) -> None:
    for kind, side in parse(" ".join(words)):
        assert kind in KINDS
        assert side is None or side in KINDS[kind].sides

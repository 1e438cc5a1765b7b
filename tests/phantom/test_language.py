"""The grammar: what it writes is true, complete, short and drawn from the seed alone."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from cxreport.phantom.kinds import KINDS, zones_of
from cxreport.phantom.language import ENGLISH, NORMAL_STATEMENTS, WORDINGS, write
from cxreport.study import SEVERITIES, Finding


def complete_findings() -> list[Finding]:
    """Every complete finding that a phantom can have, one of each."""
    return [
        Finding(kind.name, side, zone, severity)
        for kind in KINDS.values()
        for side in kind.sides or (None,)
        for zone in zones_of(kind.name, side) or (None,)
        for severity in kind.severities or (None,)
    ]


def random_findings(rng: np.random.Generator) -> list[Finding]:
    """Kinds by their prevalence, and everything else of each drawn evenly."""
    possible = complete_findings()
    findings = []
    for kind in KINDS.values():
        if rng.random() < kind.prevalence:
            of_kind = [finding for finding in possible if finding.kind == kind.name]
            findings.append(of_kind[int(rng.integers(len(of_kind)))])
    return findings


def test_every_finding_has_at_least_four_forms_that_fill_completely() -> None:
    for finding in complete_findings():
        sentences = {
            write([finding], np.random.default_rng(seed)).findings.split(".")[0] for seed in range(60)
        }
        assert len(sentences) >= 4, finding
        assert all("{" not in sentence and "None" not in sentence for sentence in sentences)


def test_words_name_side_zone_and_severity() -> None:
    rng = np.random.default_rng(0)
    report = write([Finding("consolidation", "right", "lower lobe", "severe")], rng)
    assert report.impression == "Large right lower lobe consolidation."
    assert write([Finding("scarring", "bilateral", "apical")], rng).impression == "Biapical scarring."
    assert write([Finding("nodule", "left", "middle")], rng).impression == "Left mid lung nodule."


def test_abnormal_sentences_come_first_in_the_order_of_kinds() -> None:
    findings = [
        Finding("pacemaker", "left"),
        Finding("pneumothorax", "right", severity="mild"),
        Finding("pneumothorax", "left", severity="severe"),
        Finding("cardiomegaly", severity="mild"),
    ]
    for seed in range(20):
        report = write(findings, np.random.default_rng(seed))
        first_four = [sentence.lower() for sentence in report.findings.split(".")[:4]]
        for word, sentence in zip(("enlarge", "left", "right", "pacemaker"), first_four, strict=True):
            assert word in sentence or (word == "enlarge" and "cardiomegaly" in sentence)
        assert report.impression == "Mild cardiomegaly. Large left pneumothorax. Small right pneumothorax."


@pytest.mark.parametrize("finding", complete_findings(), ids=lambda finding: "-".join(map(str, (
    finding.kind, finding.side, finding.zone, finding.severity))))  # fmt: skip
def test_no_normal_statement_contradicts_a_finding(finding: Finding) -> None:
    denying = {form for denied, forms in NORMAL_STATEMENTS if finding.kind in denied for form in forms}
    names = {"consolidation": "focal consolidation"}.get(finding.kind, finding.kind.replace("_", " "))
    for seed in range(25):
        text = write([finding], np.random.default_rng(seed)).findings
        assert not any(statement in text for statement in denying)
        for sentence in text.split("."):
            assert not (sentence.strip().lower().startswith(("no ", "there is no ")) and names in sentence)


def test_a_normal_chest_gets_a_normal_report() -> None:
    report = write([], np.random.default_rng(3))
    assert report.impression.startswith("No acute")
    assert 4 <= report.findings.count(".") <= 6
    devices_only = write([Finding("pacemaker", "left")], np.random.default_rng(3))
    assert devices_only.impression.startswith("No acute")


def test_reports_are_short_varied_and_of_few_words() -> None:
    rng = np.random.default_rng(1)
    lengths, vocabulary, texts = [], Counter(), set()
    for _ in range(2000):
        report = write(random_findings(rng), rng)
        words = report.findings.lower().replace(".", " ").replace(",", " ").split()
        lengths.append(len(words))
        vocabulary.update(words + report.impression.lower().replace(".", " ").split())
        texts.add(report.findings)
    assert 25 < np.mean(lengths) < 45
    assert np.max(lengths) <= 95
    assert len(vocabulary) <= 250
    assert len(texts) > 1950


def test_same_seed_same_report() -> None:
    findings = [Finding("edema", severity="moderate")]
    assert write(findings, np.random.default_rng(5)) == write(findings, np.random.default_rng(5))
    assert len({write(findings, np.random.default_rng(seed)).findings for seed in range(30)}) > 20


@pytest.mark.parametrize(
    ("finding", "message"),
    [
        (Finding("pneumonia"), "no finding of kind 'pneumonia'"),
        (Finding("pneumothorax", severity="mild"), "side of pneumothorax is None"),
        (Finding("pneumothorax", "bilateral", severity="mild"), "side of pneumothorax is 'bilateral'"),
        (Finding("consolidation", "left", "middle lobe", "mild"), "zone of consolidation is 'middle lobe'"),
        (Finding("edema", severity="huge"), "severity of edema is 'huge'"),
        (Finding("hiatal_hernia", severity="mild"), "severity of hiatal_hernia is 'mild'"),
    ],
)
def test_a_finding_that_no_phantom_can_have_is_refused(finding: Finding, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write([finding], np.random.default_rng(0))


def test_the_table_covers_exactly_the_kinds() -> None:
    assert {name.split("/")[0] for name in WORDINGS} == set(KINDS)
    for name, wording in WORDINGS.items():
        kind = KINDS[name.split("/")[0]]
        assert bool(wording.bilateral) == ("bilateral" in kind.sides)
        assert len(wording.severities or ENGLISH.severities) == len(SEVERITIES)

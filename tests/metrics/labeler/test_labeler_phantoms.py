"""The labeler reads the reports of phantoms, whose findings are known: a grammar it was not written for."""

from __future__ import annotations

import numpy as np

from cxreport.data.text import characters
from cxreport.metrics.labeler import LABELS, NO_FINDING, label_report
from cxreport.metrics.protocols import protocol_of
from cxreport.phantom.kinds import KINDS
from cxreport.phantom.language import write
from cxreport.phantom.language_zh import write_chinese
from cxreport.phantom.make import sample_findings

NAMED = {
    "cardiomegaly": "Cardiomegaly",
    "pleural_effusion": "Pleural Effusion",
    "pneumothorax": "Pneumothorax",
    "consolidation": "Consolidation",
    "atelectasis": "Atelectasis",
    "edema": "Edema",
    "nodule": "Lung Lesion",
    "mass": "Lung Lesion",
    "rib_fracture": "Fracture",
    **{name: "Support Devices" for name, kind in KINDS.items() if kind.device},
}
"""What each kind is called by the labels of a text: a text's consolidation is no Lung Opacity."""


def test_chinese_labels_and_sides_are_those_of_the_phantom() -> None:
    rng = np.random.default_rng(11)
    protocol = protocol_of("findings.full.characters")
    for _ in range(400):
        findings = sample_findings(rng)
        report = write_chinese(findings, rng)
        expected = {NAMED[finding.kind] for finding in findings if finding.kind in NAMED}
        if all(KINDS[finding.kind].device for finding in findings):
            expected.add(NO_FINDING)
        for text in (report.findings, *protocol.whole([characters(report.findings)])):
            labelled = label_report(text, "zh")
            found = {label for label in LABELS if labelled.labels[label] == "positive"}
            assert found - {"Lung Opacity"} == expected, text
            for finding in findings:
                if finding.kind in ("pleural_effusion", "pneumothorax", "consolidation"):
                    label = NAMED[finding.kind]
                    sides = {one.side for one in labelled.mentions if one.label == label}
                    assert finding.side in sides, text


def test_labels_and_sides_are_those_of_the_phantom() -> None:
    rng = np.random.default_rng(11)
    for _ in range(400):
        findings = sample_findings(rng)
        report = write(findings, rng)
        text = f"{report.findings}\n\n{report.impression}"
        labelled = label_report(text)
        expected = {NAMED[finding.kind] for finding in findings if finding.kind in NAMED}
        if all(KINDS[finding.kind].device for finding in findings):
            expected.add(NO_FINDING)
        found = {label for label in LABELS if labelled.labels[label] == "positive"}
        assert found - {"Lung Opacity"} == expected, text
        for finding in findings:
            if finding.kind in ("pleural_effusion", "pneumothorax", "consolidation"):
                label = NAMED[finding.kind]
                sides = {one.side for one in labelled.mentions if one.label == label}
                assert finding.side in sides, text

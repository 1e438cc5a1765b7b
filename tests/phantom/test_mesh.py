"""MeSH codes to findings: single codes by hand, and all 3,955 reports counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cxreport.phantom.kinds import KINDS, zones_of
from cxreport.phantom.language import write
from cxreport.phantom.mesh import RULES, complete, coverage, findings_of
from cxreport.phantom.openi import read_reports
from cxreport.study import Finding


@pytest.mark.parametrize(
    ("code", "findings"),
    [
        ("Pleural Effusion/left/small", [Finding("pleural_effusion", "left", None, "mild")]),
        ("Pleural Effusion/bilateral/large", [Finding("pleural_effusion", "bilateral", None, "severe")]),
        ("Cardiomegaly/borderline", [Finding("cardiomegaly", severity="mild")]),
        ("Cardiac Shadow/enlarged/moderate", [Finding("cardiomegaly", severity="moderate")]),
        ("Pneumothorax/apex/right/moderate", [Finding("pneumothorax", "right", None, "moderate")]),
        ("Consolidation/lung/lower lobe/left", [Finding("consolidation", "left", "lower lobe")]),
        (
            "Consolidation/lung/base/bilateral",
            [Finding("consolidation", "left", "lower lobe"), Finding("consolidation", "right", "lower lobe")],
        ),
        ("Consolidation/lung/middle lobe", [Finding("consolidation", "right", "middle lobe")]),
        ("Pulmonary Atelectasis/base/left/mild", [Finding("atelectasis", "left", "plate-like")]),
        ("Pulmonary Edema/bilateral/interstitial/mild", [Finding("edema", severity="mild")]),
        ("Nodule/lung/lingula", [Finding("nodule", "left", "middle")]),
        ("Calcified Granuloma/lung/upper lobe/right", [Finding("calcified_granuloma", "right", "upper")]),
        ("Calcified Granuloma", [Finding("calcified_granuloma")]),
        ("Cicatrix/lung/apex/bilateral", [Finding("scarring", "bilateral", "apical")]),
        ("Diaphragm/right/elevated/mild", [Finding("elevated_hemidiaphragm", "right")]),
        ("Hernia, Hiatal/large", [Finding("hiatal_hernia")]),
        ("Fractures, Bone/ribs/left/healed", [Finding("rib_fracture", "left")]),
        ("Scoliosis/thoracic vertebrae/right/mild", [Finding("scoliosis", "right", None, "mild")]),
        ("Aorta, Thoracic/tortuous/mild", [Finding("tortuous_aorta")]),
        ("Atherosclerosis/aorta, thoracic", [Finding("aortic_calcification")]),
        ("Catheters, Indwelling/right", [Finding("central_line", "right")]),
        ("Tube, Inserted/trachea, carina", [Finding("endotracheal_tube")]),
        ("Surgical Instruments/breast/left", [Finding("surgical_clips", "left")]),
        (
            "Hydropneumothorax/left/large",
            [
                Finding("pleural_effusion", "left", None, "severe"),
                Finding("pneumothorax", "left", None, "severe"),
            ],
        ),
    ],
)
def test_a_code_that_names_a_kind(code: str, findings: list[Finding]) -> None:
    drawable = findings_of([code])
    assert drawable.findings == findings
    assert (drawable.exact, drawable.lookalikes, drawable.unmapped) == ([code], [], [])


@pytest.mark.parametrize(
    ("code", "finding"),
    [
        ("Opacity/lung/base/left", Finding("consolidation", "left", "lower lobe")),
        ("Opacity/lung/base/bilateral/streaky", Finding("atelectasis", "bilateral", "plate-like")),
        ("Density/lung/upper lobe/right/round", Finding("nodule", "right", "upper")),
        ("Costophrenic Angle/right/blunted", Finding("pleural_effusion", "right", None, "mild")),
        ("Volume Loss/lung/upper lobe/right", Finding("atelectasis", "right", "volume loss")),
        ("Lung/hyperdistention/severe", Finding("emphysema", severity="severe")),
        ("Implanted Medical Device/left", Finding("pacemaker", "left")),
        ("Surgical Instruments/mediastinum", Finding("sternotomy_wires")),
    ],
)
def test_a_code_that_names_an_appearance(code: str, finding: Finding) -> None:
    drawable = findings_of([code])
    assert drawable.findings == [finding]
    assert (drawable.exact, drawable.lookalikes, drawable.unmapped) == ([], [code], [])


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("Osteophyte/thoracic vertebrae/multiple", "no kind"),
        ("Lung/hypoinflation", "no kind"),
        ("Tube, Inserted", "no kind"),
        ("Catheters, Indwelling/abdomen/right", "place or form"),
        ("Implanted Medical Device/aortic valve", "place or form"),
        ("Calcinosis/lung/hilum/lymph nodes/right", "place or form"),
        ("Opacity/lung/bilateral/interstitial/diffuse", "place or form"),
        ("A Term That Nobody Knows", "no kind"),
    ],
)
def test_a_code_that_no_phantom_draws_is_listed_with_its_reason(code: str, reason: str) -> None:
    drawable = findings_of([code, "Cardiomegaly"])
    assert drawable.unmapped == [(code, reason)]
    assert drawable.findings == [Finding("cardiomegaly")]


def test_codes_that_say_nothing_of_findings_are_not_unmapped() -> None:
    drawable = findings_of(["normal", "No Indexing", "Technical Quality of Image Unsatisfactory "])
    assert drawable.findings == []
    assert drawable.unmapped == []


def test_codes_that_repeat_a_finding_are_one() -> None:
    codes = ["Costophrenic Angle/left/blunted", "Pleural Effusion/left/large", "Pleural Effusion"]
    assert findings_of(codes).findings == [Finding("pleural_effusion", "left", None, "severe")]
    codes = ["Pleural Effusion/left", "Pleural Effusion/right/small", "Pleural Effusion/bilateral"]
    assert findings_of(codes).findings == [Finding("pleural_effusion", "bilateral", None, "mild")]
    codes = ["Nodule/lung/upper lobe/left", "Nodule/lung/lower lobe/left"]
    assert len(findings_of(codes).findings) == 2
    codes = ["Scoliosis/thoracic vertebrae/right", "Scoliosis/lumbar vertebrae/left"]
    assert findings_of(codes).findings == [Finding("scoliosis", "right")]


def test_complete_fills_only_what_is_missing_with_what_is_allowed() -> None:
    sides = set()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        finding = complete(Finding("consolidation", zone="lingula"), rng)
        assert (finding.side, finding.zone) == ("left", "lingula")
        for name, kind in KINDS.items():
            finding = complete(Finding(name), rng)
            assert finding.side in (kind.sides or (None,))
            assert finding.zone in (zones_of(name, finding.side) or (None,))
            assert finding.severity in (kind.severities or (None,))
            sides.add(finding.side)
    assert sides == {None, "left", "right"}
    given = Finding("pleural_effusion", "bilateral", None, "severe", {"frontal": (0.0, 0.0, 1.0, 1.0)})
    assert complete(given, np.random.default_rng(0)) == given
    with pytest.raises(ValueError, match="no zone 'moon'"):
        complete(Finding("nodule", zone="moon"), np.random.default_rng(0))


def test_every_kind_has_a_rule() -> None:
    assert {rule.kind for rule in RULES} == set(KINDS)


def test_coverage_by_hand() -> None:
    counted = coverage(
        [["Cardiomegaly", "Opacity/lung", "Kyphosis"], ["normal"], ["Kyphosis", "Nodule/neck"]]
    )
    assert (counted.exact, counted.lookalike, counted.place_or_form, counted.no_kind) == (1, 1, 1, 2)
    assert counted.abnormal == 5
    assert counted.of_kinds == pytest.approx(2 / 3)
    assert counted.of_abnormal == pytest.approx(2 / 5)
    assert counted.top_unmapped == (("Kyphosis", 2), ("Nodule/neck", 1))


def test_coverage_of_all_open_i_reports(shared: Path) -> None:
    reports = read_reports(shared / "data" / "iu_xray" / "NLMCXR_reports.tgz")
    counted = coverage((report.codes for report in reports), top=3)
    assert counted.abnormal == 6726
    assert (counted.exact, counted.lookalike) == (2816, 1663)
    assert (counted.place_or_form, counted.no_kind) == (224, 2023)
    assert counted.of_kinds == pytest.approx(0.9524, abs=1e-4)
    assert counted.top_unmapped[0] == ("Lung/hypoinflation", 245)
    rng = np.random.default_rng(0)
    for report in reports:
        write([complete(finding, rng) for finding in findings_of(report.codes).findings], rng)

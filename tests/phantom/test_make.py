"""What a finding does to the picture, where, and on which side."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from cxreport.phantom.kinds import KINDS, chexpert_labels, zones_of
from cxreport.phantom.make import MOST_FINDINGS, render_study, sample_finding, sample_findings
from cxreport.study import LABELS, Finding, View

SIZE = 112

BRIGHTER = {
    "cardiomegaly",
    "pleural_effusion",
    "consolidation",
    "atelectasis",
    "edema",
    "nodule",
    "calcified_granuloma",
    "mass",
    "elevated_hemidiaphragm",
    "tortuous_aorta",
    "aortic_calcification",
    "scarring",
    "central_line",
    "endotracheal_tube",
    "pacemaker",
    "sternotomy_wires",
    "surgical_clips",
}
DARKER = {"pneumothorax", "emphysema"}


def pixels(view: View) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(view.image))).astype(float)


def cut(image: np.ndarray, finding: Finding, projection: str = "frontal") -> np.ndarray:
    left, top, right, bottom = (round(edge * len(image)) for edge in finding.boxes[projection])
    return image[top : max(bottom, top + 1), left : max(right, left + 1)]


def pair(kind: str, seed: int) -> tuple[np.ndarray, np.ndarray, Finding]:
    """The same chest without and with a finding."""
    finding = sample_finding(kind, np.random.default_rng([seed, 1]))
    plain, _, _ = render_study([], SIZE, np.random.default_rng(seed))
    views, marked, _ = render_study([finding], SIZE, np.random.default_rng(seed))
    return pixels(plain[0]), pixels(views[0]), marked[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_finding_changes_the_picture_in_its_box(kind: str) -> None:
    changes, elsewhere, signed = [], [], []
    for seed in range(4):
        plain, found, finding = pair(kind, seed)
        difference = found - plain
        changes.append(np.abs(cut(difference, finding)).max())
        elsewhere.append(np.abs(difference).mean())
        signed.append(cut(difference, finding).mean())
    assert np.mean(changes) > 12
    assert np.mean(changes) > 2 * np.mean(elsewhere)
    if kind in BRIGHTER:
        assert np.mean(signed) > 0.4
    if kind in DARKER:
        assert np.mean(signed) < -0.4


@pytest.mark.parametrize(
    "kind", [name for name, kind in KINDS.items() if "left" in kind.sides and name != "central_line"]
)
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_patients_left_is_the_pictures_right(kind: str, side: str) -> None:
    for seed in range(3):
        drawn = sample_finding(kind, np.random.default_rng([seed, 2]))
        zone = drawn.zone if drawn.zone in (*zones_of(kind, side), None) else zones_of(kind, side)[0]  # type: ignore[arg-type]
        finding = Finding(kind, side, zone, drawn.severity)  # type: ignore[arg-type]
        _, marked, chest = render_study([finding], 64, np.random.default_rng(seed))
        left, _, right, _ = marked[0].boxes["frontal"]
        if kind == "scoliosis":
            apex = max(
                float(chest.spine_curve(z)) * (1 if side == "left" else -1) for z in range(-40, 60, 10)
            )
            assert apex > 10
        elif kind == "pacemaker":
            can = chest.dense[0][0].centre[0]
            assert can * (1 if side == "left" else -1) > 0
        else:
            assert ((left + right) / 2 > 0.5) == (side == "left")


def test_same_seed_same_pixels_and_another_seed_others() -> None:
    finding = Finding("mass", "left", "upper")
    first, second, third = (render_study([finding], 64, np.random.default_rng(seed))[0] for seed in (7, 7, 8))
    assert first == second
    assert first[0].image != third[0].image
    assert [view.projection for view in first] == ["frontal", "lateral"]


def test_a_chest_is_the_same_at_every_size() -> None:
    finding = Finding("pleural_effusion", "right", None, "severe")
    small, small_mark, _ = render_study([finding], 64, np.random.default_rng(4))
    large, large_mark, _ = render_study([finding], 192, np.random.default_rng(4))
    for projection in ("frontal", "lateral"):
        # a box reaches one pixel beyond its last point
        assert small_mark[0].boxes[projection] == pytest.approx(large_mark[0].boxes[projection], abs=1 / 64)
    shrunk = np.asarray(Image.open(io.BytesIO(large[0].image)).resize((64, 64), Image.Resampling.BOX)).astype(
        float
    )
    assert np.corrcoef(shrunk.ravel(), pixels(small[0]).ravel())[0, 1] > 0.98


def test_worse_is_larger() -> None:
    def brightened(severity: str) -> float:
        total = 0.0
        for seed in range(3):
            plain, _, _ = render_study([], SIZE, np.random.default_rng(seed))
            views, _, _ = render_study(
                [Finding("pleural_effusion", "left", None, severity)], SIZE, np.random.default_rng(seed)
            )
            total += float(np.clip(pixels(views[0]) - pixels(plain[0]), 0, None).mean())
        return total

    assert brightened("mild") < brightened("moderate") < brightened("severe")


def test_no_vessels_beyond_the_pleural_line() -> None:
    smooth = []
    for seed in range(3):
        plain, found, finding = pair("pneumothorax", seed)
        rows = cut(found, finding)
        smooth.append(rows.min() < cut(plain, finding).min())
    assert all(smooth)


def test_random_findings_are_drawable_and_follow_the_prevalences() -> None:
    rng = np.random.default_rng(0)
    drawn = [sample_findings(rng) for _ in range(4000)]
    assert max(len(findings) for findings in drawn) == MOST_FINDINGS
    assert 0.15 < np.mean([not findings for findings in drawn]) < 0.25
    for kind in KINDS.values():
        share = np.mean([any(finding.kind == kind.name for finding in findings) for findings in drawn])
        assert 0.5 * kind.prevalence < share < 1.05 * kind.prevalence
    for findings in drawn:
        for finding in findings:
            assert finding.side in (KINDS[finding.kind].sides or (None,))
            assert finding.zone in (zones_of(finding.kind, finding.side) or (None,))


def test_labels_by_hand() -> None:
    labels = chexpert_labels([Finding("cardiomegaly"), Finding("pacemaker", "left")])
    assert [name for name, value in labels.items() if value] == [
        "Enlarged Cardiomediastinum",
        "Cardiomegaly",
        "Support Devices",
    ]
    assert tuple(labels) == LABELS
    assert chexpert_labels([Finding("pacemaker", "left")])["No Finding"] == 1
    assert chexpert_labels([Finding("scoliosis", "left")])["No Finding"] == 0
    assert chexpert_labels([])["No Finding"] == 1

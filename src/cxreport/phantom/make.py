"""One phantom: which findings, the two views, the truth with its boxes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from PIL import Image

from cxreport.phantom.anatomy import Chest, sample_chest
from cxreport.phantom.devices import DEVICES
from cxreport.phantom.findings import PATHOLOGY
from cxreport.phantom.geometry import Array, Rays
from cxreport.phantom.kinds import KINDS, zones_of
from cxreport.phantom.render import expose, line_integrals, rays_of, tubes_of
from cxreport.study import PROJECTIONS, Box, Finding, View

_DRAW = {**PATHOLOGY, **DEVICES}
_ORDER = {kind: place for place, kind in enumerate(_DRAW)}

NORMAL_SHARE = 0.15
"""Share of grammar studies that are normal by design; some of the others are normal by chance."""
MOST_FINDINGS = 5
_NEVER_TOGETHER = (
    {"pneumothorax", "pleural_effusion"},
    {"pneumothorax", "edema"},
    {"emphysema", "edema"},
    {"emphysema", "elevated_hemidiaphragm"},
    {"emphysema", "cardiomegaly"},
    {"elevated_hemidiaphragm", "pleural_effusion"},
    {"elevated_hemidiaphragm", "atelectasis"},
    {"hiatal_hernia", "pleural_effusion"},
)


def sample_findings(rng: np.random.Generator) -> tuple[Finding, ...]:
    """Random findings, each kind with its prevalence; pairs that hide one another are not drawn together."""
    if rng.random() < NORMAL_SHARE:
        return ()
    wanted = [name for name, kind in KINDS.items() if rng.random() < kind.prevalence]
    chosen: list[str] = []
    for name in rng.permutation(wanted)[:MOST_FINDINGS]:
        if not any({str(name), other} in _NEVER_TOGETHER for other in chosen):
            chosen.append(str(name))
    return tuple(sample_finding(name, rng) for name in KINDS if name in chosen)


def sample_finding(kind: str, rng: np.random.Generator) -> Finding:
    """A finding of `kind` with random side, zone and severity."""
    options = KINDS[kind]
    side = str(rng.choice(options.sides)) if options.sides else None
    zones = zones_of(kind, side)  # type: ignore[arg-type]
    zone = str(rng.choice(zones)) if zones else None
    severity = str(rng.choice(options.severities)) if options.severities else None
    return Finding(kind, side, zone, severity)  # type: ignore[arg-type]


def render_study(
    findings: Sequence[Finding], size: int, rng: np.random.Generator
) -> tuple[tuple[View, ...], tuple[Finding, ...], Chest]:
    """Render a frontal and a lateral view (`size` pixels a side) of one random chest with `findings`.

    The same generator gives the same chest at every size and with any findings. Returns the views, the
    same findings with a box in each view, and the chest.
    """
    body_rng, finding_rng, vessel_rng, *view_rngs = rng.spawn(3 + len(PROJECTIONS))
    chest = sample_chest(body_rng)
    marks: dict[int, list[Array]] = {}
    for place in sorted(range(len(findings)), key=lambda i: _ORDER[findings[i].kind]):
        finding = findings[place]
        sides = ("left", "right") if finding.side == "bilateral" else (finding.side or "",)
        marks[place] = [_DRAW[finding.kind](chest, finding, side, finding_rng) for side in sides]
    tubes = tubes_of(chest, vessel_rng)
    views, boxes = [], [dict[str, Box]() for _ in findings]
    for projection, view_rng in zip(PROJECTIONS, view_rngs, strict=True):
        rays = rays_of(chest, projection, size, view_rng)
        pixels = expose(line_integrals(chest, rays, tubes, view_rng), rays, view_rng)
        views.append(View(_png(pixels), size, size, projection))
        for place, points in marks.items():
            box = _box(np.concatenate(points), rays)
            if box is not None:
                boxes[place][projection] = box
    marked = tuple(replace(finding, boxes=box) for finding, box in zip(findings, boxes, strict=True))
    return tuple(views), marked, chest


def _box(points: Array, rays: Rays) -> Box | None:
    """The box of `points` as fractions of the view, None where it lies outside or is too thin to see."""
    columns, rows = rays.project(points)
    edges = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / rays.size
    left, top, right, bottom = (float(edge) for edge in np.clip(edges, 0, 1))
    return (left, top, right, bottom) if right - left > 0.005 and bottom - top > 0.005 else None


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()

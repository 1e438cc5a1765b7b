"""What is known of a phantom beside its findings: where its lungs are in a view."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cxreport.phantom.anatomy import SIDES, Chest
from cxreport.phantom.geometry import Rays, covered, length
from cxreport.phantom.make import render_study
from cxreport.phantom.render import rays_of
from cxreport.study import PROJECTIONS, Finding, View

LEAST_AIR = 45.0
"""A pixel belongs to a lung where its ray passes this many millimetres of it; the rim behind the diaphragm is
thinner and is not seen."""


def lung_fields(chest: Chest, rays: Rays) -> npt.NDArray[np.bool_]:
    """Pixels (H, W) of a view whose ray passes lung, not hidden by heart, spine, vessels or diaphragm."""
    solids = [
        solid.interval(rays) for solid in (*chest.heart(), *chest.vessels_of_mediastinum(), chest.spine())
    ]
    fields = np.zeros((rays.size, rays.size), dtype=bool)
    for side in SIDES:
        cavity = chest.lung(side).interval(rays)
        hidden = covered(cavity, [*solids, chest.dome(side).interval(rays)])
        fields |= length(cavity) - hidden > LEAST_AIR
    return fields


def frontal_and_lungs(
    findings: Sequence[Finding], size: int, seed: int
) -> tuple[View, npt.NDArray[np.bool_]]:
    """The frontal view of the chest of `seed` with `findings`, and its lung fields (H, W)."""
    views, _, chest = render_study(findings, size, np.random.default_rng(seed))
    frontal = np.random.default_rng(seed).spawn(3 + len(PROJECTIONS))[3]  # as render_study draws
    return views[0], lung_fields(chest, rays_of(chest, "frontal", size, frontal))

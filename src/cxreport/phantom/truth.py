"""What is known of a phantom beside its findings: where its lungs are in a view."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cxreport.phantom.anatomy import SIDES, Chest
from cxreport.phantom.geometry import Rays, covered, length

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

"""From a chest in three dimensions to an X-ray picture.

Beer-Lambert along parallel rays, scattered light from a wide blur of the primary picture, photon noise,
then a radiograph's logarithmic display: dense is white.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, zoom

from cxreport.phantom.anatomy import BONE, LUNG, SIDES, SOFT, Chest
from cxreport.phantom.geometry import (
    Array,
    Cloud,
    Rays,
    Triple,
    cloud_of,
    covered,
    haze,
    length,
    meet,
    splat,
)
from cxreport.phantom.skeleton import bones
from cxreport.phantom.vessels import vessel_cloud
from cxreport.study import Projection

SCATTER_SHARE = 0.35
"""Scattered photons for each primary one at the detector, behind a grid."""
PHOTONS = 1_200.0
"""Photons that a detector element of 1 mm counts on average behind the patient (automatic exposure)."""


def rays_of(chest: Chest, projection: Projection, size: int, rng: np.random.Generator) -> Rays:
    """The field that a radiographer would choose, with a random shift and zoom."""
    height = chest.apex - chest.sulcus
    extent = height * 1.24 + 16
    if projection == "frontal":
        extent = max(extent, 2 * chest.half_width + 44)
    extent *= float(rng.uniform(0.96, 1.07))
    middle = (chest.apex + chest.sulcus) / 2 + 0.035 * extent
    shift = rng.normal(0, 0.015 * extent, 3)
    return Rays(projection, size, extent, (float(shift[0]), float(shift[1]), float(middle + shift[2])))


def tubes_of(chest: Chest, rng: np.random.Generator) -> list[Cloud]:
    """Everything thin in a chest, the same for both of its views."""
    tubes = (*bones(chest), *chest.airways(), *chest.tubes)
    return [cloud_of([chest.turned(tube) for tube in tubes]), vessel_cloud(chest, rng)]


def line_integrals(chest: Chest, rays: Rays, tubes: list[Cloud], rng: np.random.Generator) -> Array:
    """Attenuation times length, summed along every ray: (H, W), no unit."""
    body = chest.body(lateral=rays.projection == "lateral").interval(rays)
    total = SOFT * length(body)
    for breast in chest.breasts():
        shape = breast.interval(rays)
        total += SOFT * (length(shape) - length(meet(shape, body)))
    total += BONE * 0.30 * length(chest.spine().interval(rays))
    shadow = [
        solid.interval(rays)
        for solid in (*chest.heart(), *chest.vessels_of_mediastinum(), chest.spine(), *chest.soft)
    ]
    texture = 1 + 0.05 * _texture(rays.size, rng, 28) + 0.04 * _texture(rays.size, rng, 70)
    aerated = np.zeros_like(total)
    for side in SIDES:
        dome = chest.dome(side).interval(rays)
        cavity = chest.lung(side).interval(rays)
        lung, solids = cavity, [*shadow, dome]
        if side in chest.lung_left_by_fluid:
            lung = meet(lung, chest.lung_left_by_fluid[side].interval(rays))
        free = length(lung) - covered(lung, solids)
        if side in chest.lung_left_by_air:
            edge = chest.lung_left_by_air[side]
            kept = meet(lung, edge.interval(rays))
            part = length(kept) - covered(kept, solids)
            total -= SOFT * (free - part)
            rim = meet(lung, replace(edge, radii=_wider(edge.radii, 1.3)).interval(rays))
            total += (SOFT * 0.75) * np.maximum(length(rim) - covered(rim, solids) - part, 0)
            free = part
        total -= (SOFT - chest.lung_attenuation[side] * texture) * free
        aerated += free
    share = np.clip(aerated / 60, 0, 1)
    for blob in chest.blobs:
        patchy = np.clip(1 + 0.35 * _texture(rays.size, rng, 40), 0.2, 1.8)
        total += share * np.minimum(haze(blob, rays) * patchy, (SOFT - LUNG) * aerated)
    for solid, attenuation in chest.dense:
        total += attenuation * length(solid.interval(rays))
    for bubble in chest.air:
        total -= SOFT * 0.92 * length(meet(bubble.interval(rays), body))
    for cloud in tubes:
        total += splat(cloud, rays)
    return np.maximum(total, 0)


def expose(integrals: Array, rays: Rays, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Line integrals to an 8-bit picture (H, W)."""
    primary = np.exp(-integrals)
    small = max(rays.size // 8, 8) / rays.size
    coarse = zoom(primary, small, order=1)
    blurred = gaussian_filter(coarse, 45.0 / (rays.pixel / small), mode="nearest")
    grown = zoom(blurred, rays.size / blurred.shape[0], order=1)[: rays.size, : rays.size]
    light = primary + SCATTER_SHARE * (0.12 * grown + 0.004)
    middle = slice(rays.size // 4, 3 * rays.size // 4)
    exposure = PHOTONS * rays.pixel**2 / float(light[middle, middle].mean())
    counts = exposure * light
    noisy = counts + rng.standard_normal(counts.shape, dtype=np.float32) * np.sqrt(counts)
    density = -np.log(np.maximum(noisy, 1.0) / exposure).astype(np.float32)
    density = gaussian_filter(density, 0.45)
    return display(density, rng)


def display(density: Array, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """The display curve of a digital radiograph: window from the picture's own range, then a soft S."""
    margin = density.shape[0] // 8
    middle = density[margin:-margin, margin:-margin]
    exposed = middle[::2, ::2]
    low, high = np.percentile(exposed[exposed > 0.35 * exposed.max()], (4, 97))
    low, high = low - 0.25 * (high - low), high + 0.40 * (high - low)
    tone = np.clip((density - low) / (high - low), -1.0, 1.5)
    contrast = float(rng.uniform(4.6, 5.6))
    middle_tone = float(rng.uniform(0.34, 0.40))
    curve = 1 / (1 + np.exp(-contrast * (tone - middle_tone)))
    ends = 1 / (1 + np.exp(-contrast * (np.array([-0.05, 1.08]) - middle_tone)))
    grey = (curve - ends[0]) / (ends[1] - ends[0])
    return np.clip(grey * 250 + 2, 0, 255).astype(np.uint8)


def _wider(radii: Triple, by: float) -> Triple:
    return radii[0] + by, radii[1] + by, radii[2] + by


def _texture(size: int, rng: np.random.Generator, cells: int) -> Array:
    """Smooth noise (H, W) with about `cells` blots across the picture, unit deviation."""
    grid = rng.standard_normal((cells + 2, cells + 2), dtype=np.float32)
    fine = zoom(grid, size / cells, order=1)[:size, :size]
    return (fine / max(float(fine.std()), 1e-6)).astype(np.float32)

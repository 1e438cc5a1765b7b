"""The branching vessels of the lungs."""

from __future__ import annotations

import numpy as np

from cxreport.phantom.anatomy import LUNG, SIDES, SOFT, Chest, sign
from cxreport.phantom.geometry import Array, Cloud

GENERATIONS = 6
_POINTS = 9


def vessel_cloud(chest: Chest, rng: np.random.Generator) -> Cloud:
    """Points along all pulmonary vessels, those outside the aerated lung left out.

    Each trunk splits in two six times; radii fall by 0.76 and lengths by 0.84 a generation, with thinner
    and fewer branches upwards, as in a person who stands.
    """
    parts = [_tree(chest, side, rng) for side in SIDES]
    points = np.concatenate([part[0] for part in parts])
    radius = np.concatenate([part[1] for part in parts])
    step = np.concatenate([part[2] for part in parts])
    mass = np.pi * radius**2 * step * (SOFT - LUNG) * 1.25
    return Cloud(points, radius, mass.astype(np.float32))


def _tree(chest: Chest, side: str, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    s, k = sign(side), chest.scale
    trunks = np.array(
        [(0.75, -0.25, 1.0), (0.95, 0.4, 0.55), (1.0, -0.45, -0.1), (0.8, 0.35, -0.8), (0.45, 0.05, -1.1)]
    )
    trunks = trunks * [s, 1, 1] + rng.normal(0, 0.13, trunks.shape)
    weight = np.where(trunks[:, 2] > 0.3, 0.78 * chest.upper_vessels, 1.0)
    start = np.repeat(np.array([chest.hilum(side)]), len(trunks), axis=0) + rng.normal(0, 3, trunks.shape)
    direction = trunks / np.linalg.norm(trunks, axis=1, keepdims=True)
    radius = 4.6 * k * chest.vessel_size * weight * rng.uniform(0.85, 1.15, len(trunks))
    span = 30.0 * k
    lung, limits = chest.lung(side), [chest.lung_left_by_fluid.get(side), chest.lung_left_by_air.get(side)]
    all_points, all_radii, all_steps = [], [], []
    along = np.linspace(0, 1, _POINTS, dtype=np.float32)[None, :, None]
    for generation in range(GENERATIONS + 1):
        lengths = span * rng.uniform(0.75, 1.3, len(start))
        bend = rng.normal(0, 0.12, start.shape) * lengths[:, None]
        end = start + direction * lengths[:, None]
        curve = start[:, None] + (end - start)[:, None] * along + bend[:, None] * (along * (1 - along) * 2)
        taper = radius[:, None] * np.linspace(1, 0.84, _POINTS)[None, :]
        all_points.append(curve.reshape(-1, 3))
        all_radii.append(taper.reshape(-1))
        all_steps.append(np.repeat(lengths / (_POINTS - 1), _POINTS))
        if generation == GENERATIONS:
            break
        start = np.repeat(end, 2, axis=0)
        aside = rng.normal(0, 1, start.shape)
        parent = np.repeat(direction, 2, axis=0)
        aside -= (aside * parent).sum(axis=1, keepdims=True) * parent
        aside /= np.linalg.norm(aside, axis=1, keepdims=True) + 1e-6
        spread = np.tan(np.deg2rad(rng.uniform(14, 42, len(start))))[:, None]
        aside[1::2] = -aside[::2]
        direction = parent + aside * spread
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        radius = np.repeat(radius, 2) * 0.76 * rng.uniform(0.8, 1.12, len(start))
        span *= 0.84
        alive = rng.random(len(start)) < min(0.5 + 0.5 * chest.vessel_count, 1.0)
        start, direction, radius = start[alive], direction[alive], radius[alive]
    points = np.concatenate(all_points).astype(np.float32)
    radii = np.concatenate(all_radii).astype(np.float32)
    steps = np.concatenate(all_steps).astype(np.float32)
    inside = lung.contains(points, margin=2.0)
    for limit in limits:
        if limit is not None:
            inside &= limit.contains(points)
    inside &= ~chest.dome(side).contains(points)
    return points[inside], radii[inside], steps[inside]

"""Lines, tubes and hardware that a chest X-ray shows."""

from __future__ import annotations

import numpy as np

from cxreport.phantom.anatomy import Chest, sign
from cxreport.phantom.findings import Draw
from cxreport.phantom.geometry import Array, Ellipsoid, Tube, path
from cxreport.study import Finding

_METAL = 0.45
"""Attenuation of steel and titanium, per mm."""


def _enclosing(*parts: Array) -> Array:
    points = np.concatenate(parts)
    return np.stack([points.min(axis=0) - 2, points.max(axis=0) + 2])


def central_line(chest: Chest, finding: Finding, side: str, rng: np.random.Generator) -> Array:
    s, k = sign(side), chest.scale
    tip = (-20 * k + chest.mediastinal_shift, -8 * k, float(rng.uniform(8, 34)) * k)
    if rng.random() < 0.5:
        start = [(s * 34 * k, -4, chest.apex + 75 * k), (s * 27 * k, -10, chest.apex + 20 * k)]
    else:
        start = [(s * 118 * k, -30, chest.apex - 26 * k), (s * 62 * k, -34, chest.apex - 10 * k)]
    joint = (-16 * k if side == "right" else 4 * k, -14 * k, 82 * k)
    line = path(*start, joint, tip)
    chest.tubes.append(Tube(line, 1.6, 0.15))
    return _enclosing(line)


def endotracheal_tube(chest: Chest, finding: Finding, side: str, rng: np.random.Generator) -> Array:
    k, tip = chest.scale, float(rng.uniform(66, 90))
    tube = path((float(rng.normal(0, 3)), 0, 235 * k), (0, 6, 140 * k), (1.5 * k, 12 * k, tip * k))
    chest.tubes.append(Tube(tube, 4.5 * k, 0.018))
    chest.tubes.append(Tube(tube + np.array([2.5, 0, 0], np.float32), 1.0, 0.2))
    return _enclosing(tube)


def pacemaker(chest: Chest, finding: Finding, side: str, rng: np.random.Generator) -> Array:
    s, k = sign(side), chest.scale
    box = (
        s * float(rng.uniform(78, 96)) * k,
        -chest.half_depth - 6,
        chest.apex - float(rng.uniform(22, 44)) * k,
    )
    can = Ellipsoid(box, (23 * k, 6, 19 * k), float(rng.uniform(-30, 30)))
    chest.dense.append((can, 0.13))
    heart = chest.heart()[0]
    vein = [(s * 44 * k, -30 * k, chest.apex - 12 * k), (-8 * k, -16 * k, 84 * k), (-22 * k, -14 * k, 20 * k)]
    apex = (heart.centre[0] + 0.42 * heart.radii[0], -50 * k, heart.centre[2] - 0.55 * heart.radii[2])
    ventricle = path(box, *vein, (-6 * k, -34 * k, heart.centre[2]), apex)
    chest.tubes.append(Tube(ventricle, 1.2, 0.3))
    if rng.random() < 0.6:
        atrium = path(box, *[(x + 3, y, z) for x, y, z in vein], (-26 * k, -40 * k, heart.centre[2] + 22 * k))
        chest.tubes.append(Tube(atrium, 1.2, 0.3))
    return _enclosing(can.corners(), ventricle)


def sternotomy_wires(chest: Chest, finding: Finding, side: str, rng: np.random.Generator) -> Array:
    k, angle = chest.scale, np.linspace(0, 2 * np.pi, 36)
    loops = []
    for z in np.linspace(84, -38, int(rng.integers(5, 8))):
        x, tilt = float(rng.normal(0, 1.2)), float(rng.normal(0, 0.25))
        ring = np.stack(
            [
                x + 8.5 * k * np.cos(angle),
                -0.95 * chest.half_depth + 4 * np.sin(angle),
                z * k + 4.5 * k * np.sin(angle) + 8.5 * tilt * np.cos(angle),
            ],
            axis=1,
        )
        chest.tubes.append(Tube(ring, 1.1, _METAL))
        loops.append(ring)
    return _enclosing(*loops)


def surgical_clips(chest: Chest, finding: Finding, side: str, rng: np.random.Generator) -> Array:
    s, k = sign(side), chest.scale
    hilum = rng.random() < 0.5
    middle = chest.hilum(side) if hilum else (s * 0.92 * chest.half_width, -30.0, chest.apex - 58 * k)
    clips = []
    for _ in range(int(rng.integers(4, 8))):
        start = np.array(middle) + rng.normal(0, 10, 3) + np.array([s * 14 if hilum else 0, 0, 0])
        lean = rng.normal(0, 1, 3) * np.array([1, 0.3, 1])
        end = start + 7.5 * lean / np.linalg.norm(lean)
        clip = path(tuple(start), tuple(end), step=0.6)
        chest.tubes.append(Tube(clip, 1.2, _METAL))
        clips.append(clip)
    return _enclosing(*clips)


DEVICES: dict[str, Draw] = {
    draw.__name__: draw
    for draw in (central_line, endotracheal_tube, pacemaker, sternotomy_wires, surgical_clips)
}
"""Drawing functions by kind."""

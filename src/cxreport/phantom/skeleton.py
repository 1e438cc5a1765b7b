"""Ribs, clavicles, scapulae, sternum and the details of the spine, as tubes of extra attenuation."""

from __future__ import annotations

import numpy as np

from cxreport.phantom.anatomy import BONE, SIDES, Chest, sign
from cxreport.phantom.geometry import Array, Column, Tube, path

RIBS = 10


def rib_curve(chest: Chest, lung: Column, side: str, number: int) -> Array:
    """The middle line (N, 3) of a rib, 1 the highest, from the spine round the `lung` to the front end."""
    s, k = sign(side), chest.scale
    share = (number - 1) / (RIBS - 1)
    start = chest.apex + (2 - 190 * share) * k
    drop = (34 + 52 * share) * k
    reach = np.deg2rad(float(np.interp(number, [1, 3, 7, 8, 10], [150, 160, 152, 135, 110])))
    angle = np.linspace(np.deg2rad(14), reach, int(60 + 60 * min(share + 0.3, 1)))
    z = start + 7 * k * np.sin(np.minimum(angle * 2.2, np.pi)) - drop * (1 - np.cos(angle)) / 2
    lateral = np.abs(lung.outer(np.clip(z, chest.sulcus + 12, chest.apex - 7))) + 3 * k
    depth = lung.depth(np.clip(z, chest.sulcus + 12, chest.apex - 12)) + 4 * k
    back = lung.back(np.clip(z, chest.sulcus + 12, chest.apex - 12))
    bulge = np.abs(np.sin(angle)) ** 0.72
    shift = chest.spine_curve(z) * 0.5 * np.maximum(np.cos(angle), 0)
    return np.stack([s * lateral * bulge + shift, back + depth * np.cos(angle), z], axis=1).astype(np.float32)


def _rib(chest: Chest, lung: Column, side: str, number: int) -> list[Tube]:
    points, k = rib_curve(chest, lung, side, number), chest.scale
    radius = (4.6 + 0.25 * number if number < 8 else 6.2) * k
    keep = np.ones(len(points), dtype=bool)
    for broken_side, broken, place in chest.rib_breaks:
        if (broken_side, broken) == (side, number):
            at = int(place * len(points))
            keep[at - 2 : at + 2] = False
            points[at:, 2] -= 7.5 * k * np.exp(-np.arange(len(points) - at) / 14)
    fade = np.clip((len(points) - np.arange(len(points))) / 10, 0.1, 1) ** 0.5
    thick = radius * fade
    border = np.array([0, 0, 0.85], np.float32) * thick[:, None]
    pieces = np.split(np.flatnonzero(keep), np.flatnonzero(np.diff(np.flatnonzero(keep)) > 1) + 1)
    tubes = []
    for piece in pieces:
        tubes.append(Tube(points[piece], thick[piece], BONE * 0.62))
        tubes.append(Tube((points + border)[piece], 1.2 * k, BONE * 1.5))
        tubes.append(Tube((points - border)[piece], 1.3 * k, BONE * 2.2))
    return tubes


def bones(chest: Chest) -> list[Tube]:
    """All bones but the vertebral bodies."""
    k, front = chest.scale, -chest.half_depth
    tubes = []
    for side in SIDES:
        lung = chest.lung(side)
        for number in range(1, RIBS + 1):
            tubes += _rib(chest, lung, side, number)
    for s in (-1.0, 1.0):
        top = chest.apex - 16 * k
        collar = path(
            (s * 14 * k, front * 0.62, top - 4 * k),
            (s * 60 * k, front * 0.80, top + 6 * k),
            (s * 110 * k, front * 0.25, top + 22 * k),
            (s * 152 * k, front * 0.02, top + 24 * k),
        )
        tubes.append(Tube(collar, 5.4 * k, BONE * 0.6))
        for edge in (-4.6, 4.6):
            tubes.append(Tube(collar + np.array([0, 0, edge * k], np.float32), 1.2 * k, BONE * 1.8))
        wing = chest.half_width
        tubes.append(
            Tube(
                path(
                    (s * (wing - 22 * k), 62 * k, 92 * k),
                    (s * (wing - 10 * k), 78 * k, 40 * k),
                    (s * (wing - 1 * k), 70 * k, -6 * k),
                    (s * (wing + 12 * k), 52 * k, 50 * k),
                    (s * (wing + 26 * k), 30 * k, 88 * k),
                ),
                2.6 * k,
                BONE * 1.2,
            )
        )
        tubes.append(Tube(path((s * 176 * k, 4, 104 * k), (s * 190 * k, 4, 40 * k)), 17 * k, BONE * 0.8))
        tubes.append(Tube(path((s * 172 * k, 4, 128 * k), (s * 178 * k, 4, 112 * k)), 23 * k, BONE * 0.6))
    sternum = path((0, front * 0.66, 96 * k), (0, front * 0.98, 20 * k), (0, front * 1.02, -50 * k))
    for x in (-11, -4, 4, 11):
        tubes.append(Tube(sternum + np.array([x * k, 0, 0], np.float32), 6 * k, BONE * 0.35))
    return tubes + _vertebrae(chest)


def _vertebrae(chest: Chest) -> list[Tube]:
    """End plates, pedicles and spinous processes."""
    k, spine = chest.scale, chest.spine()
    tubes = []
    for z in np.arange(-190, 215, 22.5) * k:
        x, half = float(spine.ridge(z)), 0.86 * float(spine.outer(z) - spine.ridge(z))
        back, deep = float(spine.back(z)), 0.8 * float(spine.depth(z))
        for dy in (-0.6, 0.0, 0.6):
            plate = path((x - half, back + dy * deep, z), (x + half, back + dy * deep, z))
            tubes.append(Tube(plate, 1.7 * k, BONE * 0.8))
        for s in (-1, 1):
            pedicle = path(
                (x + s * 0.66 * half, back + deep, z - 8 * k),
                (x + s * 0.66 * half, back + deep + 15, z - 8 * k),
            )
            tubes.append(Tube(pedicle, 2.8 * k, BONE * 0.5))
        process = path((x, back + deep + 14 * k, z - 10 * k), (x, back + deep + 36 * k, z - 24 * k))
        tubes.append(Tube(process, 3.0 * k, BONE * 0.5))
    return tubes

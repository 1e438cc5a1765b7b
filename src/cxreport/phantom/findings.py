"""Findings, drawn by changing the three-dimensional chest.

Every function here takes the chest, a finding with its side, zone and severity, one side to draw
("left", "right", or "" for a kind without sides) and a random generator; it changes the chest and returns
points (N, 3) in mm that enclose what a reader would mark. Sizes follow the usual radiological terms: a
nodule is below 30 mm, a mass above; a mild effusion blunts the angle, a large one passes the hilum.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cxreport.phantom.anatomy import LUNG, SOFT, Chest, sign
from cxreport.phantom.geometry import Array, Blob, Ellipsoid, Profile, Tube, path
from cxreport.phantom.skeleton import rib_curve
from cxreport.study import Finding

Draw = Callable[[Chest, Finding, str, np.random.Generator], Array]

_THIRDS = {"upper": (0.66, 0.88), "middle": (0.38, 0.60), "lower": (0.10, 0.32)}
_LOBES = {
    "upper lobe": (0.52, -0.10, 0.74, (24.0, 36.0, 21.0)),
    "middle lobe": (0.46, -0.45, 0.24, (25.0, 26.0, 17.0)),
    "lingula": (0.60, -0.45, 0.26, (22.0, 26.0, 18.0)),
    "lower lobe": (0.52, 0.45, 0.12, (28.0, 30.0, 21.0)),
}


def _grade(finding: Finding, mild: float, moderate: float, severe: float) -> float:
    return {"mild": mild, "moderate": moderate, "severe": severe}[finding.severity or "moderate"]


def _about(points: Array, margin: float) -> Array:
    """The corners of the box around `points`, `margin` mm wider on every side."""
    return np.stack([points.min(axis=0) - margin, points.max(axis=0) + margin]).astype(np.float32)


def _inside(chest: Chest, side: str, across: float, deep: float, up: float) -> tuple[float, float, float]:
    """A point of a lung: `across` 0 (medial) to 1 (lateral), `deep` -1 (front) to 1, `up` 0 (dome) to 1."""
    lung = chest.lung(side)
    z = chest.dome_top[side] + up * (chest.apex - chest.dome_top[side])
    inner, outer = float(lung.inner(z)), float(lung.outer(z))
    x = inner + across * (outer - inner)
    return x, float(lung.back(z)) + deep * 0.85 * float(lung.depth(z)), z


def _spot(chest: Chest, finding: Finding, side: str, rng: np.random.Generator) -> tuple[float, float, float]:
    """A place in the lung third of the finding, beside the heart rather than behind it."""
    low, high = _THIRDS[finding.zone or "middle"]
    medial = 0.62 if side == "left" and finding.zone == "lower" else 0.38
    return _inside(chest, side, rng.uniform(medial, 0.80), rng.uniform(-0.5, 0.5), rng.uniform(low, high))


def cardiomegaly(chest: Chest, finding: Finding, side: str, rng: np.random.Generator) -> Array:
    chest.heart_scale *= _grade(finding, 1.19, 1.34, 1.52) * float(rng.uniform(0.97, 1.03))
    return _about(np.concatenate([part.corners() for part in chest.heart()[:2]]), 0)


def pleural_effusion(chest: Chest, finding: Finding, side: str, rng: np.random.Generator) -> Array:
    s, width = sign(side), chest.half_width
    above = _grade(finding, 2, 44, 92) + float(rng.uniform(-4, 6))
    rise = 48.0 + 0.2 * above
    bottom = chest.dome_top[side] + above - 14
    chest.lung_left_by_fluid[side] = Ellipsoid(
        (s * 0.50 * width, -6.0, bottom + rise), (0.545 * width, 1.16 * chest.half_depth, rise), extends="up"
    )
    if finding.severity == "severe" and finding.side != "bilateral":
        chest.mediastinal_shift -= s * float(rng.uniform(4, 9))
    top = bottom + 0.5 * rise
    inner = 0.72 if finding.severity == "mild" else 0.15
    return np.array([(s * inner * width, -60, chest.sulcus + 8), (s * width, 75, top)], np.float32)


def pneumothorax(chest: Chest, finding: Finding, side: str, rng: np.random.Generator) -> Array:
    s, width, depth = sign(side), chest.half_width, chest.half_depth
    gap = _grade(finding, 15, 28, 52) * float(rng.uniform(0.9, 1.12))
    middle = chest.dome_top[side] + 0.30 * (chest.apex - chest.dome_top[side])
    chest.lung_left_by_air[side] = Ellipsoid(
        (s * 0.22 * width, 4.0, middle),
        (0.77 * width - 0.75 * gap, 1.05 * depth - 0.3 * gap, chest.apex - middle - gap),
        extends="down",
    )
    if finding.severity == "severe":
        chest.mediastinal_shift -= s * float(rng.uniform(4, 10))
    return np.array([(s * 0.1 * width, -60, middle), (s * width, 60, chest.apex)], np.float32)


def consolidation(chest: Chest, finding: Finding, side: str, rng: np.random.Generator) -> Array:
    across, deep, up, widths = _LOBES[finding.zone or "lower lobe"]
    size = _grade(finding, 0.72, 0.92, 1.12)
    peak = _grade(finding, 0.0095, 0.0115, 0.0135)
    places = []
    for _ in range(4):
        shift = rng.normal(0, 0.09, 3)
        centre = _inside(chest, side, across + shift[0], deep + shift[1], up + 0.5 * shift[2])
        grown = np.array(widths) * size * chest.scale * rng.uniform(0.5, 0.85, 3)
        spread = (float(grown[0]), float(grown[1]), float(grown[2]))
        chest.blobs.append(Blob(centre, spread, peak * float(rng.uniform(0.6, 1.0))))
        places += [np.array(centre) - np.array(spread), np.array(centre) + np.array(spread)]
    return _about(np.array(places, np.float32), 2)


def atelectasis(chest: Chest, finding: Finding, side: str, rng: np.random.Generator) -> Array:
    s, k = sign(side), chest.scale
    places = []
    if finding.zone == "volume loss":
        chest.dome_top[side] += float(rng.uniform(14, 22)) * k
        if finding.side != "bilateral":
            chest.mediastinal_shift += s * float(rng.uniform(6, 11))
        for _ in range(3):
            across = float(rng.uniform(0.15, 0.42))
            centre = _inside(
                chest, side, across, float(rng.uniform(0.2, 0.6)), float(rng.uniform(0.02, 0.14))
            )
            chest.blobs.append(Blob(centre, (17 * k, 26 * k, 13 * k), 0.011))
            places.append(centre)
        return _about(np.array(places, np.float32), 20 * k)
    for _ in range(int(rng.integers(1, 3))):
        across = float(rng.uniform(0.55 if side == "left" else 0.4, 0.68))
        centre = _inside(chest, side, across, float(rng.uniform(-0.3, 0.4)), float(rng.uniform(0.07, 0.26)))
        plate = Ellipsoid(
            centre, (float(rng.uniform(22, 32)) * k, 26 * k, 2.1 * k), float(rng.uniform(-22, 22))
        )
        chest.soft.append(plate)
        places += list(plate.corners())
    return _about(np.array(places, np.float32), 3)


def edema(chest: Chest, finding: Finding, side: str, rng: np.random.Generator) -> Array:
    k, peak = chest.scale, _grade(finding, 0.0055, 0.0075, 0.0098)
    chest.vessel_size *= _grade(finding, 1.15, 1.25, 1.30)
    chest.upper_vessels *= _grade(finding, 1.3, 1.5, 1.6)
    places = []
    for lung in ("left", "right"):
        for up, across in ((0.46, 0.28), (0.30, 0.34), (0.58, 0.38)):
            centre = _inside(
                chest, lung, across + float(rng.normal(0, 0.05)), 0.0, up + float(rng.normal(0, 0.04))
            )
            chest.blobs.append(Blob(centre, (23 * k, 34 * k, 23 * k), peak * float(rng.uniform(0.45, 0.75))))
            places.append(centre)
        for _ in range(int(_grade(finding, 5, 8, 10))):
            x, y, z = _inside(chest, lung, 0.97, float(rng.uniform(-0.3, 0.3)), float(rng.uniform(0.0, 0.30)))
            chest.tubes.append(Tube(path((x, y, z), (x - sign(lung) * 14 * k, y, z + 1.5)), 0.8, SOFT * 1.6))
    return _about(np.array(places, np.float32), 24 * k)


def _ball(chest: Chest, centre: tuple[float, float, float], radius: float, rng: np.random.Generator) -> Array:
    a, b, c = (float(radius * rng.uniform(0.88, 1.12)) for _ in range(3))
    ball = Ellipsoid(centre, (a, b, c), float(rng.uniform(-40, 40)))
    chest.soft.append(ball)
    return ball.corners()


def nodule(chest: Chest, finding: Finding, side: str, rng: np.random.Generator) -> Array:
    return _about(_ball(chest, _spot(chest, finding, side, rng), float(rng.uniform(10.0, 14.5)), rng), 1)


def mass(chest: Chest, finding: Finding, side: str, rng: np.random.Generator) -> Array:
    x, y, z = _spot(chest, finding, side, rng)
    radius = float(rng.uniform(22, 31))
    corners = [_ball(chest, (x, y, z), radius, rng)]
    for _ in range(3):
        dx, dy, dz = rng.normal(0, 0.45 * radius, 3)
        corners.append(_ball(chest, (x + dx, y + dy, z + dz), 0.65 * radius, rng))
    return _about(np.concatenate(corners), 1)


def calcified_granuloma(chest: Chest, finding: Finding, side: str, rng: np.random.Generator) -> Array:
    centre, radius = _spot(chest, finding, side, rng), float(rng.uniform(4.4, 6.4))
    ball = Ellipsoid(centre, (radius, radius, radius * float(rng.uniform(0.8, 1.1))))
    chest.dense.append((ball, 0.10))
    return _about(ball.corners(), 1)


def emphysema(chest: Chest, finding: Finding, side: str, rng: np.random.Generator) -> Array:
    k = chest.scale
    for lung in ("left", "right"):
        chest.dome_top[lung] -= _grade(finding, 13, 20, 27) * k
        chest.lung_attenuation[lung] *= _grade(finding, 0.80, 0.68, 0.56)
    chest.sulcus -= _grade(finding, 4, 6, 8) * k
    chest.dome_height *= _grade(finding, 0.55, 0.42, 0.32)
    chest.half_depth *= _grade(finding, 1.08, 1.13, 1.18)
    chest.heart_scale *= _grade(finding, 0.92, 0.88, 0.85)
    chest.vessel_count *= _grade(finding, 0.75, 0.55, 0.35)
    chest.vessel_size *= 0.9
    w, d = chest.half_width, chest.half_depth
    return np.array([(-w, -d, min(chest.dome_top.values())), (w, d, chest.apex)], np.float32)


def elevated_hemidiaphragm(chest: Chest, finding: Finding, side: str, rng: np.random.Generator) -> Array:
    raised = float(rng.uniform(30, 48)) * chest.scale
    chest.dome_top[side] += raised
    dome = chest.dome(side)
    x, y, _ = dome.centre
    rx, ry, _ = dome.radii
    top = chest.dome_top[side]
    return np.array([(x - rx, y - ry, top - raised - 12), (x + rx, y + ry, top + 3)], np.float32)


def hiatal_hernia(chest: Chest, finding: Finding, side: str, rng: np.random.Generator) -> Array:
    k, size = chest.scale, float(rng.uniform(0.9, 1.25))
    level = max(chest.dome_top.values())
    centre = (float(rng.uniform(8, 24)) * k, 40 * k, level + 16 * size * k)
    sac = Ellipsoid(centre, (36 * size * k, 30 * size * k, 32 * size * k))
    chest.soft.append(sac)
    bubble = (centre[0], centre[1] - 2, centre[2] + 10 * size * k)
    chest.air.append(Ellipsoid(bubble, (23 * size * k, 21 * size * k, 13 * size * k)))
    return sac.corners()


def rib_fracture(chest: Chest, finding: Finding, side: str, rng: np.random.Generator) -> Array:
    first = int(rng.choice({"upper": (2, 3), "middle": (5, 6), "lower": (7, 8)}[finding.zone or "middle"]))
    at = float(rng.uniform(0.40, 0.55))
    points = []
    for number in (first, first + 1):
        chest.rib_breaks.append((side, number, at))
        curve = rib_curve(chest, chest.lung(side), side, number)
        points.append(curve[int(at * len(curve))])
    for point in points:
        callus = Ellipsoid((float(point[0]), float(point[1]), float(point[2])), (7, 7, 6))
        chest.dense.append((callus, 0.018))
    return _about(np.array(points, np.float32), 9)


def scoliosis(chest: Chest, finding: Finding, side: str, rng: np.random.Generator) -> Array:
    bow = sign(side) * _grade(finding, 15, 24, 35) * float(rng.uniform(0.92, 1.08))
    peak = float(rng.uniform(-20, 30))
    chest.spine_curve = Profile(
        (-230.0, -0.45 * bow),
        (peak - 115, 0.1 * bow),
        (peak, bow),
        (peak + 105, 0.05 * bow),
        (230.0, -0.3 * bow),
    )
    return np.array([(min(bow, -bow * 0.2) - 20, 40, -110), (max(bow, -bow * 0.2) + 20, 90, 130)], np.float32)


def tortuous_aorta(chest: Chest, finding: Finding, side: str, rng: np.random.Generator) -> Array:
    chest.aorta_shift += float(rng.uniform(15, 22))
    chest.knob *= float(rng.uniform(1.18, 1.35))
    chest.aorta_radius += 1.5
    k, reach = chest.scale, chest.aorta_radius + chest.aorta_shift
    return np.array([(8 * k, 10, -60 * k), ((26 + reach) * k, 65, 84 * k)], np.float32)


def aortic_calcification(chest: Chest, finding: Finding, side: str, rng: np.random.Generator) -> Array:
    knob = chest.vessels_of_mediastinum()[2]
    assert isinstance(knob, Ellipsoid)
    x, y, z = knob.centre
    angle = np.linspace(np.deg2rad(-50), np.deg2rad(rng.uniform(80, 120)), 40)
    radius = 0.95 * knob.radii[0]
    arc = np.stack([x + radius * np.cos(angle), np.full_like(angle, y), z + radius * np.sin(angle)], axis=1)
    for depth in (-8, 0, 8):
        chest.tubes.append(Tube(arc + np.array([0, depth, 0]), 1.8, 0.08))
    return _about(arc.astype(np.float32), 4)


def scarring(chest: Chest, finding: Finding, side: str, rng: np.random.Generator) -> Array:
    k, apical = chest.scale, finding.zone == "apical"
    points = []
    for _ in range(7):
        up = float(rng.uniform(0.80, 0.93) if apical else rng.uniform(0.05, 0.22))
        across = float(rng.uniform(0.3, 0.75) if apical else rng.uniform(0.55, 0.92))
        x, y, z = _inside(chest, side, across, float(rng.uniform(-0.2, 0.4)), up)
        lean = rng.normal(0, 9, 3) + np.array([0, 0, 9 if apical else 3])
        streak = path((x, y, z), (x + lean[0] * k, y + lean[1], z + lean[2] * k))
        chest.tubes.append(Tube(streak, 1.9, (SOFT - LUNG) * 3.0))
        points.append(streak)
    if apical:
        cap = _inside(chest, side, 0.5, 0.2, 0.95)
        chest.blobs.append(Blob(cap, (16 * k, 20 * k, 7 * k), 0.012))
    return _about(np.concatenate(points), 4)


PATHOLOGY: dict[str, Draw] = {
    draw.__name__: draw
    for draw in (
        scoliosis,
        emphysema,
        elevated_hemidiaphragm,
        cardiomegaly,
        tortuous_aorta,
        atelectasis,
        pleural_effusion,
        pneumothorax,
        consolidation,
        edema,
        nodule,
        mass,
        calcified_granuloma,
        hiatal_hernia,
        rib_fracture,
        aortic_calcification,
        scarring,
    )
}
"""Drawing functions by kind, in the order in which they must act: shapes first, then what lies in them."""

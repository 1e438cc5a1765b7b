"""A normal chest in three dimensions, drawn from sex, age, body size, inspiration and rotation.

Sizes are those of adult radiological anatomy, rounded (thorax about 28 cm wide, cardiothoracic ratio below
0.5, right dome at the tenth posterior rib and higher than the left). See `geometry` for the coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from cxreport.phantom.geometry import Blob, Column, Ellipsoid, Profile, Tube, path

SIDES = ("right", "left")

SOFT = 0.0200
"""Attenuation of soft tissue, per mm, at a chest X-ray's effective energy (about 70 keV)."""
LUNG = 0.0052
"""Attenuation of inflated lung, per mm."""
BONE = 0.0170
"""What bone (cortex and marrow together) adds to soft tissue, per mm."""


def sign(side: str) -> float:
    """+1 for the patient's left, -1 for the right."""
    return 1.0 if side == "left" else -1.0


@dataclass(slots=True)
class Chest:
    """Everything that decides what a chest looks like; findings change it before it is rendered.

    Lengths in mm. ``soft`` displaces lung by soft tissue, ``dense`` adds attenuation (per mm) to whatever
    is there, ``air`` takes tissue away; ``lung_left_by_*`` is the part of the cavity that still holds lung.
    """

    sex: str
    age: int
    scale: float
    half_width: float
    half_depth: float
    fat: float
    apex: float
    sulcus: float
    dome_top: dict[str, float]
    dome_height: float
    heart_scale: float
    heart_turn: float
    rotation: float
    aorta_radius: float
    aorta_shift: float = 0.0
    knob: float = 1.0
    spine_curve: Profile = field(default_factory=lambda: Profile((-200.0, 0.0), (200.0, 0.0)))
    mediastinal_shift: float = 0.0
    lung_attenuation: dict[str, float] = field(default_factory=dict)
    vessel_count: float = 1.0
    vessel_size: float = 1.0
    upper_vessels: float = 1.0
    rib_breaks: list[tuple[str, int, float]] = field(default_factory=list)
    lung_left_by_fluid: dict[str, Ellipsoid] = field(default_factory=dict)
    lung_left_by_air: dict[str, Ellipsoid] = field(default_factory=dict)
    soft: list[Ellipsoid] = field(default_factory=list)
    dense: list[tuple[Ellipsoid, float]] = field(default_factory=list)
    air: list[Ellipsoid] = field(default_factory=list)
    tubes: list[Tube] = field(default_factory=list)
    blobs: list[Blob] = field(default_factory=list)

    def lung(self, side: str) -> Column:
        """The pleural cavity of a side before heart, mediastinum and diaphragm take their part."""
        s, width, depth = sign(side), self.half_width, self.half_depth
        span = self.apex - self.sulcus

        def at(*pairs: tuple[float, float], of: float = 1.0) -> Profile:
            return Profile(*((self.sulcus + t * span, of * value) for t, value in pairs))

        heights = (0, 0.08, 0.2, 0.35, 0.5, 0.65, 0.76, 0.85, 0.92, 0.965, 0.99, 1.0)
        lateral = (0.86, 0.93, 0.98, 1.0, 0.97, 0.90, 0.82, 0.73, 0.63, 0.54, 0.46, 0.38)
        medial = (0.09, 0.08, 0.08, 0.08, 0.08, 0.08, 0.085, 0.10, 0.13, 0.18, 0.26, 0.36)
        deep = (0.82, 0.92, 1.0, 1.0, 0.97, 0.90, 0.82, 0.72, 0.60, 0.46, 0.30, 0.10)
        shift = [float(self.spine_curve(self.sulcus + t * span)) * 0.4 for t in heights]

        def sideways(values: tuple[float, ...]) -> Profile:
            pairs = zip(heights, values, shift, strict=True)
            return Profile(*((self.sulcus + t * span, s * v * width + move) for t, v, move in pairs))

        ridge = tuple(0.6 * inner + 0.4 * outer for inner, outer in zip(medial, lateral, strict=True))
        return Column(
            inner=sideways(medial),
            outer=sideways(lateral),
            ridge=sideways(ridge),
            depth=at(*zip(heights, deep, strict=True), of=depth),
            back=at((0, 0.10), (0.4, 0.02), (0.75, 0.10), (1.0, 0.32), of=depth),
            bottom=self.sulcus,
            top=self.apex,
            inner_power=4.0,
            outer_power=2.3,
        )

    def dome(self, side: str) -> Ellipsoid:
        """The hemidiaphragm of a side with everything below it."""
        s, width = sign(side), self.half_width
        height = self.dome_height
        return Ellipsoid(
            (s * 0.525 * width, 0.06 * self.half_depth, self.dome_top[side] - height),
            (0.455 * width, 0.90 * self.half_depth, height),
            extends="down",
        )

    def heart(self) -> list[Ellipsoid]:
        """Left ventricle, right atrium, outflow and pulmonary trunk."""
        k, size, shift = self.scale, self.heart_scale, self.mediastinal_shift
        floor = 0.5 * (self.dome_top["left"] + self.dome_top["right"])
        centre = floor + 32 * k * size
        grown = size - 1
        return [
            Ellipsoid(
                (21 * k + 26 * grown + shift, -26 * k, centre),
                (60 * k * size, 62 * k * size, 50 * k * size),
                -self.heart_turn,
            ),
            Ellipsoid(
                (-14 * k - 12 * grown + shift, -20 * k, centre + 4), (31 * k * size, 48 * k, 42 * k * size)
            ),
            Ellipsoid((13 * k + shift, -30 * k, centre + 42 * k), (34 * k, 36 * k, 40 * k), 22),
        ]

    def vessels_of_mediastinum(self) -> list[Column | Ellipsoid]:
        """Mediastinal column, aortic arch and descending aorta."""
        k, shift = self.scale, self.mediastinal_shift
        radius, bow = self.aorta_radius, self.aorta_shift
        top, arch = self.apex + 40, 62 * k

        def column(
            heights: Sequence[float], centre: Profile, half: Profile, deep: float, back: float, high: float
        ) -> Column:
            inner = Profile(*((z, float(centre(z) - half(z))) for z in heights))
            outer = Profile(*((z, float(centre(z) + half(z))) for z in heights))
            middle = Profile(*((z, float(centre(z))) for z in heights))
            flat = Profile((-300.0, deep), (300.0, deep))
            behind = Profile((-300.0, back), (300.0, back))
            return Column(inner, outer, middle, flat, behind, bottom=-250, top=high)

        zs = (-200.0, -60.0, 0.0, 45.0, 80.0, 120.0, 200.0)
        widths = (26.0, 28.0, 30.0, 30.0, 27.0, 27.0, 34.0)
        half = Profile(*((z, w * k) for z, w in zip(zs, widths, strict=True)))
        centre = Profile(*((z, float(self.spine_curve(z)) * 0.4 + shift) for z in zs))
        down = (-200.0, -110.0, -50.0, 0.0, arch - 15, arch)
        aorta_x = [14 + bow * 0.2, 17 + bow * 0.5, 21 + bow, 25 + bow, 27 + 0.5 * bow, 25.0]
        aorta = Profile(*((z, x * k + shift) for z, x in zip(down, aorta_x, strict=True)))
        girth = Profile(*((z, radius * k) for z in down))
        knob = radius * 1.22 * self.knob * k
        return [
            column(zs, centre, half, 54 * k, 10 * k, top),
            column(down, aorta, girth, radius * k, 46 * k, arch),
            Ellipsoid((22 * k + 0.55 * bow * k + shift, 26 * k, arch), (knob, 30 * k, knob)),
            Ellipsoid((26 * k + shift, -2 * k, 30 * k), (17 * k, 24 * k, 16 * k)),
        ]

    def spine(self) -> Column:
        """Vertebral bodies as one bent column."""
        k = self.scale
        zs = np.linspace(-220, 230, 16)
        x = [float(self.spine_curve(z)) for z in zs]
        half = [float(np.interp(z, [-220, 120, 230], [22, 15, 12])) * k for z in zs]
        deep = Profile((-220.0, 19 * k), (230.0, 13 * k))
        behind = [0.66 * self.half_depth - 10 * ((z - 20) / 150) ** 2 for z in zs]
        return Column(
            inner=Profile(*((float(z), c - h) for z, c, h in zip(zs, x, half, strict=True))),
            outer=Profile(*((float(z), c + h) for z, c, h in zip(zs, x, half, strict=True))),
            ridge=Profile(*((float(z), c) for z, c in zip(zs, x, strict=True))),
            depth=deep,
            back=Profile(*((float(z), b) for z, b in zip(zs, behind, strict=True))),
            bottom=-260,
            top=260,
            inner_power=3.0,
            outer_power=3.0,
        )

    def body(self, lateral: bool) -> Column:
        """Skin to skin; arms are raised in the lateral view."""
        k = self.scale
        flank = self.half_width + 14 * k + self.fat
        shoulder = flank + 8 if lateral else flank + 75 * k
        zs = (-300.0, -60.0, 30.0, 85.0, 125.0, 150.0, 175.0, 200.0, 300.0)
        half: tuple[float, ...] = (
            flank + 4,
            flank,
            flank + 6,
            0.6 * flank + 0.4 * shoulder,
            shoulder,
            0.8 * shoulder,
        )
        half = (*half, 82 * k + 0.6 * self.fat, 66 * k + 0.4 * self.fat, 62 * k + 0.4 * self.fat)
        chest = self.half_depth + 12 * k + 0.8 * self.fat
        deep = (1.02, 1.0, 1.0, 0.97, 0.9, 0.8, 0.68, 0.6, 0.6)
        back = (0.0, 0.0, 2.0, 6.0, 12.0, 16.0, 20.0, 18.0, 16.0)
        return Column(
            inner=Profile(*((z, -w) for z, w in zip(zs, half, strict=True))),
            outer=Profile(*zip(zs, half, strict=True)),
            ridge=Profile((-300.0, 0.0), (300.0, 0.0)),
            depth=Profile(*((z, d * chest) for z, d in zip(zs, deep, strict=True))),
            back=Profile(*zip(zs, back, strict=True)),
            bottom=-400,
            top=400,
            inner_power=2.6,
            outer_power=2.6,
        )

    def breasts(self) -> list[Ellipsoid]:
        """Breasts or pectoral tissue in front of the chest wall."""
        k = self.scale
        front = -self.half_depth - 10 * k
        if self.sex == "female":
            size = (0.42 + 0.012 * self.fat) * self.half_width
            return [
                Ellipsoid((s * 0.56 * self.half_width, front, -28 * k), (size, 42 * k, size * 0.95), -s * 12)
                for s in (-1.0, 1.0)
            ]
        return [
            Ellipsoid((s * 0.55 * self.half_width, front, 28 * k), (0.4 * self.half_width, 17 * k, 46 * k))
            for s in (-1.0, 1.0)
        ]

    def airways(self) -> list[Tube]:
        """Trachea and main bronchi as tubes of missing soft tissue."""
        k, shift = self.scale, self.mediastinal_shift
        carina = (2 * k + shift, 18 * k, 42 * k)
        lean = float(self.spine_curve(150.0)) * 0.6
        return [
            Tube(path((lean, 6 * k, 230 * k), (1.2 * shift, 8 * k, 110 * k), carina), 8.0 * k, -SOFT * 0.9),
            Tube(path(carina, (-26 * k + shift, 20 * k, 22 * k)), 6.5 * k, -SOFT * 0.8),
            Tube(path(carina, (34 * k + shift, 22 * k, 20 * k)), 5.5 * k, -SOFT * 0.8),
        ]

    def hilum(self, side: str) -> tuple[float, float, float]:
        """Where the vessels of a lung leave the mediastinum; the left hilum is higher."""
        k = self.scale
        return (sign(side) * 32 * k + self.mediastinal_shift, 4 * k, (12 if side == "left" else 2) * k)

    def turned(self, tube: Tube) -> Tube:
        """A tube after the patient's rotation about z."""
        angle = np.deg2rad(self.rotation)
        x, y, z = tube.points.T
        points = np.stack(
            [x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle), z], axis=1
        )
        return replace(tube, points=points)


def sample_chest(rng: np.random.Generator) -> Chest:
    """A random normal adult chest; many have a gas bubble in the stomach."""
    chest = _sample_chest(rng)
    if rng.random() < 0.7:
        k, under = chest.scale, chest.dome_top["left"]
        size = rng.uniform(0.7, 1.2) * k
        centre = (float(rng.uniform(45, 75)) * k, -20 * k, under - float(rng.uniform(24, 34)) * k)
        chest.air.append(Ellipsoid(centre, (26 * size, 24 * size, 12 * size), float(rng.uniform(-15, 25))))
    return chest


def _sample_chest(rng: np.random.Generator) -> Chest:
    sex = str(rng.choice(["female", "male"]))
    age = int(rng.integers(20, 91))
    scale = float(np.clip(rng.normal(1.02 if sex == "male" else 0.95, 0.045), 0.85, 1.15))
    fat = float(np.clip(rng.gamma(4.0, 3.0), 3, 34))
    inspiration = float(rng.normal(0, 7))
    right = (-66 - inspiration) * scale
    return Chest(
        sex=sex,
        age=age,
        scale=scale,
        half_width=float(rng.normal(134, 5)) * scale,
        half_depth=float(rng.normal(86, 6)) * scale * (1 + 0.0015 * (age - 50)),
        fat=fat,
        apex=float(rng.normal(128, 4)) * scale,
        sulcus=right - float(rng.normal(58, 5)) * scale,
        dome_top={"right": right, "left": right - float(rng.normal(11, 4)) * scale},
        dome_height=float(rng.normal(40, 4)) * scale,
        heart_scale=float(rng.normal(0.98, 0.035)),
        heart_turn=float(rng.normal(28, 6)) - 0.4 * inspiration,
        rotation=float(np.clip(rng.normal(0, 2.0), -5, 5)),
        aorta_radius=float(rng.normal(11.5, 0.8)) + 0.03 * (age - 50),
        lung_attenuation=dict.fromkeys(
            SIDES, LUNG * float(rng.normal(1, 0.06)) * (1 - 0.25 * inspiration / 60)
        ),
        vessel_size=float(rng.normal(1, 0.07)),
    )

"""Solids that a parallel X-ray beam crosses, and the lengths that it spends in them.

Coordinates are millimetres: x to the patient's left, y to the back, z up; the origin lies in the midline
at the middle of the chest. A frontal beam runs along y, a lateral beam along x. Every solid is convex
along both beams, so that a ray meets it in one interval ``[low, high]``; an empty interval has
``high <= low``. Arrays over a view have shape (H, W), row 0 at the top.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator

from cxreport.study import Projection

Array = npt.NDArray[np.floating[Any]]
Triple = tuple[float, float, float]
Interval = tuple[Array, Array]

_FAR = np.float32(1e4)
_AXES = {"frontal": (0, 1), "lateral": (1, 0)}


@dataclass(frozen=True, slots=True)
class Rays:
    """The parallel rays of one view: a square of `extent` mm around `centre`, `size` pixels a side."""

    projection: Projection
    size: int
    extent: float
    centre: Triple

    @property
    def pixel(self) -> float:
        """Side of a pixel in mm."""
        return self.extent / self.size

    @property
    def across(self) -> Array:
        """Coordinate across the picture of every column, shape (1, W): x (frontal) or y (lateral)."""
        axis = _AXES[self.projection][0]
        offsets = (np.arange(self.size, dtype=np.float32) + 0.5) * self.pixel - self.extent / 2
        return (offsets + np.float32(self.centre[axis]))[None, :].astype(np.float32)

    @property
    def up(self) -> Array:
        """z of every row, shape (H, 1)."""
        offsets = self.extent / 2 - (np.arange(self.size, dtype=np.float32) + 0.5) * self.pixel
        return (offsets + np.float32(self.centre[2]))[:, None].astype(np.float32)

    def project(self, points: Array) -> tuple[Array, Array]:
        """Column and row (in pixels, fractional) of `points` (N, 3)."""
        axis = _AXES[self.projection][0]
        column = (points[:, axis] - self.centre[axis] + self.extent / 2) / self.pixel - 0.5
        row = (self.centre[2] + self.extent / 2 - points[:, 2]) / self.pixel - 0.5
        return column, row


@dataclass(frozen=True, slots=True)
class Ellipsoid:
    """An ellipsoid; `turn` rotates it in the frontal plane (degrees, from the patient's left upwards).

    With `extends` the part below ("down", a diaphragm's dome) or above ("up") its centre is a cylinder
    without end.
    """

    centre: Triple
    radii: Triple
    turn: float = 0.0
    extends: Literal["down", "up"] | None = None

    def interval(self, rays: Rays) -> Interval:
        angle = np.deg2rad(self.turn)
        cos, sin = float(np.cos(angle)), float(np.sin(angle))
        inverse = [1.0 / radius**2 for radius in self.radii]
        xx = cos * cos * inverse[0] + sin * sin * inverse[2]
        zz = sin * sin * inverse[0] + cos * cos * inverse[2]
        xz = cos * sin * (inverse[0] - inverse[2])
        yy = inverse[1]
        across_axis, along_axis = _AXES[rays.projection]
        across = rays.across - np.float32(self.centre[across_axis])
        up = rays.up - np.float32(self.centre[2])
        if self.extends == "down":
            up = np.maximum(up, 0)
        elif self.extends == "up":
            up = np.minimum(up, 0)
        if along_axis == 1:
            half_b: Array = np.zeros_like(up)
            quadratic: Array = xx * across * across + 2 * xz * across * up + zz * up * up
            a = yy
        else:
            half_b = xz * up
            quadratic = yy * across * across + zz * up * up
            a = xx
        discriminant = half_b * half_b - a * (quadratic - 1)
        root = np.sqrt(np.maximum(discriminant, 0)) / a
        middle = self.centre[along_axis] - half_b / a
        low, high = middle - root, middle + root
        outside = discriminant <= 0
        return np.where(outside, _FAR, low).astype(np.float32), np.where(outside, -_FAR, high).astype(
            np.float32
        )

    def contains(self, points: Array) -> npt.NDArray[np.bool_]:
        """Which of `points` (N, 3) lie inside; `turn` is not regarded."""
        offset = (points - np.array(self.centre, np.float32)) / np.array(self.radii, np.float32)
        if self.extends:
            limit = np.maximum if self.extends == "down" else np.minimum
            offset[:, 2] = limit(offset[:, 2], 0)
        return (offset**2).sum(axis=1) < 1

    def corners(self) -> Array:
        """Two opposite corners (2, 3) of the box around it, its turn included."""
        angle = np.deg2rad(self.turn)
        a, b, c = self.radii
        half = np.array(
            [
                np.hypot(a * np.cos(angle), c * np.sin(angle)),
                b,
                np.hypot(a * np.sin(angle), c * np.cos(angle)),
            ]
        )
        centre = np.array(self.centre)
        return np.stack([centre - half, centre + half]).astype(np.float32)


class Profile:
    """A smooth function of z through `points` (z ascending, value), constant outside them."""

    __slots__ = ("_heights", "_places", "_values")

    def __init__(self, *points: tuple[float, float]) -> None:
        heights, values = zip(*points, strict=True)
        self._heights = np.array(heights, dtype=np.float64)
        self._places = np.arange(len(heights), dtype=np.float64)
        self._values = np.array([values[0], *values, values[-1]], dtype=np.float64)

    def __call__(self, z: Array | float) -> Array:
        """The value at `z` (any shape), by a cubic Hermite curve with Catmull-Rom slopes."""
        place = np.interp(z, self._heights, self._places)
        index = np.minimum(place.astype(int), len(self._heights) - 2)
        t = place - index
        before, start, end, after = (self._values[index + shift] for shift in range(4))
        slope_start, slope_end = (end - before) / 2, (after - start) / 2
        rise = end - start
        bend = slope_start + slope_end - 2 * rise
        value = start + t * (slope_start + t * (rise - slope_start - bend + t * bend))
        return value.astype(np.float32)


@dataclass(frozen=True, slots=True)
class Column:
    """A stack of horizontal superellipses: sides `inner` and `outer` (x), half depth `depth` around `back`.

    The widest depth lies at x = `ridge`; from there the depth falls to 0 at `inner` and `outer` with the
    exponents `inner_power` and `outer_power`. `bottom` and `top` end the stack.
    """

    inner: Profile
    outer: Profile
    ridge: Profile
    depth: Profile
    back: Profile
    bottom: float
    top: float
    inner_power: float = 2.0
    outer_power: float = 2.0

    def interval(self, rays: Rays) -> Interval:
        z = rays.up
        alive = (z > self.bottom) & (z < self.top)
        inner, outer, ridge = self.inner(z), self.outer(z), self.ridge(z)
        depth, back = np.maximum(self.depth(z), 1e-3), self.back(z)
        if rays.projection == "frontal":
            x = rays.across
            beyond = (x >= ridge) == (outer > inner)
            reach = np.where(beyond, outer - ridge, inner - ridge)
            share = (x - ridge) / np.where(np.abs(reach) < 1e-3, 1e-3, reach)
        else:
            share = np.abs(rays.across - back) / depth
            beyond = np.ones_like(share, dtype=bool)
        inside = alive & (share < 1)
        low = np.full(inside.shape, _FAR, dtype=np.float32)
        high = -low
        row, column = np.nonzero(inside)
        part = np.maximum(share[row, column], 0)
        if rays.projection == "frontal":
            power = np.where(beyond[row, column], self.outer_power, self.inner_power).astype(np.float32)
            half = depth[row, 0] * (1 - part**power) ** (1 / power)
            low[row, column], high[row, column] = back[row, 0] - half, back[row, 0] + half
        else:
            ridge, inner, outer = ridge[row, 0], inner[row, 0], outer[row, 0]
            near = ridge + (inner - ridge) * (1 - part**self.inner_power) ** (1 / self.inner_power)
            far = ridge + (outer - ridge) * (1 - part**self.outer_power) ** (1 / self.outer_power)
            low[row, column], high[row, column] = np.minimum(near, far), np.maximum(near, far)
        return low, high

    def contains(self, points: Array, margin: float = 0.0) -> npt.NDArray[np.bool_]:
        """Which of `points` (N, 3) lie inside by at least about `margin` mm."""
        x, y, z = points.T
        inner, outer, ridge = self.inner(z), self.outer(z), self.ridge(z)
        beyond = (x - ridge) * np.sign(outer - inner) >= 0
        reach = np.where(beyond, np.abs(outer - ridge), np.abs(ridge - inner)) - margin
        power = np.where(beyond, self.outer_power, self.inner_power)
        along = np.abs(x - ridge) / np.maximum(reach, 1e-3)
        deep = np.abs(y - self.back(z)) / np.maximum(self.depth(z) - margin, 1e-3)
        inside = np.minimum(along, 2) ** power + np.minimum(deep, 2) ** power < 1
        return inside & (z > self.bottom + margin) & (z < self.top - margin)


@dataclass(slots=True)
class Tube:
    """A bent cylinder: `points` (N, 3) along its middle, `radius` mm (one, or one a point).

    `attenuation` per mm is what it adds to (or, negative, takes from) what surrounds it.
    """

    points: Array
    radius: float | Array
    attenuation: float

    def __post_init__(self) -> None:
        self.points = np.asarray(self.points, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Blob:
    """Denser lung, Gaussian in all directions: `peak` attenuation per mm at `centre`, `widths` in mm."""

    centre: Triple
    widths: Triple
    peak: float


@dataclass(slots=True)
class Cloud:
    """Points of tubes, ready to be splatted: `points` (N, 3) and `radius` (N,) in mm, `mass` (N,) in
    attenuation times mm^3."""

    points: Array = field(default_factory=lambda: np.zeros((0, 3), np.float32))
    radius: Array = field(default_factory=lambda: np.zeros(0, np.float32))
    mass: Array = field(default_factory=lambda: np.zeros(0, np.float32))


def length(interval: Interval) -> Array:
    """Length of each ray inside, 0 where it misses."""
    return np.maximum(interval[1] - interval[0], 0)


def meet(first: Interval, second: Interval) -> Interval:
    """The part of each ray that is inside both."""
    return np.maximum(first[0], second[0]), np.minimum(first[1], second[1])


def covered(region: Interval, solids: list[Interval]) -> Array:
    """Length of each ray that is inside `region` and inside at least one of `solids`."""
    total = np.zeros_like(region[0])
    hit = np.flatnonzero(region[1] > region[0])
    if not solids or not len(hit):
        return total
    first, last = region[0].flat[hit], region[1].flat[hit]
    low = np.stack([np.clip(solid[0].flat[hit], first, last) for solid in solids], axis=1)
    high = np.stack([np.clip(solid[1].flat[hit], first, last) for solid in solids], axis=1)
    order = np.argsort(low, axis=1)
    low = np.take_along_axis(low, order, axis=1)
    high = np.take_along_axis(high, order, axis=1)
    before = np.maximum.accumulate(np.concatenate([first[:, None], high[:, :-1]], axis=1), axis=1)
    total.flat[hit] = np.maximum(high - np.maximum(low, before), 0).sum(axis=1)
    return total


def path(*points: Sequence[float], step: float = 2.0) -> Array:
    """A smooth curve (N, 3) through `points`, sampled about every `step` mm."""
    knots = np.array(points, dtype=np.float64)
    spans = np.sqrt((np.diff(knots, axis=0) ** 2).sum(axis=1))
    at = np.concatenate([[0.0], np.cumsum(spans)])
    fine = np.linspace(0, at[-1], max(int(at[-1] / step), 2))
    if len(knots) == 2:
        curve = knots[0] + (knots[1] - knots[0]) * (fine / at[-1])[:, None]
    else:
        curve = PchipInterpolator(at, knots)(fine)
    return curve.astype(np.float32)


def cloud_of(tubes: list[Tube]) -> Cloud:
    """All points of `tubes` with the mass that each stands for."""
    if not tubes:
        return Cloud()
    radii, masses = [], []
    for tube in tubes:
        spans = np.sqrt((np.diff(tube.points, axis=0) ** 2).sum(axis=1))
        steps = (np.append(spans, spans[-1]) + np.append(spans[0], spans)) / 2
        radius = np.broadcast_to(np.asarray(tube.radius, np.float32), (len(tube.points),))
        radii.append(radius)
        masses.append(np.pi * radius**2 * steps * tube.attenuation)
    return Cloud(
        np.concatenate([tube.points for tube in tubes]),
        np.concatenate(radii).astype(np.float32),
        np.concatenate(masses).astype(np.float32),
    )


def splat(cloud: Cloud, rays: Rays) -> Array:
    """Line integrals (H, W) of a cloud: each point spreads its mass over a disc of its radius.

    Discs follow ``1 - (d / r)^2``, whose sum along a line is close to the profile of a cylinder; a disc is
    never narrower than a pixel, so that a thin wire keeps its mass at any size of picture.
    """
    size = rays.size
    image = np.zeros(size * size)
    if not len(cloud.points):
        return image.reshape(size, size).astype(np.float32)
    column, row = rays.project(cloud.points)
    radius = np.maximum(cloud.radius / rays.pixel, 0.9)
    reach = np.ceil(radius).astype(int)
    for half in np.unique(reach):
        chosen = reach == half
        inside = (
            chosen & (column > -half) & (column < size - 1 + half) & (row > -half) & (row < size - 1 + half)
        )
        if not inside.any():
            continue
        c, r, rad = column[inside, None, None], row[inside, None, None], radius[inside, None, None]
        offsets = np.arange(-half, half + 1)
        columns = np.rint(c).astype(int) + offsets[None, None, :]
        rows = np.rint(r).astype(int) + offsets[None, :, None]
        weight = np.maximum(1 - ((columns - c) ** 2 + (rows - r) ** 2) / rad**2, 0)
        weight *= (cloud.mass[inside] / rays.pixel**2)[:, None, None] / (np.pi * rad**2 / 2)
        visible = (columns >= 0) & (columns < size) & (rows >= 0) & (rows < size) & (weight > 0)
        flat = rows * size + columns
        image += np.bincount(flat[visible], weights=weight[visible], minlength=size * size)
    return image.reshape(size, size).astype(np.float32)


def haze(blob: Blob, rays: Rays) -> Array:
    """Line integral (H, W) of a Gaussian blob."""
    across_axis, along_axis = _AXES[rays.projection]
    across = rays.across - np.float32(blob.centre[across_axis])
    up = rays.up - np.float32(blob.centre[2])
    exponent = (across / blob.widths[across_axis]) ** 2 + (up / blob.widths[2]) ** 2
    depth = np.sqrt(2 * np.pi) * blob.widths[along_axis]
    return (blob.peak * depth * np.exp(-0.5 * exponent)).astype(np.float32)

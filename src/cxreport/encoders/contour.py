"""Where the chest lies in a frontal X-ray: the body, the lung fields in it, and the hull around them.

HD-MAE (Wang et al., 2024, sec. 3.2) masks more patches inside the "contour of the chest" than outside. Its
published code has one fixed rectangle for every image (:func:`published_box`); here the region is found in
the image. Every dark region of the body is a candidate, at many thresholds and with narrow bridges cut at
several widths. The pair on either side of the body's middle that looks most like two lungs is taken: by
size, place, form and the sharpness of its outline, and by the form of the hull around it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

Mask = npt.NDArray[np.bool_]
Grey = npt.NDArray[np.floating]

SIDE = 160
"""Long side in pixels at which a contour is sought; lungs are large."""
LEAST_CONFIDENCE = 0.47
"""Below this the published rectangle stands in for the contour."""
_LEVELS = np.arange(0.16, 0.66, 0.04)
"""Shares of the body's pixels, darkest first, that are tried as lungs."""
_CUTS = (3.0, 6.0, 10.0)
"""Radii in pixels of the discs that a lung must have room for; a narrower bridge is a leak and is cut."""
_TRIED = 12
"""Regions of either side that are tried in pairs."""
_ONE_LUNG = 0.75
"""Confidence of one lung and its mirror image, where the other lung is white, against that of two."""


@dataclass(frozen=True, slots=True)
class Contour:
    """The chest in one image of H x W pixels.

    ``lungs`` (H, W) are the lung fields, ``hull`` (H, W) the convex hull around both: the chest region.
    ``box`` is (left, top, right, bottom) of the hull as fractions of width and height. ``confidence`` is
    between 0 and 1. ``found`` is False where it was below :data:`LEAST_CONFIDENCE`: then ``lungs`` is
    empty, and hull and box are the published rectangle.
    """

    lungs: Mask
    hull: Mask
    box: tuple[float, float, float, float]
    confidence: float
    found: bool


def find_contour(grey: npt.NDArray[np.generic]) -> Contour:
    """The chest in `grey` (H, W), bright bone; any numeric type and range.

    Raises ValueError for another shape, or values that are not numbers.
    """
    if grey.ndim != 2 or min(grey.shape) < 1:
        raise ValueError(f"a contour needs one grey image (H, W), got {grey.shape}")
    values = grey.astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError("a contour needs finite pixels")
    small = _shrunk(values)
    found = _lungs(small)
    if found is None or found[1] < LEAST_CONFIDENCE:
        hull = published_box(*grey.shape)
        confidence = 0.0 if found is None else found[1]
        return Contour(np.zeros(grey.shape, dtype=bool), hull, _box(hull), confidence, found=False)
    lungs, confidence = found
    hull = convex_hull(lungs)
    return Contour(_grown(lungs, grey.shape), _grown(hull, grey.shape), _box(hull), confidence, found=True)


def published_box(height: int, width: int) -> Mask:
    """HD-MAE's rectangle on a grid of `height` x `width`: (H, W), the same for every image.

    On the published 20 x 20 patches it is rows 6 to 15 and columns 3 to 15, counted from 0: 130 of 400.
    Source: ``HD_Xray_Pretrain_MAE/pretrain/models/mae.py``.
    """
    mask = np.zeros((height, width), dtype=bool)
    top, bottom = int(0.25 * height) + 1, int(0.75 * height) + 1
    left, right = int(0.125 * width) + 1, int(0.75 * width) + 1
    mask[top:bottom, left:right] = True
    return mask


def convex_hull(mask: Mask) -> Mask:
    """The filled convex hull of the True pixels of `mask` (H, W); `mask` itself where they span no area."""
    rows, columns = np.nonzero(mask)
    points = np.stack([columns, rows], axis=1)
    try:
        corners = points[ConvexHull(points).vertices]
    except (QhullError, ValueError):
        return mask
    picture = Image.new("1", (mask.shape[1], mask.shape[0]))
    ImageDraw.Draw(picture).polygon([(int(x), int(y)) for x, y in corners], fill=1, outline=1)
    return np.asarray(picture, dtype=bool)


def on_grid(mask: Mask, rows: int, columns: int) -> Mask:
    """Which cells of a grid of `rows` x `columns` patches are inside `mask` (H, W) by at least half."""
    share = Image.fromarray(mask.astype(np.float32)).resize((columns, rows), Image.Resampling.BOX)
    inside: Mask = np.asarray(share) >= 0.5
    return inside


def _shrunk(values: npt.NDArray[np.float32]) -> Grey:
    """At most :data:`SIDE` pixels a side, scaled to [0, 1]."""
    factor = min(1.0, SIDE / max(values.shape))
    height, width = (max(1, round(side * factor)) for side in values.shape)
    small = np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BOX))
    low, high = np.percentile(small, (0.5, 99.5))
    scaled: Grey = np.clip((small - low) / max(high - low, 1e-6), 0, 1)
    return scaled


def _grown(mask: Mask, shape: tuple[int, ...]) -> Mask:
    picture = Image.fromarray(mask.astype(np.float32)).resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    grown: Mask = np.asarray(picture) >= 0.5
    return grown


def _box(mask: Mask) -> tuple[float, float, float, float]:
    rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    if not len(rows):
        return (0.0, 0.0, 1.0, 1.0)
    height, width = mask.shape
    edges = (columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height)
    left, top, right, bottom = (float(edge) for edge in edges)
    return (left, top, right, bottom)


def _lungs(grey: Grey) -> tuple[Mask, float] | None:
    """The best pair of lungs in `grey` (h, w) in [0, 1] with its confidence; None where there is no pair."""
    if min(grey.shape) < 16 or grey.max() - grey.min() < 0.05:
        return None
    body = _body(grey)
    if body.mean() < 0.15:
        return None
    frame = _Frame.of(body)
    found = _regions(grey, body, frame)
    left = _best(region for region in found if region.centre[1] < frame.middle)
    right = _best(region for region in found if region.centre[1] >= frame.middle)
    best = _best_pair(itertools.product(left, right), body.shape, frame)
    if best is None or best[1] < LEAST_CONFIDENCE:
        mirrored = ((one, one.mirrored(frame, body.shape[1])) for one in left[:3] + right[:3])
        single = _best_pair(mirrored, body.shape, frame)
        if single is not None and single[1] * _ONE_LUNG > LEAST_CONFIDENCE:
            return single[0], single[1] * _ONE_LUNG
    return best


def _best_pair(
    pairs: Iterable[tuple[_Region, _Region]], shape: tuple[int, ...], frame: _Frame
) -> tuple[Mask, float] | None:
    """Both lungs (h, w) of the pair that looks most like two lungs, and how much it does (0 to 1)."""
    best, most = None, 0.0
    for one, other in pairs:
        score = _pair_likeness(one, other, frame)
        if score > most:
            both = one.on(shape) | other.on(shape)
            score *= _hull_likeness(both)
            if score > most:
                best, most = both, score
    return None if best is None else (best, most)


def _regions(grey: Grey, body: Mask, frame: _Frame) -> list[_Region]:
    """Every dark region that may be a lung, over all thresholds and all widths of cut bridges."""
    scale = max(grey.shape) / SIDE
    smooth = ndimage.gaussian_filter(grey, 1.5 * scale)
    level = smooth - 0.6 * ndimage.gaussian_filter(smooth, 34 * scale)
    rank = np.ones(grey.shape, dtype=np.float32)
    rank[body] = level[body].argsort().argsort() / max(1, int(body.sum()) - 1)
    slope = ndimage.gaussian_gradient_magnitude(grey, 1.5 * scale)
    slope /= max(float(np.percentile(slope[body], 90)), 1e-6)
    inner = ndimage.binary_erosion(body, iterations=max(1, round(3 * scale)), border_value=1)
    found = []
    for share in _LEVELS:
        dark = (rank < share) & inner
        depth = ndimage.distance_transform_edt(dark)
        for radius in _CUTS:
            kept = depth > radius * scale
            if not kept.any():
                break
            opened = dark & (ndimage.distance_transform_edt(~kept) <= radius * scale)
            labels, _ = ndimage.label(opened)
            for number, window in enumerate(ndimage.find_objects(labels), start=1):
                region = labels[window] == number
                if region.sum() > 0.012 * frame.area:
                    found.append(_Region.of(region, window, frame, slope[window]))
    return found


def _best(regions: Iterable[_Region]) -> list[_Region]:
    """The few that look most like a lung."""
    return sorted(regions, key=lambda region: -region.likeness)[:_TRIED]


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where the body is: its first row, its height and width, its area, the column of its middle."""

    top: int
    tall: int
    wide: int
    area: int
    middle: float

    @classmethod
    def of(cls, body: Mask) -> _Frame:
        rows, columns = np.nonzero(body)
        height = len(body)
        band = body[height // 4 : max(height // 4 + 1, 3 * height // 4)]
        inside = np.nonzero(band)[1]
        middle = float(inside.mean()) if len(inside) else body.shape[1] / 2
        tall, wide = int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1
        return cls(int(rows.min()), tall, wide, int(body.sum()), middle)


def _body(grey: Grey) -> Mask:
    """What is not black air, or a black or white frame, reaching in from the edge of the picture."""
    smooth = ndimage.gaussian_filter(grey, 1)
    labels, _ = ndimage.label((smooth < 0.10) | (smooth > 0.99))
    edge = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    outside = np.isin(labels, edge[edge > 0])
    labels, count = ndimage.label(ndimage.binary_opening(~outside, iterations=2))
    if not count:
        return ~outside
    sizes = np.bincount(labels.ravel())[1:]
    body: Mask = ndimage.binary_fill_holes(labels == 1 + int(sizes.argmax()))
    return body


@dataclass(frozen=True, slots=True)
class _Region:
    """A dark region: mask in its window, centre (row, column), share of the body, how like a lung it is.

    A lung has its size, its distance from the middle, a sharp outline and hardly a dent.
    """

    mask: Mask
    window: tuple[slice, slice]
    centre: tuple[float, float]
    area: float
    likeness: float

    @classmethod
    def of(cls, mask: Mask, window: tuple[slice, slice], frame: _Frame, slope: Grey) -> _Region:
        filled = ndimage.binary_fill_holes(mask)
        rows, columns = np.nonzero(filled)
        centre = (float(rows.mean()) + window[0].start, float(columns.mean()) + window[1].start)
        area = float(filled.sum())
        height, width = filled.shape
        rim = filled & ~ndimage.binary_erosion(filled)
        factors = (
            _trapezoid(area / frame.area, 0.015, 0.06, 0.26, 0.36),
            _trapezoid(height / frame.tall, 0.15, 0.35, 0.85, 1.05),
            _trapezoid(width / frame.wide, 0.10, 0.18, 0.42, 0.55),
            _trapezoid(abs(centre[1] - frame.middle) / frame.wide, 0.04, 0.10, 0.30, 0.42),
            _rising(float(slope[rim].mean()), -0.2, 0.9),
            _rising(area / max(1.0, float(convex_hull(filled).sum())), 0.55, 0.92),
        )
        return cls(filled, window, centre, area / frame.area, float(np.prod(factors)))

    @property
    def top(self) -> int:
        return self.window[0].start

    def mirrored(self, frame: _Frame, columns: int) -> _Region:
        """The region on the other side of the body's middle, as far as the picture of `columns` goes."""
        rows, window = self.window
        left = min(max(round(2 * frame.middle - window.stop + 1), 0), columns - self.mask.shape[1])
        centre = (self.centre[0], left + window.stop - 1 - self.centre[1])
        place = (rows, slice(left, left + self.mask.shape[1]))
        return replace(self, mask=self.mask[:, ::-1], window=place, centre=centre)

    def on(self, shape: tuple[int, ...]) -> Mask:
        """The region in a picture of `shape`."""
        picture = np.zeros(shape, dtype=bool)
        picture[self.window] = self.mask
        return picture


def _pair_likeness(one: _Region, other: _Region, frame: _Frame) -> float:
    """How much two regions look like the lungs of a body: a product of soft limits, each at most 1."""
    tall = frame.tall
    middle = ((one.centre[0] + other.centre[0]) / 2 - frame.top) / tall
    factors = (
        one.likeness * other.likeness,
        _trapezoid(one.area + other.area, -0.10, 0.30, 0.52, 0.70),
        _rising(min(one.area, other.area) / max(one.area, other.area), 0.10, 0.60),
        _falling(abs(one.centre[0] - other.centre[0]) / tall, 0.05, 0.20),
        _falling(abs(one.top - other.top) / tall, 0.05, 0.25),
        _trapezoid(abs(one.centre[1] - other.centre[1]) / frame.wide, 0.15, 0.30, 0.58, 0.80),
        _trapezoid(middle, 0.15, 0.32, 0.58, 0.75),
    )
    return float(np.prod(factors) ** (1 / 3))


def _hull_likeness(lungs: Mask) -> float:
    """How much the hull of a pair has the form of a chest: narrow above, wide below, not cut by the top."""
    widths = convex_hull(lungs).sum(axis=1)
    cut = 0.8 if widths[0] else 1.0
    widths = widths[widths > 0]
    apex, shoulder = (widths[round(share * (len(widths) - 1))] / widths.max() for share in (0.04, 0.25))
    lower = widths[round(0.7 * (len(widths) - 1))] / widths.max()
    factors = (
        _trapezoid(apex, 0.10, 0.38, 0.72, 0.98),
        _trapezoid(shoulder, 0.45, 0.72, 0.95, 1.15),
        _rising(lower, 0.80, 0.93),
        cut,
    )
    return float(np.prod(factors) ** (1 / 2))


def _rising(value: float, low: float, enough: float) -> float:
    """0 up to low, 1 from enough on, linear between."""
    return min(1.0, max(0.0, (value - low) / (enough - low)))


def _falling(value: float, most: float, high: float) -> float:
    """1 up to most, 0 from high on, linear between."""
    return min(1.0, max(0.0, (high - value) / (high - most)))


def _trapezoid(value: float, low: float, enough: float, most: float, high: float) -> float:
    """0 outside of (low, high), 1 between enough and most, linear between."""
    return _rising(value, low, enough) * _falling(value, most, high)

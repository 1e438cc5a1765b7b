"""Where the chest lies in a frontal X-ray: the body, the lung fields in it, and the hull around them.

HD-MAE (Wang et al., 2024, sec. 3.2) masks more patches inside the "contour of the chest" than outside. Its
published code has one fixed rectangle for every image (:func:`published_box`); here the region is found in
the image: lungs are the two large dark regions of the body, on either side of its middle, for the threshold
at which they look most like a pair of lungs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

Mask = npt.NDArray[np.bool_]
Grey = npt.NDArray[np.floating]

SIDE = 160
"""Long side in pixels at which a contour is sought; lungs are large."""
LEAST_CONFIDENCE = 0.5
"""Below this the published rectangle stands in for the contour."""
_LEVELS = np.arange(0.16, 0.66, 0.03)
"""Shares of the body's pixels, darkest first, that are tried as lungs."""


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
    scale = max(grey.shape) / SIDE
    body = _body(grey)
    if body.mean() < 0.15:
        return None
    smooth = ndimage.gaussian_filter(grey, 1.5 * scale)
    level = smooth - 0.6 * ndimage.gaussian_filter(smooth, 34 * scale)
    rank = np.ones(grey.shape, dtype=np.float32)
    rank[body] = level[body].argsort().argsort() / max(1, int(body.sum()) - 1)
    inner = ndimage.binary_erosion(body, iterations=max(1, round(3 * scale)), border_value=1)
    middle = _middle(body)
    best: tuple[Mask, float] | None = None
    for share in _LEVELS:
        pair = _pair((rank < share) & inner, body, middle, scale)
        if pair is not None and (best is None or pair[1] > best[1]):
            best = pair
    return best


def _body(grey: Grey) -> Mask:
    """What is not black air or collimation reaching in from the edge of the picture."""
    dark = ndimage.gaussian_filter(grey, 1) < 0.10
    labels, _ = ndimage.label(dark)
    edge = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    outside = np.isin(labels, edge[edge > 0])
    labels, count = ndimage.label(ndimage.binary_opening(~outside, iterations=2))
    if not count:
        return ~outside
    sizes = np.bincount(labels.ravel())[1:]
    body: Mask = ndimage.binary_fill_holes(labels == 1 + int(sizes.argmax()))
    return body


def _middle(body: Mask) -> float:
    """The column of the body's middle, over its rows between a quarter and three quarters."""
    height = len(body)
    band = body[height // 4 : max(height // 4 + 1, 3 * height // 4)]
    columns = np.nonzero(band)[1]
    return float(columns.mean()) if len(columns) else body.shape[1] / 2


def _pair(dark: Mask, body: Mask, middle: float, scale: float) -> tuple[Mask, float] | None:
    """The two regions of `dark` that look most like lungs, cleaned, and how much they do (0 to 1)."""
    opened = _opened(dark, 5 * scale)
    labels, count = ndimage.label(opened)
    if count < 2:
        return None
    regions = []
    for number, window in enumerate(ndimage.find_objects(labels), start=1):
        region = labels[window] == number
        if region.sum() > 0.012 * body.sum():
            regions.append(_Region.of(region, window, body, middle))
    left = [region for region in regions if region.centre[1] < middle]
    right = [region for region in regions if region.centre[1] >= middle]
    scored = [(_likeness(one, other, body), one, other) for one in left for other in right]
    if not scored:
        return None
    score, one, other = max(scored, key=lambda each: each[0])
    lungs = np.zeros(body.shape, dtype=bool)
    for region in (one, other):
        lungs[region.window] |= ndimage.binary_fill_holes(region.mask)
    return lungs, score


@dataclass(frozen=True, slots=True)
class _Region:
    """A dark region: mask in its window, centre (row, column), area, share of its hull that it fills."""

    mask: Mask
    window: tuple[slice, slice]
    centre: tuple[float, float]
    area: float
    solidity: float

    @classmethod
    def of(cls, mask: Mask, window: tuple[slice, slice], body: Mask, middle: float) -> _Region:
        rows, columns = np.nonzero(mask)
        centre = (float(rows.mean()) + window[0].start, float(columns.mean()) + window[1].start)
        area = float(mask.sum())
        return cls(mask, window, centre, area / body.sum(), area / max(1.0, float(convex_hull(mask).sum())))

    @property
    def height(self) -> int:
        return self.window[0].stop - self.window[0].start

    @property
    def width(self) -> int:
        return self.window[1].stop - self.window[1].start


def _opened(mask: Mask, radius: float) -> Mask:
    """`mask` without what a disc of `radius` pixels does not fit into; distances are faster than a disc."""
    kept = ndimage.distance_transform_edt(mask) > radius
    opened: Mask = ndimage.distance_transform_edt(~kept) <= radius
    return opened & mask


def _likeness(one: _Region, other: _Region, body: Mask) -> float:
    """How much two regions look like the lungs of a body: a product of soft limits, each at most 1."""
    rows, columns = np.nonzero(body)
    tall, wide = rows.max() - rows.min() + 1, columns.max() - columns.min() + 1
    area = one.area + other.area
    factors = (
        _trapezoid(area, 0.10, 0.24, 0.52, 0.70),
        _trapezoid(min(one.area, other.area) / max(one.area, other.area), 0.10, 0.45, 1, 2),
        _trapezoid(abs(one.centre[0] - other.centre[0]) / tall, -1, 0, 0.06, 0.25),
        _trapezoid(abs(one.centre[1] - other.centre[1]) / wide, 0.15, 0.30, 0.58, 0.80),
        _trapezoid(min(one.height, other.height) / tall, 0.15, 0.35, 0.85, 1.05),
        _trapezoid(max(one.width, other.width) / wide, 0.10, 0.20, 0.44, 0.60),
        _trapezoid(min(one.solidity, other.solidity), 0.55, 0.92, 1, 2),
        _trapezoid(((one.centre[0] + other.centre[0]) / 2 - rows.min()) / tall, 0.15, 0.32, 0.58, 0.75),
    )
    return float(np.prod(factors) ** (1 / 3))


def _trapezoid(value: float, low: float, enough: float, most: float, high: float) -> float:
    """0 outside of (low, high), 1 between enough and most, linear between."""
    if value < enough:
        return max(0.0, (value - low) / (enough - low))
    return min(1.0, max(0.0, (high - value) / (high - most))) if value > most else 1.0

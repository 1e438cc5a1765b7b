"""The chest's contour against exact lungs of phantoms, and on pictures that are no chests."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxreport.encoders.contour import LEAST_CONFIDENCE, convex_hull, find_contour, on_grid, published_box
from cxreport.phantom.make import sample_findings
from cxreport.phantom.truth import frontal_and_lungs


def phantom(seed: int, size: int = 192) -> tuple[np.ndarray, np.ndarray]:
    """A frontal phantom with random findings, and the hull of its lung fields."""
    findings = sample_findings(np.random.default_rng(seed))
    view, lungs = frontal_and_lungs(findings, size, 1000 + seed)
    return np.asarray(Image.open(io.BytesIO(view.image))), convex_hull(lungs)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_hulls_of_phantoms() -> None:
    """At least 0.80 on average; the fixed rectangle reaches about 0.6."""
    pairs = [phantom(seed) for seed in range(12)]
    contours = [find_contour(grey) for grey, _ in pairs]
    assert np.mean([overlap(c.hull, hull) for c, (_, hull) in zip(contours, pairs, strict=True)]) >= 0.80
    assert np.mean([overlap(published_box(*hull.shape), hull) for _, hull in pairs]) < 0.70
    assert all(contour.found and contour.confidence >= LEAST_CONFIDENCE for contour in contours)


def test_a_white_lung_is_the_mirror_image_of_the_other() -> None:
    grey, hull = phantom(3)
    white = grey.copy()
    white[:, 96:] = np.where(hull[:, 96:], 200, white[:, 96:])
    contour = find_contour(white)
    assert contour.found
    assert contour.confidence <= 0.75
    assert overlap(contour.hull, hull) >= 0.75


def test_a_frame_of_the_picture_is_no_part_of_the_body() -> None:
    """Collimation and scanned film leave black or white frames around the chest."""
    grey, _ = phantom(4)
    plain = find_contour(grey).hull
    for frame in (0, 255):
        framed = find_contour(np.pad(grey, 24, constant_values=frame))
        assert overlap(framed.hull[24:-24, 24:-24], plain) >= 0.85


def test_scale_and_grey_scale_do_not_matter() -> None:
    grey, _ = phantom(3)
    small = find_contour(grey)
    large = find_contour(np.kron(grey.astype(np.uint16) * 200 + 7, np.ones((3, 3), dtype=np.uint16)))
    assert large.hull.shape == (576, 576)
    assert large.box == pytest.approx(small.box, abs=0.02)


def test_the_box_is_that_of_the_hull() -> None:
    grey, _ = phantom(4)
    contour = find_contour(grey)
    left, top, right, bottom = contour.box
    rows, columns = np.nonzero(contour.hull)
    found = (columns.min() / 192, rows.min() / 192, (columns.max() + 1) / 192, (rows.max() + 1) / 192)
    assert (left, top, right, bottom) == pytest.approx(found, abs=0.015)
    assert (contour.hull & contour.lungs).sum() >= 0.97 * contour.lungs.sum()


@pytest.mark.parametrize(
    "grey",
    [
        np.full((200, 200), 7, dtype=np.uint8),
        np.random.default_rng(0).integers(0, 255, (200, 200)).astype(np.uint8),
        np.zeros((3, 5), dtype=np.float32),
        np.tile(np.arange(200, dtype=np.float64), (100, 1)),
    ],
    ids=["constant", "noise", "tiny", "gradient"],
)
def test_pictures_without_lungs_get_the_rectangle(grey: np.ndarray) -> None:
    contour = find_contour(grey)
    assert not contour.found
    assert not contour.lungs.any()
    assert np.array_equal(contour.hull, published_box(*grey.shape))


@pytest.mark.parametrize("grey", [np.zeros((3, 4, 4)), np.zeros((0, 4)), np.array([[np.nan, 1.0]])])
def test_what_is_no_picture_is_refused(grey: np.ndarray) -> None:
    with pytest.raises(ValueError, match="contour needs"):
        find_contour(grey)


def test_a_cell_is_inside_by_at_least_half() -> None:
    mask = np.zeros((8, 8), dtype=bool)
    mask[:, :3] = True
    assert on_grid(mask, 2, 2).tolist() == [[True, False], [True, False]]
    assert on_grid(published_box(20, 20), 20, 20).sum() == 130


def test_real_radiographs(shared: Path) -> None:
    """Nearly all of 30 frontal images have a contour of a sensible size."""
    images = sorted((shared / "data" / "nih" / "images").glob("*.jpg"))[::29]
    contours = [find_contour(np.asarray(Image.open(path).convert("L"))) for path in images]
    sizes = [contour.hull.mean() for contour in contours if contour.found]
    assert len(sizes) >= 0.9 * len(images)
    assert 0.2 < np.median(sizes) < 0.5

"""Path lengths against volumes, closed forms and brute force."""

from __future__ import annotations

import numpy as np
import pytest

from cxreport.phantom.anatomy import sample_chest
from cxreport.phantom.geometry import (
    Blob,
    Ellipsoid,
    Profile,
    Rays,
    Tube,
    cloud_of,
    covered,
    haze,
    length,
    meet,
    path,
    splat,
)

VIEWS = ("frontal", "lateral")


def rays(projection: str, size: int = 200, extent: float = 400.0) -> Rays:
    return Rays(projection, size, extent, (0.0, 0.0, 0.0))  # type: ignore[arg-type]


@pytest.mark.parametrize("projection", VIEWS)
@pytest.mark.parametrize("turn", [0.0, 35.0])
def test_ellipsoid_lengths_sum_to_its_volume(projection: str, turn: float) -> None:
    solid = Ellipsoid((20.0, -10.0, 15.0), (60.0, 30.0, 45.0), turn)
    view = rays(projection)
    volume = float(length(solid.interval(view)).sum()) * view.pixel**2
    assert volume == pytest.approx(4 / 3 * np.pi * 60 * 30 * 45, rel=2e-3)


def test_sphere_chord_by_hand() -> None:
    view = Rays("frontal", 3, 30.0, (0.0, 0.0, 0.0))
    low, high = Ellipsoid((10.0, 4.0, 0.0), (19.0, 19.0, 19.0)).interval(view)
    assert low[1, 2] == pytest.approx(4 - 19)
    assert high[1, 1] == pytest.approx(4 + np.sqrt(19**2 - 10**2))
    assert high[1, 0] <= low[1, 0]


@pytest.mark.parametrize(("extends", "row", "expected"), [("down", 2, 40.0), ("up", 2, 0.0), ("up", 0, 40.0)])
def test_ellipsoid_goes_on_one_way(extends: str, row: int, expected: float) -> None:
    view = Rays("frontal", 3, 120.0, (0.0, 0.0, 0.0))
    solid = Ellipsoid((0.0, 0.0, 0.0), (20.0, 20.0, 20.0), extends=extends)  # type: ignore[arg-type]
    assert length(solid.interval(view))[row, 1] == pytest.approx(expected)


@pytest.mark.parametrize("part", ["lung", "body", "spine"])
def test_columns_have_one_volume_from_both_sides(part: str) -> None:
    chest = sample_chest(np.random.default_rng(3))
    solid = {"lung": chest.lung("left"), "body": chest.body(lateral=False), "spine": chest.spine()}[part]
    volumes = [float(length(solid.interval(rays(view, 400, 640.0))).sum()) for view in VIEWS]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.01)


def test_column_contains_agrees_with_its_rays() -> None:
    lung = sample_chest(np.random.default_rng(1)).lung("right")
    view = rays("frontal", 64)
    low, high = lung.interval(view)
    rng = np.random.default_rng(0)
    row, column = rng.integers(0, 64, (2, 400))
    y = rng.uniform(-120, 120, 400).astype(np.float32)
    points = np.stack([view.across[0, column], y, view.up[row, 0]], axis=1)
    expected = (low[row, column] < y) & (y < high[row, column])
    assert expected.sum() > 20
    assert (lung.contains(points) == expected).all()


def test_covered_equals_counting_along_the_rays() -> None:
    rng = np.random.default_rng(5)
    view = rays("frontal", 24)
    region = Ellipsoid((0, 0, 0), (150, 90, 150)).interval(view)
    solids = [
        Ellipsoid(tuple(rng.uniform(-60, 60, 3)), tuple(rng.uniform(20, 90, 3))).interval(view)  # type: ignore[arg-type]
        for _ in range(6)
    ]
    depths = np.arange(-200, 200, 0.25, dtype=np.float32)[:, None, None]
    inside = (depths > region[0]) & (depths < region[1])
    hit = np.any([(depths > low) & (depths < high) for low, high in solids], axis=0)
    expected = (inside & hit).sum(axis=0) * 0.25
    assert covered(region, solids) == pytest.approx(expected, abs=1.0)
    assert covered(region, []).sum() == 0


def test_meet_is_the_shared_part() -> None:
    view = rays("lateral", 32)
    first, second = Ellipsoid((-20, 0, 0), (50, 50, 50)), Ellipsoid((20, 0, 0), (50, 50, 50))
    both = length(meet(first.interval(view), second.interval(view)))
    half_pixel = view.pixel / 2
    assert both[16, 16] == pytest.approx(2 * np.sqrt(50**2 - 2 * half_pixel**2) - 40)
    assert both[0, 0] == 0


@pytest.mark.parametrize("projection", VIEWS)
@pytest.mark.parametrize("radius", [0.5, 3.0, 9.0])
def test_splat_keeps_the_mass_of_a_tube(projection: str, radius: float) -> None:
    tube = Tube(path((-80, -30, -60), (0, 10, 0), (60, 40, 90), step=0.5), radius, 0.02)
    view = rays(projection, 100)
    mass = float(splat(cloud_of([tube]), view).sum()) * view.pixel**2
    steps = np.linalg.norm(np.diff(tube.points, axis=0), axis=1).sum()
    assert mass == pytest.approx(np.pi * radius**2 * steps * 0.02, rel=0.03)


def test_splat_leaves_out_what_lies_outside() -> None:
    tube = Tube(path((-900, 0, 0), (-800, 0, 0)), 4.0, 1.0)
    assert splat(cloud_of([tube]), rays("frontal", 50)).sum() == 0
    assert splat(cloud_of([]), rays("frontal", 50)).shape == (50, 50)


@pytest.mark.parametrize("projection", VIEWS)
def test_haze_integrates_to_the_gaussian(projection: str) -> None:
    blob = Blob((10.0, -5.0, 20.0), (18.0, 25.0, 12.0), 0.01)
    view = rays(projection)
    total = float(haze(blob, view).sum()) * view.pixel**2
    assert total == pytest.approx(0.01 * (2 * np.pi) ** 1.5 * 18 * 25 * 12, rel=1e-3)


def test_profile_passes_through_its_points_and_stays_outside() -> None:
    profile = Profile((-10.0, 3.0), (0.0, 5.0), (20.0, -1.0))
    assert profile(np.array([-99.0, -10.0, 0.0, 20.0, 99.0])) == pytest.approx([3, 3, 5, -1, -1])


def test_projection_and_pixels_agree() -> None:
    view = Rays("lateral", 50, 200.0, (0.0, 10.0, -20.0))
    column, row = view.project(
        np.array([[7.0, float(view.across[0, 12]), float(view.up[33, 0])]], np.float32)
    )
    assert (column[0], row[0]) == pytest.approx((12, 33), abs=1e-3)

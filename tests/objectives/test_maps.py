"""Maps by hand: Grad-CAM, where a map is highest, and the pointing game."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cxreport.objectives.map_sheet import CELL, Cell, map_sheet
from cxreport.objectives.maps import grad_cam, on_grid, peaks, points_into
from cxreport.objectives.predicting import covered


def test_grad_cam_by_hand() -> None:
    """Score = 2 a0 b1 of the first channel's patches a and the second's b; gradients and cut by hand."""
    patches = torch.tensor([[[1.0, 5.0], [3.0, 2.0]]])

    def score(tokens: torch.Tensor) -> torch.Tensor:
        product = 2 * tokens[:, 0, 0] * tokens[:, 1, 1]
        return torch.stack([product, -product], dim=1)

    # d/da0 = 2 b1 = 4, d/db1 = 2 a0 = 2; means over two patches: 2 and 1
    wanted = torch.tensor([[[2 * 1 + 5, 2 * 3 + 2], [0, 0]]], dtype=torch.float32)
    assert torch.equal(grad_cam(score, patches), wanted)
    assert patches.grad is None


def test_images_of_a_batch_do_not_mix() -> None:
    torch.manual_seed(0)
    patches, weight = torch.randn(3, 4, 5), torch.randn(2, 5)

    def score(tokens: torch.Tensor) -> torch.Tensor:
        return (tokens.square().mean(dim=1) @ weight.T).tanh()

    together = grad_cam(score, patches)
    alone = torch.cat([grad_cam(score, each[None]) for each in patches])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (1, 2), (3, 1)])
def test_a_peak_is_the_centre_of_its_patch(row: int, column: int) -> None:
    maps = torch.zeros(1, 1, 4, 3)
    maps[0, 0, row, column] = 1
    x, y = peaks(maps, side=120)[0, 0].tolist()
    assert x == pytest.approx((column + 0.5) / 3, abs=0.5 / 3)
    assert y == pytest.approx((row + 0.5) / 4, abs=0.5 / 4)
    inner = on_grid(torch.tensor([[[0.0, 0, 0, 0, 1, 0, 0, 0, 0]]]), (3, 3))
    torch.testing.assert_close(peaks(inner)[0, 0], torch.full((2,), 0.5), atol=0.003, rtol=0)


def test_a_peak_between_two_patches_is_found_there() -> None:
    maps = torch.zeros(1, 1, 5, 6)
    maps[0, 0, 2, 2:4] = 1
    x, _ = peaks(maps)[0, 0].tolist()
    assert abs(x - 0.5) < 0.08


def test_points_into_any_box_and_a_little_beside() -> None:
    boxes = [(0.1, 0.1, 0.2, 0.3), (0.6, 0.6, 0.9, 0.7)]
    assert points_into((0.15, 0.2), boxes)
    assert points_into((0.6, 0.7), boxes)
    assert not points_into((0.15, 0.31), boxes)
    assert points_into((0.15, 0.31), boxes, tolerance=0.02)
    assert not points_into((0.5, 0.5), [])


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 0.5), st.floats(0, 0.5), st.floats(0.05, 0.5), st.floats(0.05, 0.5))
def test_chance_is_the_covered_area(left: float, top: float, width: float, height: float) -> None:
    box = (left, top, left + width, top + height)
    assert covered([box]) == pytest.approx(width * height, abs=0.006)
    assert covered([box, box]) == covered([box])


def test_a_sheet_shows_the_map_in_colour_and_the_box(tmp_path: Path) -> None:
    image, heat = torch.zeros(1, 64, 64), torch.zeros(4, 4)
    heat[0, 0] = 1
    cells = [Cell(image, heat, "warm"), Cell(image, heat, "boxed", ((0.5, 0.5, 1.0, 1.0),))]
    assert map_sheet(cells, tmp_path / "maps.png") == 2
    pixels = np.asarray(Image.open(tmp_path / "maps.png"), dtype=int)
    assert pixels.shape == (CELL + 16, 2 * CELL, 3)
    red, green, blue = pixels[20, 20]
    assert red > green > blue
    assert len(set(pixels[200, 60].tolist())) == 1
    assert pixels[CELL // 2, CELL + 200].tolist() == [105, 219, 124]

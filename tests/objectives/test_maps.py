"""Maps by hand: Grad-CAM, where a map is highest, and the pointing game."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional

from cxreport.encoders import build_encoder
from cxreport.objectives.map_sheet import CELL, Cell, map_sheet
from cxreport.objectives.maps import enlarged, grad_cam, on_grid, peaks, points_into, saliency
from cxreport.objectives.predicting import covered
from cxreport.options import EncoderOptions


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


@pytest.mark.parametrize(
    "name", ["resnet_small", "vmamba_mini", "efficientnet_lite0", "swin_mini", "vit_tiny"]
)
def test_a_token_looks_where_its_encoder_says(name: str) -> None:
    """The centre of mass of the gradient of a token in the middle, of random images and channels."""
    torch.manual_seed(0)
    options = EncoderOptions(name=name, image_size=224) if name == "vit_tiny" else EncoderOptions(name=name)
    encoder = build_encoder(options).eval()
    side = 448 if name == "efficientnet_lite0" else 224
    images = torch.randn(4, 3, side, side, requires_grad=True)
    tokens = encoder(images)
    rows, columns = tokens.grid
    seen = tokens.patches.unflatten(1, tokens.grid)[:, rows // 2, columns // 2]
    [gradient] = torch.autograd.grad((seen * torch.randn_like(seen)).sum(), images)
    energy = gradient.square().sum(dim=(0, 1))
    pixels = torch.arange(float(side))
    for mass, count in ((energy.sum(1), rows), (energy.sum(0), columns)):
        centre = (mass * pixels).sum() / mass.sum()
        middle = (count // 2 + 0.5) * side / count - 0.5
        assert float(centre) == pytest.approx(middle - encoder.shift, abs=5)


def test_a_shift_moves_the_peak_up_and_left() -> None:
    maps = torch.zeros(1, 1, 8, 8)
    maps[0, 0, 4, 5] = 1
    plain, moved = peaks(maps)[0, 0], peaks(maps, 0.05)[0, 0]
    torch.testing.assert_close(plain - moved, torch.full((2,), 0.05), atol=0.005, rtol=0)
    reference = functional.interpolate(maps, (256, 256), mode="bicubic", align_corners=False)
    torch.testing.assert_close(enlarged(maps, 256), reference, atol=1e-4, rtol=0)


def test_saliency_is_the_blurred_absolute_gradient() -> None:
    """Only two pixels matter, one three times as much and downwards; a blur keeps the sum inside."""
    weight = torch.zeros(1, 56, 56)
    weight[0, 20, 15], weight[0, 30, 40] = 1.0, -3.0
    images = torch.randn(2, 1, 56, 56)

    def score(pictures: torch.Tensor) -> torch.Tensor:
        whole = (pictures * weight).sum(dim=(1, 2, 3))
        return torch.stack([whole, pictures[:, 0, 28, 28]], dim=1)

    maps = saliency(score, images)
    assert maps.shape == (2, 2, 56, 56)
    torch.testing.assert_close(maps.sum(dim=(2, 3)), torch.tensor([[4.0, 1.0]] * 2))
    assert divmod(int(maps[0, 0].argmax()), 56) == (30, 40)
    assert divmod(int(maps[1, 1].argmax()), 56) == (28, 28)
    assert maps[0, 1, 28, 30] == pytest.approx(float(maps[0, 1, 28, 28]) * np.exp(-0.5), rel=0.01)

"""The one check that every encoder makes of its images, and grey against colour."""

from __future__ import annotations

import pytest
import torch

from cxreport.data.batch import normalised
from cxreport.encoders import ImageError, build_encoder, check_images, with_channels
from cxreport.errors import UserError
from cxreport.options import EncoderOptions


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ((3, 32, 32), "Images must be (B, 3, H, W) or grey (B, 1, H, W), not of shape (3, 32, 32)."),
        ((2, 4, 32, 32), "Images must be (B, 3, H, W) or grey (B, 1, H, W), not of shape (2, 4, 32, 32)."),
        ((0, 3, 32, 32), "The batch of images is empty; give at least one image."),
        (
            (1, 3, 8, 32),
            "Images of 8 x 32 px are smaller than the 16 x 16 px that this encoder needs; make them larger.",
        ),
        (
            (1, 1, 32, 40),
            "The sides of images must be multiples of 16 px for this encoder, not 32 x 40 px;"
            " resize or pad them.",
        ),
    ],
)
def test_shapes(shape: tuple[int, ...], sentence: str) -> None:
    with pytest.raises(ImageError) as told:
        check_images(torch.zeros(shape), smallest=16, multiple=16)
    assert str(told.value) == sentence


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_values_that_are_not_finite_are_told_with_their_image(value: float, dtype: torch.dtype) -> None:
    images = torch.zeros(4, 1, 8, 8, dtype=dtype)
    check_images(images)
    images[2, 0, 7, 0] = value
    with pytest.raises(ImageError, match=r"Image 2 of the batch \(counted from 0\) holds NaN or infinite"):
        check_images(images)


def test_an_image_error_is_both_a_mistake_of_the_user_and_a_wrong_value() -> None:
    for kind in (UserError, ValueError):
        with pytest.raises(kind, match="not uint8"):
            check_images(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))


def test_the_checks_do_not_cut_a_compiled_graph() -> None:
    options = EncoderOptions(name="vit_tiny", width=16, depths=(1,), heads=(2,), image_size=32)
    encoder = build_encoder(options).eval()
    images = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        compiled = torch.compile(encoder, fullgraph=True, backend="eager")(images)
        assert torch.equal(compiled.patches, encoder(images).patches)


def test_channels() -> None:
    pixels = torch.rand(2, 5, 7)
    colour, grey = normalised(pixels), 2 * pixels.unsqueeze(1) - 1
    torch.testing.assert_close(with_channels(grey, 3), colour, atol=1e-5, rtol=0)
    torch.testing.assert_close(with_channels(colour, 1), grey, atol=1e-5, rtol=0)
    assert with_channels(grey, 1) is grey
    red = torch.zeros(1, 3, 2, 2)
    red[:, 0] = 1.0
    # one standard deviation above ImageNet's mean in red, the means elsewhere
    expected = 2 * (0.485 + 0.229 + 0.456 + 0.406) / 3 - 1
    torch.testing.assert_close(with_channels(red, 1), torch.full((1, 1, 2, 2), expected))

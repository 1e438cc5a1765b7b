"""What every encoder of the registry keeps to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from cxreport.data.batch import normalised
from cxreport.encoders import ENCODERS, Encoder, ImageError, build_encoder
from cxreport.errors import UserError
from cxreport.options import EncoderOptions

TINY: dict[str, dict[str, Any]] = {
    "cxreport.encoders.resnet:resnet_small": {"width": 8},
    "cxreport.encoders.vmamba:vmamba": {"width": 8, "depths": (1, 1, 1, 1)},
    "cxreport.encoders.vision_mamba:vision_mamba": {"width": 24, "depths": (2,), "image_size": 64},
    "cxreport.encoders.vit:vision_transformer": {
        "width": 24,
        "depths": (2,),
        "heads": (3,),
        "image_size": 128,
    },
    "cxreport.encoders.swin:swin": {"width": 12, "depths": (1, 1, 2, 1), "heads": (1, 2, 2, 4)},
}
"""Small shapes by builder, so that every name is tested quickly; other builders are built whole."""


def build(name: str, seed: int = 1, **options: Any) -> Encoder:
    torch.manual_seed(seed)
    shape = TINY.get(ENCODERS[name].build, {})
    return build_encoder(EncoderOptions(name=name, **shape, **options))


def side_of(encoder: Encoder) -> int:
    """A side in pixels at which every stage still has several tokens."""
    return max(2 * encoder.multiple, 2 * encoder.smallest, 64)


def images_for(encoder: Encoder, batch: int = 2, channels: int = 3) -> Tensor:
    side = side_of(encoder)
    return torch.randn(batch, channels, side, side, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", sorted(ENCODERS))
class TestEveryEncoder:
    def test_shapes_at_two_sizes(self, name: str) -> None:
        encoder = build(name).eval()
        stride, side = ENCODERS[name].stride, side_of(encoder)
        for height, width in ((side, side), (side, side + side // 2)):
            with torch.no_grad():
                tokens = encoder(torch.randn(2, 3, height, width))
            assert tokens.grid == (height // stride, width // stride)
            assert tokens.patches.shape == (2, tokens.grid[0] * tokens.grid[1], encoder.width)
            assert tokens.pooled.shape == (2, encoder.width)

    def test_every_parameter_gets_a_gradient(self, name: str) -> None:
        encoder = build(name).train()
        tokens = encoder(images_for(encoder))
        (tokens.patches.square().mean() + tokens.pooled.sum()).backward()
        gradients = {key: value.grad for key, value in encoder.named_parameters()}
        assert [key for key, value in gradients.items() if value is None or not value.any()] == []
        assert [key for key, value in gradients.items() if not torch.isfinite(value).all()] == []

    def test_save_and_load(self, name: str, tmp_path: Path) -> None:
        encoder, other = build(name, seed=1).eval(), build(name, seed=2).eval()
        weights = {key: value.contiguous() for key, value in encoder.state_dict().items()}
        save_file(weights, tmp_path / "e.safetensors")
        images = images_for(encoder, batch=1)
        with torch.no_grad():
            assert not torch.equal(encoder(images).patches, other(images).patches)
            other.load_state_dict(load_file(tmp_path / "e.safetensors"))
            assert torch.equal(encoder(images).patches, other(images).patches)

    def test_the_seed_decides(self, name: str) -> None:
        with torch.no_grad():
            first, second = (build(name).eval() for _ in range(2))
            images = images_for(first, batch=1)
            assert torch.equal(first(images).patches, second(images).patches)

    def test_a_batch_of_one_equals_a_row_of_a_batch(self, name: str) -> None:
        encoder = build(name).eval()
        images = images_for(encoder, batch=3)
        with torch.no_grad():
            together, alone = encoder(images), encoder(images[1:2])
        scale = alone.patches.abs().max()
        torch.testing.assert_close(together.patches[1:2] / scale, alone.patches / scale, atol=1e-5, rtol=0)
        torch.testing.assert_close(together.pooled[1:2] / scale, alone.pooled / scale, atol=1e-5, rtol=0)

    def test_a_grey_picture_equals_itself_in_three_channels(self, name: str) -> None:
        encoder = build(name).eval()
        pixels = images_for(encoder, batch=1, channels=1).sigmoid()
        with torch.no_grad():
            grey, colour = encoder(2 * pixels - 1), encoder(normalised(pixels[:, 0]))
        scale = colour.patches.abs().max()
        torch.testing.assert_close(grey.patches / scale, colour.patches / scale, atol=1e-5, rtol=0)

    def test_images_that_it_cannot_take(self, name: str) -> None:
        encoder = build(name).eval()
        good = images_for(encoder)
        holed = good.clone()
        holed[1, 0, 5, 7] = float("nan")
        too_small = good[..., : encoder.smallest - 1, :]
        cases = {
            "empty": good[:0],
            r"\(B, 3, H, W\)": good.repeat(1, 2, 1, 1)[:, :5],
            "smaller than": too_small,
            "Image 1 .*NaN": holed,
            "floating-point": good.to(torch.uint8),
        }
        if encoder.multiple > 1:
            cases["multiples of"] = torch.randn(1, 3, side_of(encoder), side_of(encoder) + 1)
        for message, images in cases.items():
            with pytest.raises(ImageError, match=message) as told, torch.no_grad():
                encoder(images)
            assert str(told.value).count(".") <= 1

    def test_one_image_of_the_published_size_at_full_width(self, name: str) -> None:
        """On the meta device, where nothing is computed, the encoder itself and not its small copy."""
        entry = ENCODERS[name]
        with torch.device("meta"):
            encoder = build_encoder(EncoderOptions(name=name))
            assert all(value.is_meta for value in encoder.parameters())
        assert entry.default_size % encoder.multiple == 0
        assert entry.stride % encoder.multiple == 0 or encoder.multiple == 1


def test_an_unknown_name_is_told_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"resnet_smal.*choose.*resnet_small"):
        build_encoder(EncoderOptions(name="resnet_smal"))


def test_an_option_that_the_encoder_does_not_have() -> None:
    with pytest.raises(
        UserError, match=r"model\.encoder\.heads does not apply to resnet_small; it takes width"
    ):
        build_encoder(EncoderOptions(name="resnet_small", heads=(2,)))
    with pytest.raises(UserError, match="it has no options"):
        build_encoder(EncoderOptions(name="resnet101", width=8))


@pytest.mark.parametrize("name", [name for name, entry in ENCODERS.items() if not entry.pretrained])
def test_published_weights_that_no_cache_holds(name: str) -> None:
    with pytest.raises(UserError, match=rf"{name} has no published weights.*cxreport convert"):
        build_encoder(EncoderOptions(name=name, pretrained=True))


@pytest.mark.parametrize("name", [n for n, entry in ENCODERS.items() if "drop_path" in entry.options])
def test_drop_path_drops_in_training_only(name: str) -> None:
    encoder = build(name, drop_path=0.9)
    images = images_for(encoder)
    with torch.no_grad():
        still = [encoder.eval()(images).patches for _ in range(2)]
        torch.manual_seed(0)
        moving = encoder.train()(images).patches
    assert torch.equal(*still)
    assert not torch.equal(moving, still[0])

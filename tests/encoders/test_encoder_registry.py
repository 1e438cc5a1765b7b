"""What every encoder of the registry keeps to."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from cxreport.encoders import ENCODERS, Encoder, build_encoder
from cxreport.errors import UserError
from cxreport.recipe import EncoderOptions


def build(name: str, seed: int = 1) -> Encoder:
    torch.manual_seed(seed)
    return build_encoder(EncoderOptions(name=name, width=8 if "width" in ENCODERS[name].options else None))


@pytest.mark.parametrize("name", sorted(ENCODERS))
class TestEveryEncoder:
    def test_shapes_at_two_sizes(self, name: str) -> None:
        encoder = build(name).eval()
        grids = []
        for size in (64, 96):
            with torch.no_grad():
                tokens = encoder(torch.randn(2, 3, size, size))
            height, width = tokens.grid
            assert tokens.patches.shape == (2, height * width, encoder.width)
            assert tokens.pooled.shape == (2, encoder.width)
            grids.append(tokens.grid)
        assert grids[1] > grids[0]

    def test_every_parameter_gets_a_gradient(self, name: str) -> None:
        encoder = build(name).train()
        tokens = encoder(torch.randn(2, 3, 64, 64))
        (tokens.patches.square().mean() + tokens.pooled.sum()).backward()
        gradients = {key: value.grad for key, value in encoder.named_parameters()}
        assert [key for key, value in gradients.items() if value is None or not value.any()] == []
        assert [key for key, value in gradients.items() if not torch.isfinite(value).all()] == []

    def test_save_and_load(self, name: str, tmp_path: Path) -> None:
        encoder, other = build(name, seed=1).eval(), build(name, seed=2).eval()
        weights = {key: value.contiguous() for key, value in encoder.state_dict().items()}
        save_file(weights, tmp_path / "e.safetensors")
        images = torch.randn(1, 3, 64, 64)
        with torch.no_grad():
            assert not torch.equal(encoder(images).patches, other(images).patches)
            other.load_state_dict(load_file(tmp_path / "e.safetensors"))
            assert torch.equal(encoder(images).patches, other(images).patches)

    def test_the_seed_decides(self, name: str) -> None:
        images = torch.randn(1, 3, 64, 64)
        with torch.no_grad():
            first, second = (build(name).eval()(images).patches for _ in range(2))
        assert torch.equal(first, second)

    def test_a_batch_of_one_equals_a_row_of_a_batch(self, name: str) -> None:
        encoder = build(name).eval()
        images = torch.randn(3, 3, 64, 64)
        with torch.no_grad():
            together, alone = encoder(images), encoder(images[1:2])
        scale = alone.patches.abs().max()
        torch.testing.assert_close(together.patches[1:2] / scale, alone.patches / scale, atol=1e-5, rtol=0)
        torch.testing.assert_close(together.pooled[1:2] / scale, alone.pooled / scale, atol=1e-5, rtol=0)


def test_an_unknown_name_is_told_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"resnet_smal.*choose.*resnet_small"):
        build_encoder(EncoderOptions(name="resnet_smal"))

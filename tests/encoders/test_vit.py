"""Vision transformers: torchvision's as a reference, a part of the patches, and positions of any grid."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.models.vision_transformer import VisionTransformer as Reference

from cxreport.encoders import ImageError, build_encoder
from cxreport.encoders.positions import resampled, sin_cos_table, square_side
from cxreport.encoders.vit import VisionTransformer
from cxreport.errors import UserError
from cxreport.options import EncoderOptions


def build(name: str = "vit_tiny", image_size: int = 48, **options: object) -> VisionTransformer:
    torch.manual_seed(0)
    shape = {"width": 24, "depths": (2,), "heads": (3,), "image_size": image_size}
    encoder = build_encoder(EncoderOptions(name=name, **(shape | options))).eval()
    assert isinstance(encoder, VisionTransformer)
    return encoder


def with_names_of(reference: Reference) -> dict[str, Tensor]:
    """The reference's weights under our names."""
    changes = {
        "conv_proj": "embedding",
        "encoder.pos_embedding": "positions",
        "encoder.layers.encoder_layer_": "blocks.",
        "encoder.ln": "norm",
        "ln_1": "attention_norm",
        "ln_2": "mlp_norm",
        "self_attention.in_proj_": "attention.query_key_value.",
        "self_attention.out_proj": "attention.output",
        "mlp.3": "mlp.2",
    }
    renamed = {}
    for key, value in reference.state_dict().items():
        for theirs, ours in changes.items():
            key = key.replace(theirs, ours)
        if not key.startswith("heads"):
            renamed[key] = value
    return renamed


def test_it_equals_torchvision() -> None:
    torch.manual_seed(1)
    reference = Reference(48, 16, 2, 3, 24, 96).eval()
    torch.nn.init.normal_(reference.class_token)
    encoder = build()
    encoder.load_state_dict(with_names_of(reference))
    images = torch.randn(2, 3, 48, 48)
    seen: list[Tensor] = []
    reference.encoder.register_forward_hook(lambda module, given, found: seen.append(found))
    with torch.no_grad():
        reference(images)
        tokens = encoder(images)
    torch.testing.assert_close(tokens.patches, seen[0][:, 1:], atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(tokens.pooled, seen[0][:, 0], atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["vit_tiny", "vit_hd_tiny"])
def test_keeping_every_patch_in_another_order_changes_only_the_order(name: str) -> None:
    encoder = build(name, image_size=128)
    images = torch.randn(2, 1, 128, 192)
    count = 6 if name == "vit_hd_tiny" else 96
    order = torch.stack([torch.randperm(count), torch.randperm(count)])
    with torch.no_grad():
        tokens, latent = encoder(images), encoder.encode_kept(images, order)
    ordered = tokens.patches.take_along_dim(order.unsqueeze(2), dim=1)
    torch.testing.assert_close(latent[:, 1:], ordered, atol=2e-5, rtol=1e-5)


def test_patches_that_are_not_kept_do_not_matter() -> None:
    encoder = build()
    images = torch.randn(1, 3, 48, 48)
    changed = images.clone()
    changed[:, :, :16, 16:32] = 9.0
    kept = torch.tensor([[0, 2, 8]])
    with torch.no_grad():
        assert torch.equal(encoder.encode_kept(images, kept), encoder.encode_kept(changed, kept))
        assert not torch.equal(encoder(images).patches, encoder(changed).patches)
    with pytest.raises(ImageError, match="empty"):
        encoder.encode_kept(images[:0], kept[:0])


def test_a_table_of_sines_by_hand() -> None:
    """Channels of the place in row 1, column 2: sines and cosines of the column, then of the row."""
    table = sin_cos_table(2, 3, 8)
    angles = torch.tensor([2.0, 0.02, 1.0, 0.01], dtype=torch.float64)
    expected = torch.cat([angles[:2].sin(), angles[:2].cos(), angles[2:].sin(), angles[2:].cos()])
    torch.testing.assert_close(table[5].double(), expected, atol=1e-7, rtol=0)
    assert table.shape == (6, 8)


def test_resampling_keeps_a_constant_and_the_own_grid() -> None:
    table = torch.randn(1, 9, 4)
    assert resampled(table, (3, 3)) is table
    constant = torch.ones(1, 9, 4)
    torch.testing.assert_close(resampled(constant, (2, 7)), torch.ones(1, 14, 4))
    ramp = torch.arange(16.0).repeat_interleave(16).reshape(1, 256, 1)
    rows = resampled(ramp, (8, 16)).reshape(8, 16)
    torch.testing.assert_close(rows[2:6, 0], torch.tensor([4.5, 6.5, 8.5, 10.5]), atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="no square grid"):
        square_side(10)


def test_positions_for_another_image_size_are_resampled_once() -> None:
    small, large = build(image_size=48), build(image_size=96)
    weights = large.adapt(small.state_dict())
    large.load_state_dict(weights)
    images = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(large(images).patches, small(images).patches)
    assert small.adapt(small.state_dict())["positions"].shape == (1, 10, 24)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": (5,)}, r"heads \(5\) must divide width \(24\)"),
        ({"depths": (1, 1)}, "depths must be one number"),
        ({"image_size": 50}, r"image_size \(50\) must be a multiple of the patch \(16\)"),
    ],
)
def test_shapes_that_do_not_work(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(**options)

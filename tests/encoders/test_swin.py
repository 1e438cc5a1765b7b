"""Swin: transformers' own as a reference, through the name map."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cxreport.checkpoints.name_map import load_published
from cxreport.checkpoints.published.swin import transformers_names
from cxreport.encoders import build_encoder
from cxreport.encoders.swin import Swin
from cxreport.errors import UserError
from cxreport.options import EncoderOptions


def build(**options: object) -> Swin:
    torch.manual_seed(0)
    shape = {"width": 12, "depths": (2, 3), "heads": (1, 2)} | options
    encoder = build_encoder(EncoderOptions(name="swin_mini", **shape)).eval()
    assert isinstance(encoder, Swin)
    return encoder


@pytest.mark.parametrize("size", [(56, 56), (112, 112), (64, 96), (72, 120)])
def test_it_equals_transformers(size: tuple[int, int], tmp_path: Path) -> None:
    """Sides that are windows exactly, that are padded, and a last map of one window, which is not shifted."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(1)
    config = transformers.SwinConfig(image_size=56, embed_dim=12, depths=(2, 3), num_heads=(1, 2))
    reference = transformers.SwinModel(config).eval()
    for parameter in reference.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    reference.save_pretrained(tmp_path)
    encoder = build()
    weights = load_file(tmp_path / "model.safetensors")
    computed = "relative_position_index"  # older releases save it
    weights = {key: value for key, value in weights.items() if not key.endswith(computed)}
    load_published(encoder, weights, transformers_names(encoder))
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        expected, tokens = reference(images, interpolate_pos_encoding=True), encoder(images)
    torch.testing.assert_close(tokens.patches, expected.last_hidden_state, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(tokens.pooled, expected.pooler_output, atol=1e-4, rtol=1e-4)
    assert tokens.grid == (size[0] // 8, size[1] // 8)


def test_shapes_that_do_not_work() -> None:
    with pytest.raises(UserError, match="depths and heads of swin_mini must be as many"):
        build(depths=(1, 1, 1))
    with pytest.raises(UserError, match="5 must divide the width 24 of its stage"):
        build(heads=(1, 5))

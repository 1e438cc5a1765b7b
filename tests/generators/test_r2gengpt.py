"""R2GenGPT's three ways to treat the encoder, and low-rank updates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_language import REPORTS, words_folder
from torch import nn

from cxreport.checkpoints import load_model, save_model
from cxreport.data.batch import Batch
from cxreport.encoders import build_encoder
from cxreport.errors import UserError
from cxreport.generators.base import TrainStudies
from cxreport.generators.low_rank import add_low_rank
from cxreport.generators.r2gengpt import R2GenGPT
from cxreport.model_options import LanguageModelOptions, LoraOptions, R2GenGPTOptions
from cxreport.options import DecodingOptions, EncoderOptions
from cxreport.recipe import Recipe

SWIN = EncoderOptions(name="swin_mini", width=16, depths=(1, 1, 1, 1), heads=(1, 2, 4, 8))
ENCODERS = {
    "swin_mini": (SWIN, 4),
    "vit_mae_small": (
        EncoderOptions(name="vit_mae_small", image_size=64, width=16, depths=(2,), heads=(2,)),
        2,
    ),
}


def build(variant: str, encoder: EncoderOptions = SWIN, **options: Any) -> R2GenGPT:
    torch.manual_seed(0)
    language = LanguageModelOptions(path=words_folder())
    chosen = R2GenGPTOptions(encoder=encoder, language_model=language, variant=variant, **options)
    return R2GenGPT.build(chosen, TrainStudies(REPORTS))


def batch() -> Batch:
    images = torch.randn(2, 1, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    return Batch(images, torch.ones(2, 1, dtype=torch.bool), ["a", "b"], REPORTS[:2])


def trained(generator: R2GenGPT) -> set[str]:
    """What one step changes."""
    before = {name: value.detach().clone() for name, value in generator.named_parameters()}
    optimizer = torch.optim.SGD([p for p in generator.parameters() if p.requires_grad], lr=1.0)
    generator.train()
    for _ in range(2):
        optimizer.zero_grad()
        generator.loss(batch())["loss"].backward()
        optimizer.step()
    return {name for name, value in generator.named_parameters() if not torch.equal(value, before[name])}


def test_shallow_trains_projection_and_norm() -> None:
    parts = {"projection.weight", "projection.bias", "norm.weight", "norm.bias"}
    assert trained(build("shallow")) == parts


def test_deep_trains_the_encoder() -> None:
    generator = build("deep")
    encoder = {f"encoder.{name}" for name, _ in generator.encoder.named_parameters()}
    # a bias of keys moves all scores of a row alike, and one before a norm over a single cell does nothing
    assert len(encoder - trained(generator)) <= 0.2 * len(encoder)


def test_delta_trains_updates_of_query_and_value() -> None:
    generator = build("delta")
    changed = {name for name in trained(generator) if name.startswith("encoder.")}
    assert changed
    assert all(".qkv.parametrizations.weight.0." in name for name in changed)
    for name, part in generator.encoder.named_modules():
        if name.endswith("attn.qkv"):
            moved = (part.weight - part.parametrizations.weight.original).view(3, -1, part.in_features)
            assert not moved[1].any(), "keys stay"
            rank = torch.linalg.matrix_rank(moved[0].double(), rtol=1e-5)
            assert rank <= 16


def test_delta_begins_as_the_encoder_itself() -> None:
    torch.manual_seed(0)
    plain = build_encoder(SWIN).eval()
    torch.manual_seed(0)
    updated = build_encoder(SWIN).eval()
    assert add_low_rank(updated, LoraOptions(rank=2, dropout=0.0, targets=("qkv",))) == 4
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(plain(images).patches, updated(images).patches)
    assert updated.features[1][0].attn.qkv.weight.shape == (48, 16)


def test_an_update_by_hand() -> None:
    layer = nn.Sequential()
    layer.add_module("qkv", nn.Linear(4, 6))
    add_low_rank(layer, LoraOptions(rank=3, alpha=6.0, dropout=0.0, targets=("qkv",)))
    update = layer.qkv.parametrizations.weight[0]
    for part in update.up:
        nn.init.normal_(part)
    expected = layer.qkv.parametrizations.weight.original.clone()
    expected[:2] += 2 * update.up[0] @ update.down[0]
    expected[4:] += 2 * update.up[1] @ update.down[1]
    torch.testing.assert_close(layer.qkv.weight, expected)


def test_delta_of_an_encoder_without_such_layers() -> None:
    with pytest.raises(UserError, match="this encoder has no layer qkv, query_key_value, in_projection"):
        build("delta", EncoderOptions(width=4))


def test_dropout_of_updates_is_refused() -> None:
    with pytest.raises(UserError, match=r"encoder_lora.dropout must be 0"):
        build("delta", encoder_lora=LoraOptions(targets=("qkv",)))


@pytest.mark.parametrize("variant", ["shallow", "delta", "deep"])
def test_saved_and_loaded_it_writes_the_same(variant: str, tmp_path: Path) -> None:
    generator = build(variant)
    trained(generator)
    decoding = DecodingOptions(max_length=8)
    save_model(tmp_path / "model", generator, Recipe(name="tiny", model=generator.options), {})
    loaded, _ = load_model(tmp_path / "model")
    before, after = (each.generate(batch(), decoding) for each in (generator, loaded))
    assert [draft.text for draft in before] == [draft.text for draft in after]
    assert [draft.token_logprobs for draft in before] == [draft.token_logprobs for draft in after]

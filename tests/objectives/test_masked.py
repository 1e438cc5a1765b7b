"""The masked autoencoder: what it may see, what it is scored on, and that it learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cxreport.encoders import build_encoder
from cxreport.encoders.vit import VisionTransformer
from cxreport.objectives.masked import (
    MaskedAutoencoder,
    MaskedOptions,
    masked_mean,
)
from cxreport.objectives.pixels import patchify, unpatchify
from cxreport.options import EncoderOptions


def tiny(**changes: Any) -> MaskedAutoencoder:
    torch.manual_seed(0)
    shape = EncoderOptions(name="vit_tiny", width=32, depths=(2,), heads=(2,), image_size=64)
    encoder = build_encoder(shape)
    assert isinstance(encoder, VisionTransformer)
    options = MaskedOptions(decoder_width=32, decoder_depth=1, decoder_heads=2, **changes)
    return MaskedAutoencoder(encoder, options)


def test_patches_and_back() -> None:
    images = torch.randn(2, 3, 32, 48)
    patches = patchify(images, 16)
    assert patches.shape == (2, 6, 768)
    assert torch.equal(unpatchify(patches, 16, (2, 3)), images)
    assert patches[0, 1, :3].tolist() == images[0, :, 0, 16].tolist()


def test_hidden_patches_do_not_reach_the_prediction() -> None:
    model = tiny(strategy="random", ratio=0.75).eval()
    images = torch.randn(1, 3, 64, 64)
    choice = model.choose(images)
    hidden = int(choice.masked[0].nonzero()[0])
    shown = int(choice.kept[0, 0])
    patches = patchify(images, 16)
    for place, reaches in ((hidden, False), (shown, True)):
        changed = patches.clone()
        changed[0, place] += 1
        moved = model(unpatchify(changed, 16, (4, 4)), choice) - model(images, choice)
        assert bool(moved.abs().max() > 1e-5) is reaches


def test_only_hidden_patches_are_scored() -> None:
    errors = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    assert masked_mean(errors, torch.tensor([[True, False, False, True]])) == 2.5


def test_normalised_targets_have_no_mean_and_unit_variance() -> None:
    targets = tiny(normalised_targets=True).targets(5 + 3 * torch.randn(2, 3, 64, 64))
    assert targets.mean(dim=2).abs().max() < 1e-4
    assert targets.var(dim=2).sub(1).abs().max() < 1e-3


@pytest.mark.parametrize("strategy", ["random", "box", "contour"])
def test_every_strategy_gives_every_parameter_a_gradient(strategy: str) -> None:
    model = tiny(strategy=strategy, ratio_inside=0.75, ratio_outside=0.5)
    images = torch.randn(2, 3, 64, 64)
    chest = torch.zeros(2, 16, dtype=torch.bool)
    chest[:, 5:9] = True
    choice = model.choose(images, chest if strategy == "contour" else None)
    masked_mean(model.errors(images, model(images, choice)), choice.masked).backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().any()]
    assert missing == []


def test_a_contour_must_be_given() -> None:
    with pytest.raises(ValueError, match="chest"):
        tiny(strategy="contour").choose(torch.randn(1, 3, 64, 64))


def test_it_learns_to_paint_one_picture() -> None:
    model = tiny(strategy="random", ratio=0.5)
    images = torch.linspace(-1, 1, 64).expand(1, 3, 64, 64).clone()
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    torch.manual_seed(1)
    losses = []
    for _ in range(60):
        choice = model.choose(images)
        loss = masked_mean(model.errors(images, model(images, choice)), choice.masked)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.1 * losses[0]

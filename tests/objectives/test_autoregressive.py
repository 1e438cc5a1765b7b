"""Prediction of the next cluster: what a prediction may depend on, any grid, and that it learns."""

from __future__ import annotations

import pytest
import torch

from cxreport.encoders import build_encoder
from cxreport.encoders.vision_mamba import VisionMamba, cluster_numbers, cluster_order
from cxreport.errors import UserError
from cxreport.objectives.autoregressive import AutoregressiveOptions, AutoregressivePretraining
from cxreport.objectives.pixels import patchify, unpatchify
from cxreport.options import EncoderOptions


def tiny(name: str = "vision_mamba_tiny_causal") -> AutoregressivePretraining:
    torch.manual_seed(0)
    shape = EncoderOptions(name=name, width=16, depths=(4,), image_size=192, state_size=4)
    encoder = build_encoder(shape)
    assert isinstance(encoder, VisionMamba)
    return AutoregressivePretraining(encoder, AutoregressiveOptions(decoder_width=64))


@pytest.mark.parametrize("grid", [(8, 8), (6, 9)])
def test_a_cluster_is_predicted_from_those_before_it(grid: tuple[int, int]) -> None:
    model = tiny().eval()
    images = torch.randn(1, 3, 16 * grid[0], 16 * grid[1])
    order, numbers = cluster_order(grid), cluster_numbers(grid)
    asked = numbers[numbers > 0]
    with torch.no_grad():
        before = model(images)
        for cluster in range(int(numbers[-1]) + 1):
            patches = patchify(images, 16)
            patches[:, order[numbers == cluster]] += 1
            moved = (model(unpatchify(patches, 16, grid)) - before).abs().amax(dim=(0, 2))
            assert not moved[asked <= cluster].any()
            if cluster < int(numbers[-1]):
                assert (moved[asked > cluster] > 0).all()


def test_targets_are_the_standardised_pixels_in_the_order_of_clusters() -> None:
    model = tiny()
    images = torch.randn(2, 3, 128, 128)
    targets = model.targets(images)
    assert targets.shape == (2, 48, 768)
    first = images[1, :, :16, 64:80].permute(1, 2, 0).flatten()
    assert torch.allclose(targets[1, 0], (first - first.mean()) / first.std(), atol=1e-4)


def test_every_parameter_gets_a_gradient() -> None:
    model = tiny()
    model.errors(torch.randn(2, 3, 128, 128)).mean().backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().any()]
    assert missing == []


def test_it_learns_stripes() -> None:
    """Every cluster looks like the one before it, so the next is easy to tell."""
    model = tiny()
    images = torch.sin(torch.arange(128) / 3).expand(2, 3, 128, 128).clone()
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        loss = model.errors(images).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.2 * losses[0]


def test_what_cannot_be_trained_is_refused() -> None:
    with pytest.raises(UserError, match="causal"):
        tiny("vision_mamba_tiny")
    with pytest.raises(UserError, match="one cluster"):
        tiny().errors(torch.randn(1, 3, 64, 64))
    with pytest.raises(UserError, match="multiple of 64"):
        AutoregressivePretraining(tiny().encoder, AutoregressiveOptions(decoder_width=100))

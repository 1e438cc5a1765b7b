"""What an objective predicts, as a picture: a row for each image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from cxreport.data.batch import Batch
from cxreport.encoders import with_channels
from cxreport.encoders.vision_mamba import cluster_numbers, cluster_order
from cxreport.objectives.autoregressive import AutoregressivePretraining
from cxreport.objectives.images import images_of
from cxreport.objectives.masked import MaskedAutoencoder
from cxreport.objectives.pixels import patchify, unpatchify


@torch.no_grad()
def write_reconstructions(objective: Any, batch: Batch, out: Path) -> None:
    """Write a PNG with a row for every image of `batch`.

    Masked: the image, the patches that are read, the prediction, the target. Autoregressive: the image, the
    predicted clusters, the target. Where targets are standardised, mean and deviation of the true patch are
    put back, so a prediction there shows structure, not brightness.
    """
    images = images_of(batch)
    if isinstance(objective, MaskedAutoencoder):
        panels = _masked(objective, batch, images)
    elif isinstance(objective, AutoregressivePretraining):
        panels = _autoregressive(objective, images)
    else:
        raise TypeError(f"no picture of {type(objective).__name__}")
    rows = torch.cat([_grey(panel) for panel in panels], dim=2)
    Image.fromarray(rows.flatten(0, 1).numpy()).save(out, "PNG")


def _masked(objective: MaskedAutoencoder, batch: Batch, images: Tensor) -> list[Tensor]:
    patch = objective.encoder.shape.patch
    choice = objective.choice_of(batch, images)
    pictures = with_channels(images, objective.encoder.channels)
    true = patchify(pictures, patch)
    predicted = objective(images, choice)
    if objective.options.normalised_targets:
        predicted = _restored(predicted, true)
    hidden = choice.masked.unsqueeze(2)
    grid = objective.grid
    seen = unpatchify(true.masked_fill(hidden, float(pictures.min())), patch, grid)
    return [pictures, seen, unpatchify(torch.where(hidden, predicted, true), patch, grid), pictures]


def _autoregressive(objective: AutoregressivePretraining, images: Tensor) -> list[Tensor]:
    patch, grid = objective.encoder.shape.patch, objective.grid_of(images)
    pictures = with_channels(images, objective.encoder.channels)
    true = patchify(pictures, patch)
    asked = cluster_order(grid)[cluster_numbers(grid) > 0]
    painted = torch.full_like(true, float(pictures.min()))
    painted[:, asked] = _restored(objective(images), true[:, asked])
    return [pictures, unpatchify(painted, patch, grid), pictures]


def _restored(predicted: Tensor, true: Tensor) -> Tensor:
    return predicted * true.std(dim=2, keepdim=True) + true.mean(dim=2, keepdim=True)


def _grey(pictures: Tensor) -> Tensor:
    """Pictures (B, C, H, W) as (B, H, W) bytes."""
    channels = with_channels(pictures, 1)[:, 0]
    return channels.add(1).mul(127.5).clamp(0, 255).to(torch.uint8)

"""What an objective predicts, as a picture: a row for each image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from cxreport.encoders import with_channels

RECONSTRUCTIONS = "reconstructions.png"


def write_rows(panels: Sequence[Tensor], out: Path) -> None:
    """Write a PNG with a row for every image and a column for each of `panels` (B, C, H, W)."""
    rows = torch.cat([_grey(panel) for panel in panels], dim=2)
    Image.fromarray(rows.flatten(0, 1).numpy()).save(out, "PNG")


def restored(predicted: Tensor, true: Tensor) -> Tensor:
    """Predicted standardised patches (B, N, P) with mean and deviation of the true ones put back.

    So a picture of them shows structure, not brightness.
    """
    return predicted * true.std(dim=2, keepdim=True) + true.mean(dim=2, keepdim=True)


def _grey(pictures: Tensor) -> Tensor:
    """Pictures (B, C, H, W) as (B, H, W) bytes."""
    channels = with_channels(pictures, 1)[:, 0]
    return channels.add(1).mul(127.5).clamp(0, 255).to(torch.uint8).cpu()

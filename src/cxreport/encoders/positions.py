"""Tables of patch positions: sines and cosines of a grid, and a table resampled to another grid."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def sin_cos_table(height: int, width: int, channels: int) -> Tensor:
    """Positions (height * width, channels) of a grid, row by row (He et al., MAE, ``util/pos_embed.py``).

    The first half of the channels tells the column, the second the row; each half holds all sines, then all
    cosines. Computed in float64, returned in float32. `channels` must be a multiple of 4.
    """
    frequencies = 10000.0 ** (-torch.arange(channels // 4, dtype=torch.float64) / (channels // 4))

    def along(places: Tensor) -> Tensor:
        angles = places.to(torch.float64)[:, None] * frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=1)

    columns = along(torch.arange(width)).repeat(height, 1)
    rows = along(torch.arange(height)).repeat_interleave(width, dim=0)
    return torch.cat([columns, rows], dim=1).float()


def resampled(table: Tensor, grid: tuple[int, int]) -> Tensor:
    """A table (1, N, D) of a square grid as (1, h * w, D) for the `grid` (h, w), bicubic as published."""
    side = square_side(table.shape[1])
    if grid == (side, side):
        return table
    image = table.float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
    image = functional.interpolate(image, size=grid, mode="bicubic", align_corners=False)
    return image.flatten(2).transpose(1, 2).to(table.dtype)


def square_side(places: int) -> int:
    """The side of a square grid of so many places; ValueError when there is none."""
    side = round(places**0.5)
    if side * side != places:
        raise ValueError(f"{places} positions are no square grid")
    return side

"""Images as patches of pixels, the targets of pre-training."""

from __future__ import annotations

from torch import Tensor

_EPSILON = 1e-6


def patchify(images: Tensor, patch: int) -> Tensor:
    """Images (B, C, H, W) as patches (B, N, patch * patch * C), each in the order row, column, channel."""
    parts = images.unflatten(3, (-1, patch)).unflatten(2, (-1, patch))
    return parts.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


def unpatchify(patches: Tensor, patch: int, grid: tuple[int, int]) -> Tensor:
    """The inverse of :func:`patchify` for a `grid` (h, w)."""
    rows, columns = grid
    parts = patches.unflatten(2, (patch, patch, -1)).unflatten(1, (rows, columns))
    return parts.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)


def standardised(patches: Tensor) -> Tensor:
    """Every patch (..., P) less its mean, over its deviation (of the unbiased variance, as published)."""
    mean, variance = patches.mean(dim=-1, keepdim=True), patches.var(dim=-1, keepdim=True)
    return (patches - mean) / (variance + _EPSILON).sqrt()

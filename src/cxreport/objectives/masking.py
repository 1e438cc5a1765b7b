"""Which patches a masked autoencoder sees: uniform at random, or fewer inside a region than outside."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cxreport.encoders.contour import published_box


@dataclass(frozen=True, slots=True)
class Choice:
    """A permutation of the N patches of B images, the kept ones first.

    ``kept`` (B, K) are the patches that the encoder reads; ``restore`` (B, N) brings tokens in the order of
    the permutation back into the order of the grid; ``masked`` (B, N) bool, row by row, is True where a
    patch is hidden.
    """

    kept: Tensor
    restore: Tensor
    masked: Tensor


def kept_count(patches: int, ratio: float) -> int:
    """How many of so many patches stay at a masking ratio, rounded down as published."""
    return int(patches * (1 - ratio))


def uniform(noise: Tensor, ratio: float) -> Choice:
    """Keep the patches with the least `noise` (B, N), everywhere alike (He et al., CVPR 2022)."""
    everywhere = torch.zeros_like(noise, dtype=torch.bool)
    outside = torch.full((len(noise),), kept_count(noise.shape[1], ratio), device=noise.device)
    return _choose(noise, everywhere, torch.zeros_like(outside), outside)


def two_regions(
    noise: Tensor, inside: Tensor, ratio_inside: float, ratio_outside: float, total: int
) -> Choice:
    """Keep a share of `inside` (B, N) and fill up to `total` from outside, least `noise` (B, N) first.

    The share inside is exact; every image keeps `total`, so a batch stays a tensor, and the ratio outside
    is as asked where the region has the size that `total` was counted for (:func:`total_of_box`). Kept
    patches outside come first, as published. Raises ValueError when an image has fewer patches than that
    outside.
    """
    sizes = inside.sum(dim=1)
    counts = torch.tensor([kept_count(int(size), ratio_inside) for size in sizes], device=noise.device)
    outside = total - counts
    if bool((outside > inside.shape[1] - sizes).any()) or bool((outside < 0).any()):
        raise ValueError(f"a region of {int(sizes.max())} patches leaves too few outside to keep {total}")
    return _choose(noise, inside, counts, outside)


def total_of_box(height: int, width: int, ratio_inside: float, ratio_outside: float) -> int:
    """How many patches the published rectangle keeps on a grid: 46 of 20 x 20 at 0.95 and 0.85."""
    inner = int(published_box(height, width).sum())
    return kept_count(inner, ratio_inside) + kept_count(height * width - inner, ratio_outside)


def _choose(noise: Tensor, inside: Tensor, count_inside: Tensor, count_outside: Tensor) -> Choice:
    """Order: kept outside, kept inside, masked outside, masked inside; by noise within each."""
    by_noise = noise.argsort(dim=1, stable=True)
    region = inside.gather(1, by_noise)
    rank = torch.where(region, region.cumsum(1), (~region).cumsum(1))
    limit = torch.where(region, count_inside[:, None], count_outside[:, None])
    group = region.long() + 2 * (rank > limit)
    order = by_noise.gather(1, group.argsort(dim=1, stable=True))
    kept = order[:, : int(count_inside[0] + count_outside[0])]
    masked = torch.ones_like(inside).scatter(1, kept, False)
    return Choice(kept, order.argsort(dim=1), masked)

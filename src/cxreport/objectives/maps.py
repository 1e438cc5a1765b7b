"""Where a classifier looks: Grad-CAM over the patches of any encoder, and the pointing game.

Grad-CAM (Selvaraju et al., ICCV 2017): the patches' channels are summed with the mean gradient of a score,
and what speaks against it is cut off. Where a linear head reads the mean of the patches it is the class
activation map of Zhou et al. (CVPR 2016). The pointing game (Zhang et al., ECCV 2016) asks whether the
highest place of a map lies in the true box.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn import functional

from cxreport.study import Box


def grad_cam(score: Callable[[Tensor], Tensor], patches: Tensor) -> Tensor:
    """Grad-CAM (B, L, N), at least 0, of what `score` makes of patches: (B, N, D) to (B, L).

    Scores of different images must not depend on each other.
    """
    with torch.enable_grad():
        leaf = patches.detach().requires_grad_()
        scores = score(leaf)
        gradients = [torch.autograd.grad(each.sum(), leaf, retain_graph=True)[0] for each in scores.unbind(1)]
    weights = torch.stack(gradients, dim=1).mean(dim=2)
    return (weights @ leaf.detach().transpose(1, 2)).relu()


def on_grid(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """Maps (B, L, N) of patches, row by row, as (B, L, h, w)."""
    return maps.unflatten(2, grid)


def enlarged(maps: Tensor, height: int, width: int) -> Tensor:
    """Maps (B, L, h, w) with `height` rows and `width` columns, by bicubic interpolation."""
    return functional.interpolate(maps, (height, width), mode="bicubic", align_corners=False)


def peaks(maps: Tensor, side: int = 256) -> Tensor:
    """The highest place (B, L, 2) of maps (B, L, h, w): x and y as fractions of the view.

    Sought on the map enlarged to `side` x `side`, so it may lie between the centres of two patches.
    """
    highest = enlarged(maps, side, side).flatten(2).argmax(dim=2)
    return (torch.stack([highest % side, highest // side], dim=2) + 0.5) / side


def points_into(peak: tuple[float, float], boxes: Iterable[Box], tolerance: float = 0.0) -> bool:
    """Whether a place (x, y) lies in one of `boxes`, or no further out than `tolerance`.

    All are fractions of the view. The pointing game as published allows 15 px.
    """
    x, y = peak
    return any(
        left - tolerance <= x <= right + tolerance and top - tolerance <= y <= bottom + tolerance
        for left, top, right, bottom in boxes
    )

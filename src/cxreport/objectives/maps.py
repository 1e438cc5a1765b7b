"""Where a classifier looks: Grad-CAM over the patches of any encoder, saliency, and the pointing game.

Grad-CAM (Selvaraju et al., ICCV 2017): the patches' channels are summed with the mean gradient of a score,
and what speaks against it is cut off. Where a linear head reads the mean of the patches it is the class
activation map of Zhou et al. (CVPR 2016). Nothing ties a patch of a deep convolutional network to its place:
where only labels were learnt, such a map may lie beside what it shows. Saliency (Simonyan et al., 2014), the
gradient of a score with respect to the pixels, cannot. The pointing game (Zhang et al., ECCV 2016) asks
whether the highest place of a map lies in the true box.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2 import functional as transforms

from cxreport.study import Box

BLUR = 8 / 224
"""Deviation of the blur of saliency, a share of the side of the image."""


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


def saliency(score: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """How much each place of images (B, C, H, W) moves what `score` makes of them (B, L): (B, L, H, W).

    The absolute gradient, blurred by :data:`BLUR`. A backward pass an output. Scores of different images must
    not depend on each other.
    """
    with torch.enable_grad():
        leaf = images.detach().requires_grad_()
        gradients = [
            torch.autograd.grad(each.sum(), leaf, retain_graph=True)[0] for each in score(leaf).unbind(1)
        ]
    found = torch.stack(gradients, dim=1).abs().sum(dim=2)
    sigma = BLUR * images.shape[3]
    blurred: Tensor = transforms.gaussian_blur(found, [2 * round(3 * sigma) + 1] * 2, [sigma] * 2)
    return blurred


def on_grid(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """Maps (B, L, N) of patches, row by row, as (B, L, h, w)."""
    return maps.unflatten(2, grid)


def enlarged(maps: Tensor, side: int, shift: float = 0.0) -> Tensor:
    """Maps (B, L, h, w) with `side` rows and columns, by bicubic interpolation.

    What the map shows at a place lies `shift`, a fraction of the view, further up and to the left
    (``Encoder.shift`` over the side of the image).
    """
    places = (torch.arange(side, device=maps.device, dtype=maps.dtype) + 0.5) / side + shift
    rows, columns = torch.meshgrid(2 * places - 1, 2 * places - 1, indexing="ij")
    grid = torch.stack([columns, rows], dim=2).expand(len(maps), -1, -1, -1)
    return functional.grid_sample(maps, grid, mode="bicubic", padding_mode="border", align_corners=False)


def peaks(maps: Tensor, shift: float = 0.0, side: int = 256) -> Tensor:
    """The highest place (B, L, 2) of maps (B, L, h, w): x and y as fractions of the view.

    Sought on the map :func:`enlarged`, so it may lie between the centres of two patches.
    """
    highest = enlarged(maps, side, shift).flatten(2).argmax(dim=2)
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

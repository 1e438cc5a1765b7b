"""Layers that memories and generators share: cheap dropout and R2Gen's layer normalisation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class Dropout(nn.Module):
    """Dropout from :func:`dropout`; `rate` is the share of values set to zero in training."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """x (...), in evaluation mode unchanged."""
        return dropout(x, self.rate) if self.training else x


def dropout(x: Tensor, rate: float) -> Tensor:
    """Set a share `rate` of x to zero and scale the rest so that the mean stays.

    On a CPU PyTorch draws one slow random number per value; there :func:`dropout_factors` takes a third
    of the time.
    """
    if rate == 0:
        return x
    if x.device.type != "cpu":
        return functional.dropout(x, rate)
    return x * dropout_factors(x.shape, rate, x)


def dropout_factors(shape: Sequence[int], rate: float, like: Tensor) -> Tensor:
    """What dropout multiplies by, with the dtype and device of `like`: 0 or 1 / (1 - rate).

    Every value takes one random byte, so the rate is rounded to a multiple of 1/256.
    """
    threshold = round(rate * 256)
    count = torch.Size(shape).numel()
    words = torch.randint(-(2**63), 2**63 - 1, (-(-count // 8),), device=like.device)
    keep = words.view(torch.uint8)[:count].view(shape) >= threshold
    return keep.to(like.dtype).mul_(256 / (256 - threshold))


class UnbiasedLayerNorm(nn.Module):
    """gamma * (x - mean) / (std + 1e-6) + beta with the unbiased std, unlike ``nn.LayerNorm``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))
        self.beta = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis of x (..., D)."""
        return torch.addcmul(self.beta, self.gamma, standardize(x))


def standardize(x: Tensor) -> Tensor:
    """(x - mean) / (std + 1e-6) over the last axis, with the unbiased std.

    The std is spelt as a norm, which is several times faster on a CPU than ``torch.std``.
    """
    centred = x - x.mean(dim=-1, keepdim=True)
    std = torch.linalg.vector_norm(centred, dim=-1, keepdim=True) / (x.shape[-1] - 1) ** 0.5
    return centred / (std + 1e-6)

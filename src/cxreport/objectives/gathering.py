"""The rows of all devices, in the order of their ranks; of one device its own."""

from __future__ import annotations

import torch
from torch import Tensor, distributed


def gathered(rows: Tensor) -> Tensor:
    """Vectors (B, W) of all devices (sum of their B, W); gradients flow to the device that each came from.

    Every device then computes the same loss. The gradient of a vector is the sum over devices, their number
    times too large, and the mean over devices that follows sets it right. Devices may have unequally many
    rows.
    """
    if not _is_distributed():
        return rows
    from torch.distributed.nn.functional import all_gather

    counts = _counts(rows)
    padded = _padded(rows, max(counts))
    parts = all_gather(padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def gathered_numbers(rows: Tensor) -> Tensor:
    """As :func:`gathered`, for whole numbers."""
    if not _is_distributed():
        return rows
    counts = _counts(rows)
    padded = _padded(rows, max(counts)).contiguous()
    parts = [torch.empty_like(padded) for _ in counts]
    distributed.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def _padded(rows: Tensor, count: int) -> Tensor:
    """`rows` with rows of zeros up to `count`."""
    return torch.cat([rows, rows.new_zeros(count - len(rows), *rows.shape[1:])])


def _is_distributed() -> bool:
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def _counts(rows: Tensor) -> list[int]:
    counts = [
        torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(distributed.get_world_size())
    ]
    distributed.all_gather(counts, torch.tensor([len(rows)], device=rows.device))
    return [int(count) for count in counts]

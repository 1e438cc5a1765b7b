"""What blocks of several encoders share."""

from __future__ import annotations

from torch import nn


def drop_path_rates(largest: float, blocks: int) -> list[float]:
    """Rates of stochastic depth (Huang et al., ECCV 2016), rising linearly from 0 to `largest`."""
    return [largest * block / max(blocks - 1, 1) for block in range(blocks)]


def initialise_linear(module: nn.Module) -> None:
    """A linear layer's weights from a truncated normal of deviation 0.02, its biases 0; for ``apply``."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)

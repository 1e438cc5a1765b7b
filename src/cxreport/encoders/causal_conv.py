"""The short causal convolution before a selective scan (Mamba, figure 3): depth-wise, then SiLU."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from cxreport.encoders.scan import choose_backend, reordered

MOST_TAPS = 33
"""The longest kernel that the CPU kernels take; PyTorch computes longer ones."""


def causal_conv(x: Tensor, weight: Tensor, bias: Tensor, order: Tensor | None = None) -> Tensor:
    """silu(bias_e + sum over k of weight[e, k] x_{t - K + 1 + k}), x being 0 before the first step.

    x (B, L, D), weight (E, K), bias (E); returns (B, L, E). With E = G D every group of D channels reads the
    same x; `order` (G, L) is the order of each group, as in ``selective_scan``. Raises ValueError for shapes
    that do not fit.
    """
    width, (channels, taps) = x.shape[2], weight.shape
    if channels % width or bias.shape != (channels,):
        raise ValueError(
            f"weight {tuple(weight.shape)} and bias {tuple(bias.shape)} do not fit {width} channels of x."
        )
    groups = channels // width
    if order is not None and order.shape != (groups, x.shape[1]):
        raise ValueError(f"order must be {(groups, x.shape[1])}, not {tuple(order.shape)}.")
    if choose_backend(x) == "cpu" and taps <= MOST_TAPS:
        from cxreport.encoders.cpu.conv_operator import cpu_causal_conv

        return cpu_causal_conv(x, weight, bias, order)
    sequences = x.transpose(1, 2).unsqueeze(1).expand(-1, groups, -1, -1)
    if order is not None:
        sequences = reordered(sequences, order)
    padded = functional.pad(sequences.flatten(1, 2), (taps - 1, 0))
    found = functional.conv1d(padded, weight.to(x.dtype)[:, None], bias.to(x.dtype), groups=channels)
    found = functional.silu(found).unflatten(1, (groups, width))
    if order is not None:
        found = reordered(found, order.argsort(dim=1))
    return found.flatten(1, 2).transpose(1, 2)

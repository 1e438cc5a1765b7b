"""The causal convolution of ``encoders/causal_conv.py`` as a PyTorch operator on the CPU kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from cxreport.encoders.cpu.conv_kernels import backward_kernel, forward_kernel
from cxreport.encoders.cpu.lanes import LANES
from cxreport.encoders.cpu.running import run_tasks
from cxreport.encoders.cpu.scan_kernels import shares_of
from cxreport.encoders.cpu.scan_operator import blocked, scan_order, unblocked


def cpu_causal_conv(x: Tensor, weight: Tensor, bias: Tensor, order: Tensor | None) -> Tensor:
    """``causal_conv``."""
    found: Tensor = torch.ops.cxreport.causal_conv(x, weight, bias, order)
    return found


@torch.library.custom_op(
    "cxreport::causal_conv", mutates_args=(),
    schema="(Tensor x, Tensor weight, Tensor bias, Tensor? order) -> Tensor",
)  # fmt: skip
def _conv(x: Tensor, weight: Tensor, bias: Tensor, order: Tensor | None) -> Tensor:
    out = torch.empty(*x.shape[:2], weight.shape[0])
    shares, inputs = _call(x, weight, bias, order)
    run_tasks(forward_kernel(), shares, (*inputs, _grouped(out, x.shape[2])))
    return out.to(x.dtype)


@_conv.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor, order: Tensor | None) -> Tensor:
    return x.new_empty(*x.shape[:2], weight.shape[0])


@torch.library.custom_op(
    "cxreport::causal_conv_backward", mutates_args=(),
    schema="(Tensor x, Tensor weight, Tensor bias, Tensor? order, Tensor gradient)"
    " -> (Tensor, Tensor, Tensor)",
)  # fmt: skip
def _conv_backward(x: Tensor, weight: Tensor, bias: Tensor, order: Tensor | None, gradient: Tensor) -> Any:
    (batch, length, width), (channels, taps) = x.shape, weight.shape
    groups = channels // width
    shares, inputs = _call(x, weight, bias, order)
    gx = torch.empty(batch, length, channels)
    blocks = inputs[2].shape[0]
    gweight, gbias = torch.zeros(batch, blocks, taps, LANES), torch.zeros(batch, blocks, LANES)
    outputs = (_grouped(gradient, width), _grouped(gx, width), gweight.numpy(), gbias.numpy())
    run_tasks(backward_kernel(), shares, (*inputs, *outputs))
    return (
        (gx if groups == 1 else gx.unflatten(2, (groups, -1)).sum(2)).to(x.dtype),
        unblocked(gweight.sum(0).transpose(1, 2), channels, groups).to(weight.dtype),
        unblocked(gbias.sum(0), channels, groups).to(bias.dtype),
    )


@_conv_backward.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor, order: Tensor | None, gradient: Tensor) -> Any:
    return tuple(torch.empty_like(each) for each in (x, weight, bias))


def _save(ctx: Any, inputs: Any, output: Any) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    return *torch.ops.cxreport.causal_conv_backward(*ctx.saved_tensors, gradient), None


_conv.register_autograd(_differentiate, setup_context=_save)


def _call(x: Tensor, weight: Tensor, bias: Tensor, order: Tensor | None) -> tuple[Any, tuple[Any, ...]]:
    """The tasks of each thread, and the arguments that both kernels share."""
    groups = weight.shape[0] // x.shape[2]
    weights = blocked(weight, groups).transpose(1, 2).contiguous().numpy()
    shares = shares_of(x.shape[0], groups, weights.shape[0] // groups, torch.get_num_threads(), False)
    rows = x.detach().float().unsqueeze(1).expand(-1, groups, -1, -1).numpy()
    return shares, (scan_order(order, groups, x.shape[1]), rows, weights, blocked(bias, groups).numpy())


def _grouped(tensor: Tensor, width: int) -> np.ndarray:
    """(B, L, G D) as float32 (B, G, L, D)."""
    return tensor.detach().float().unflatten(2, (-1, width)).transpose(1, 2).numpy()


@register_flop_formula(torch.ops.cxreport.causal_conv)
def _flops(x: Any, weight: Any, *_: Any, **__: Any) -> int:
    return int(2 * x[0] * x[1] * weight[0] * weight[1])


@register_flop_formula(torch.ops.cxreport.causal_conv_backward)
def _flops_backward(x: Any, weight: Any, *_: Any, **__: Any) -> int:
    return int(6 * x[0] * x[1] * weight[0] * weight[1])

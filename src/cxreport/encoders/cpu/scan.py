"""The selective scan of ``encoders/scan.py`` as a PyTorch operator on the CPU kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from cxreport.encoders.cpu.functions import LOG2_E
from cxreport.encoders.cpu.lanes import LANES
from cxreport.encoders.cpu.running import run_tasks
from cxreport.encoders.cpu.scan_kernels import CHUNK, backward_kernel, forward_kernel, scan_tasks

_INPUTS = "Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? z, Tensor? bias"


def cpu_scan(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, z: Tensor | None,
    bias: Tensor | None, softplus: bool,
) -> Tensor:  # fmt: skip
    """``selective_scan`` with B and C (B, G, N, L); states are kept only where a backward pass may follow."""
    inputs = (u, delta, A, B, C, D, z, bias)
    keep = torch.is_grad_enabled() and any(each is not None and each.requires_grad for each in inputs)
    found: Tensor = torch.ops.cxreport.scan(*inputs, softplus, keep)[0]
    return found


@torch.library.custom_op(
    "cxreport::scan", mutates_args=(), schema=f"({_INPUTS}, bool softplus, bool keep) -> (Tensor, Tensor)"
)
def _scan(
    u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any, z: Any, bias: Any, softplus: Any, keep: Any
) -> Any:
    call = _Call(u, delta, A, B, C, D, z, bias, softplus)
    out = _like(u)
    states = torch.empty(call.states if keep else (0,) * 5)
    run_tasks(forward_kernel(), call.tasks, (*call.inputs, _rows(out), states.numpy()), call.threads)
    return out.to(u.dtype), states


@_scan.register_fake
def _(u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any, z: Any, bias: Any, softplus: Any, keep: Any) -> Any:
    states = (u.shape[0], -(-u.shape[2] // CHUNK), *_blocks_shape(A, B.shape[1])) if keep else (0,) * 5
    return _like(u).to(u.dtype), u.new_empty(states, dtype=torch.float32)


@torch.library.custom_op(
    "cxreport::scan_backward", mutates_args=(),
    schema=f"({_INPUTS}, bool softplus, Tensor states, Tensor gradient) -> Tensor[]",
)  # fmt: skip
def _scan_backward(
    u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any, z: Any, bias: Any, softplus: Any, states: Any,
    gradient: Any,
) -> Any:  # fmt: skip
    call = _Call(u, delta, A, B, C, D, z, bias, softplus)
    gu, gdelta = _like(u), _like(delta)
    gz = torch.empty(0, 0, 0) if z is None else _like(z)
    batch, groups, size, length = B.shape
    blocks = (batch, *_blocks_shape(A, groups))
    gA, gD, gbias = (
        torch.zeros(blocks),
        torch.zeros((*blocks[:2], LANES)),
        torch.zeros((*blocks[:2], LANES)),
    )
    gB, gC = (torch.empty(call.parts, batch, groups, length, size) for _ in range(2))
    outputs = (_rows(gu), _rows(gdelta), _rows(gz), *(each.numpy() for each in (gA, gB, gC, gD, gbias)))
    arguments = (*call.inputs, states.numpy(), _rows(gradient), *outputs)
    run_tasks(backward_kernel(), call.tasks, arguments, call.threads)
    found = [gu, gdelta, _unblocked(gA.sum(0).transpose(1, 2), A.shape[0], groups)]
    found += [each.sum(0).transpose(2, 3) for each in (gB, gC)]
    found += [_unblocked(each.sum(0), A.shape[0], groups) for each in (gD, gbias)]
    gu, gdelta, gA, gB, gC, gD, gbias = found
    pairs = ((gu, u), (gdelta, delta), (gA, A), (gB, B), (gC, C), (gD, D), (gz, z), (gbias, bias))
    return [torch.empty(0) if given is None else found.to(given.dtype) for found, given in pairs]


@_scan_backward.register_fake
def _(
    u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any, z: Any, bias: Any, softplus: Any, states: Any,
    gradient: Any,
) -> Any:  # fmt: skip
    inputs = (u, delta, A, B, C, D, z, bias)
    return [u.new_empty(0) if each is None else torch.empty_like(each) for each in inputs]


def _save(ctx: Any, inputs: Any, output: Any) -> None:
    *tensors, ctx.softplus, ctx.keep = inputs
    ctx.save_for_backward(*tensors, output[1])


def _differentiate(ctx: Any, gradient: Tensor, _: Any) -> tuple[Any, ...]:
    *tensors, states = ctx.saved_tensors
    found = torch.ops.cxreport.scan_backward(*tensors, ctx.softplus, states, gradient)
    return *(None if given is None else each for given, each in zip(tensors, found, strict=True)), None, None


_scan.register_autograd(_differentiate, setup_context=_save)


class _Call:
    """The arguments that both kernels share, as arrays in the kernels' layout."""

    def __init__(
        self, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, z: Tensor | None,
        bias: Tensor | None, softplus: bool,
    ) -> None:  # fmt: skip
        groups = B.shape[1]
        zeros = u.new_zeros(A.shape[0])
        self.threads = torch.get_num_threads()
        blocks = _blocks_shape(A, groups)
        self.states = (u.shape[0], -(-u.shape[2] // CHUNK), *blocks)
        self.tasks = scan_tasks(u.shape[0], groups, blocks[0] // groups, self.threads)
        self.parts = int(self.tasks[:, -1].max(initial=0)) + 1
        self.inputs = (
            _rows(u),
            _rows(delta),
            np.empty((0, 0, 0), np.float32) if z is None else _rows(z),
            _blocked(A.float() * LOG2_E, groups).transpose(1, 2).contiguous().numpy(),
            *(each.detach().float().transpose(2, 3).contiguous().numpy() for each in (B, C)),
            *(_blocked(zeros if each is None else each, groups).numpy() for each in (D, bias)),
            softplus,
        )


def _rows(tensor: Tensor) -> np.ndarray:
    """(B, E, L) as float32 (B, L, E), without a copy where it is float32."""
    return tensor.detach().float().transpose(1, 2).numpy()


def _like(tensor: Tensor) -> Tensor:
    """Room for float32 values in the memory layout of `tensor`: channels last where it has them last."""
    batch, channels, length = tensor.shape
    if tensor.stride(1) == 1:
        return tensor.new_empty((batch, length, channels), dtype=torch.float32).transpose(1, 2)
    return tensor.new_empty(tensor.shape, dtype=torch.float32)


def _blocks_shape(A: Tensor, groups: int) -> tuple[int, int, int]:
    channels, size = A.shape
    return groups * -(-channels // groups // LANES), size, LANES


def _blocked(values: Tensor, groups: int) -> Tensor:
    """(E, ...) to (blocks, 16, ...), every group filled up with zeros."""
    grouped = values.detach().float().unflatten(0, (groups, -1))
    short = -grouped.shape[1] % LANES
    if short:
        grouped = torch.cat([grouped, grouped.new_zeros(groups, short, *values.shape[1:])], dim=1)
    return grouped.reshape(-1, LANES, *values.shape[1:]).contiguous()


def _unblocked(blocks: Tensor, channels: int, groups: int) -> Tensor:
    """The reverse of :func:`_blocked`."""
    grouped = blocks.reshape(groups, -1, *blocks.shape[2:])
    return grouped[:, : channels // groups].reshape(channels, *blocks.shape[2:])


@register_flop_formula(torch.ops.cxreport.scan)
def _flops(u: Any, delta: Any, A: Any, *_: Any, **__: Any) -> int:
    """Six operations a channel, step and state: exp and its argument count as one each."""
    return int(6 * u[0] * u[2] * A[0] * A[1])


@register_flop_formula(torch.ops.cxreport.scan_backward)
def _flops_backward(u: Any, delta: Any, A: Any, *_: Any, **__: Any) -> int:
    """The states again, and two operations for each of their six."""
    return int(18 * u[0] * u[2] * A[0] * A[1])

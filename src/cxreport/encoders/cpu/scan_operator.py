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
from cxreport.encoders.cpu.scan_kernels import CHUNK, backward_kernel, forward_kernel, shares_of

_INPUTS = (
    "Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? z, Tensor? bias, Tensor? order"
)


def cpu_scan(*inputs: Any) -> Tensor:
    """``selective_scan`` of (u, delta, A, B, C, D, z, bias, order, softplus, merge), sequences by group.

    States are kept only where a backward pass may follow.
    """
    differentiable = any(isinstance(each, Tensor) and each.requires_grad for each in inputs)
    found: Tensor = torch.ops.cxreport.scan(*inputs, differentiable and torch.is_grad_enabled())[0]
    return found


@torch.library.custom_op(
    "cxreport::scan",
    mutates_args=(),
    schema=f"({_INPUTS}, bool softplus, bool merge, bool keep) -> (Tensor, Tensor)",
)
def _scan(*arguments: Any) -> Any:
    *inputs, keep = arguments
    call, u = _Call(*inputs), inputs[0]
    out = _like(u[:, 0]).zero_() if call.merge else _like(u)
    states = torch.empty(call.states if keep else (0,) * 5)
    run_tasks(forward_kernel(), call.shares, (*call.inputs, _rows(call.spread(out)), states.numpy()))
    return out.to(u.dtype), states


@_scan.register_fake
def _(*arguments: Any) -> Any:
    u, _delta, A, B, *_rest, merge, keep = arguments
    states = (u.shape[0], -(-u.shape[3] // CHUNK), *_blocks_shape(A, B.shape[1])) if keep else (0,) * 5
    return _like(u[:, 0] if merge else u).to(u.dtype), u.new_empty(states, dtype=torch.float32)


@torch.library.custom_op(
    "cxreport::scan_backward", mutates_args=(),
    schema=f"({_INPUTS}, bool softplus, bool merge, Tensor states, Tensor gradient) -> Tensor[]",
)  # fmt: skip
def _scan_backward(*arguments: Any) -> Any:
    *inputs, states, gradient = arguments
    call = _Call(*inputs)
    u, delta, A, B, C, D, z, bias = inputs[:8]
    batch, groups, size, length = B.shape
    (blocks, _, _), channels = _blocks_shape(A, groups), A.shape[0]
    gu, gdelta = _like(u), _like(delta)
    gz = torch.empty(0, 0, 0, 0) if z is None else _like(z)
    gA, gD, gbias = (torch.zeros(batch, blocks, *inner, LANES) for inner in ((size,), (), ()))
    gB, gC = (torch.empty(call.parts, batch, groups, length, size) for _ in range(2))
    sums = (each.numpy() for each in (gA, gB, gC, gD, gbias))
    outputs = (_rows(gu), _rows(gdelta), _rows(gz), *sums)
    arguments = (*call.inputs, states.numpy(), _rows(call.spread(gradient)), *outputs)
    run_tasks(backward_kernel(), call.shares, arguments)
    gradients = (
        (gu, u),
        (gdelta, delta),
        (unblocked(gA.sum(0).transpose(1, 2), channels, groups), A),
        (gB.sum(0).transpose(2, 3), B),
        (gC.sum(0).transpose(2, 3), C),
        (unblocked(gD.sum(0), channels, groups), D),
        (gz, z),
        (unblocked(gbias.sum(0), channels, groups), bias),
    )
    return [torch.empty(0) if given is None else found.to(given.dtype) for found, given in gradients]


@_scan_backward.register_fake
def _(*arguments: Any) -> Any:
    inputs = arguments[:8]
    return [inputs[0].new_empty(0) if each is None else torch.empty_like(each) for each in inputs]


def _save(ctx: Any, inputs: Any, output: Any) -> None:
    *tensors, ctx.softplus, ctx.merge, _keep = inputs
    ctx.save_for_backward(*tensors, output[1])


def _differentiate(ctx: Any, gradient: Tensor, _: Any) -> tuple[Any, ...]:
    *tensors, order, states = ctx.saved_tensors
    found = torch.ops.cxreport.scan_backward(*tensors, order, ctx.softplus, ctx.merge, states, gradient)
    given = [None if each is None else part for each, part in zip(tensors, found, strict=True)]
    return *given, None, None, None, None


_scan.register_autograd(_differentiate, setup_context=_save)


class _Call:
    """The arguments that both kernels share, as arrays in the kernels' layout."""

    def __init__(
        self, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, z: Tensor | None,
        bias: Tensor | None, order: Tensor | None, softplus: bool, merge: bool,
    ) -> None:  # fmt: skip
        groups, length = B.shape[1], B.shape[3]
        zeros = u.new_zeros(A.shape[0])
        self.merge, self.groups = merge, groups
        blocks = _blocks_shape(A, groups)
        self.states = (u.shape[0], -(-length // CHUNK), *blocks)
        self.shares = shares_of(u.shape[0], groups, blocks[0] // groups, torch.get_num_threads(), merge)
        self.parts = 1 + max((int(share[:, -1].max()) for share in self.shares), default=0)
        self.inputs = (
            scan_order(order, groups, length),
            _rows(u),
            _rows(delta),
            np.empty((0, 0, 0, 0), np.float32) if z is None else _rows(z),
            blocked(A.float() * LOG2_E, groups).transpose(1, 2).contiguous().numpy(),
            *(each.detach().float().transpose(2, 3).contiguous().numpy() for each in (B, C)),
            *(blocked(zeros if each is None else each, groups).numpy() for each in (D, bias)),
            softplus,
            merge,
        )

    def spread(self, tensor: Tensor) -> Tensor:
        """What all groups share (B, D, L), as (B, G, D, L) with one memory for all."""
        return tensor.unsqueeze(1).expand(-1, self.groups, -1, -1) if self.merge else tensor


def scan_order(order: Tensor | None, groups: int, length: int) -> np.ndarray:
    """The places that each group visits (G, L), from first to last without `order`.

    ValueError unless every row holds every place once: the kernels trust it.
    """
    if order is None:
        return np.tile(np.arange(length), (groups, 1))
    seen = np.zeros((groups, length), dtype=bool)
    rows = np.ascontiguousarray(order.numpy(), dtype=np.int64)
    if rows.size and rows.min() >= 0 and rows.max() < length:
        np.put_along_axis(seen, rows, True, axis=1)
    if not seen.all():
        raise ValueError(f"Every row of order must hold the places 0 to {length - 1} once.")
    return rows


def _rows(tensor: Tensor) -> np.ndarray:
    """(B, G, D, L) as float32 (B, G, L, D), without a copy where it is float32."""
    return tensor.detach().float().transpose(2, 3).numpy()


def _like(tensor: Tensor) -> Tensor:
    """Room for float32 values (B, ..., L): channels last where `tensor` has them last."""
    if tensor.stride(-2) == 1:
        batch, *channels, length = tensor.shape
        return tensor.new_empty((batch, length, *channels), dtype=torch.float32).movedim(1, -1)
    return tensor.new_empty(tensor.shape, dtype=torch.float32)


def _blocks_shape(A: Tensor, groups: int) -> tuple[int, int, int]:
    channels, size = A.shape
    return groups * -(-channels // groups // LANES), size, LANES


def blocked(values: Tensor, groups: int) -> Tensor:
    """(E, ...) to (blocks, 16, ...), every group filled up with zeros.

    A copy: memory that an array shares cannot be freed, which sharded training does with weights.
    """
    grouped = values.detach().float().unflatten(0, (groups, -1))
    short = -grouped.shape[1] % LANES
    if short:
        grouped = torch.cat([grouped, grouped.new_zeros(groups, short, *values.shape[1:])], dim=1)
    return grouped.reshape(-1, LANES, *values.shape[1:]).clone(memory_format=torch.contiguous_format)


def unblocked(blocks: Tensor, channels: int, groups: int) -> Tensor:
    """The reverse of :func:`blocked`."""
    grouped = blocks.reshape(groups, -1, *blocks.shape[2:])
    return grouped[:, : channels // groups].reshape(channels, *blocks.shape[2:])


@register_flop_formula(torch.ops.cxreport.scan)
def _flops(u: Any, delta: Any, A: Any, *_: Any, **__: Any) -> int:
    """Six operations a channel, step and state: exp and its argument count as one each."""
    return int(6 * u[0] * u[-1] * A[0] * A[1])


@register_flop_formula(torch.ops.cxreport.scan_backward)
def _flops_backward(u: Any, delta: Any, A: Any, *_: Any, **__: Any) -> int:
    """The states again, and two operations for each of their six."""
    return int(18 * u[0] * u[-1] * A[0] * A[1])

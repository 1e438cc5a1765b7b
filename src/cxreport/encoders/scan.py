"""The selective scan of Mamba (Gu and Dao, 2023, section 3), on any machine.

For every channel e and state n, with dt = delta + delta_bias, through softplus where asked:

    h_t = exp(dt_t A) h_{t-1} + dt_t B_t u_t        h_0 = 0
    y_t = sum over n of C_t h_t, plus D u_t where given, times silu(z_t) where given

Three backends compute it. ``cpu``: numba kernels, forward and backward. ``chunked``: plain PyTorch on any
device and in double precision. ``cuda``: the kernel of mamba-ssm, when that is installed.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from cxreport.errors import UserError

CHUNK = 64
"""Steps that the chunked backend computes side by side."""


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    backend: str = "auto",
    order: Tensor | None = None,
    merge: bool = False,
) -> Tensor:
    """The scan of u (B, E, L); returns y (B, E, L) in the dtype of `u`.

    Shapes as in mamba-ssm's ``selective_scan_fn``: delta and the gate z (B, E, L); A (E, N), real; B and C
    (B, N, L), or (B, G, N, L) with G groups of E / G neighbouring channels; D and delta_bias (E).
    Floating-point inputs in any memory layout; the state is float32, and float64 in the chunked backend when
    `u` is. The CPU kernels are fastest when u, delta and z are transposed views of (B, L, E); y is then one
    too.

    Three things go further, for images that are read in several directions. u, delta and z may be
    (B, G, E / G, L), and one memory for all groups (``expand``) is not copied. `order` (G, L), int64, lets
    group g visit place ``order[g, t]`` at step t, each place once, while all tensors stay in the order of
    places. With `merge` y is the sum over the groups (B, E / G, L).

    Raises ValueError for shapes that do not fit and UserError for a backend that cannot run here.
    """
    B, C = (each.unsqueeze(1) if each.ndim == 3 else each for each in (B, C))
    flat = u.ndim == 3
    u, delta, z = (_grouped(each, B) for each in (u, delta, z))
    _check_shapes(u, delta, A, B, C, D, z, delta_bias, order)
    chosen = choose_backend(u) if backend == "auto" else backend
    if chosen not in _BACKENDS:
        raise UserError(f"Unknown scan backend {chosen!r}; choose auto, {', '.join(_BACKENDS)}.")
    if chosen == "cpu":
        y = _cpu(u, delta, A, B, C, D, z, delta_bias, order, delta_softplus, merge)
    else:
        if order is not None:
            u, delta, B, C = (reordered(each, order) for each in (u, delta, B, C))
            z = None if z is None else reordered(z, order)
        joined = (None if each is None else each.flatten(1, 2) for each in (u, delta, z))
        y = _BACKENDS[chosen](*joined, A, B, C, D, delta_bias, delta_softplus).unflatten(1, u.shape[1:3])
        y = y if order is None else reordered(y, order.argsort(dim=1))
        y = y.sum(dim=1) if merge else y
    return y.flatten(1, 2) if flat and not merge else y


def _grouped(tensor: Any, B: Tensor) -> Any:
    """(B, E, L) as (B, G, E / G, L) with the groups of B (B, G, N, L), where that is possible."""
    groups = B.shape[1]
    if tensor is None or tensor.ndim != 3 or groups == 0 or tensor.shape[1] % groups:
        return tensor
    return tensor.unflatten(1, (groups, tensor.shape[1] // groups))


def reordered(tensor: Tensor, order: Tensor) -> Tensor:
    """(B, G, ..., L) with the places of group g in the order of row g of `order` (G, L)."""
    index = order.view(order.shape[0], *(1,) * (tensor.ndim - 3), -1)
    return tensor.gather(-1, index.expand_as(tensor))


def choose_backend(u: Tensor) -> str:
    """``cuda`` on a GPU with mamba-ssm, ``cpu`` on a CPU with numba, else ``chunked`` (told once)."""
    if u.dtype == torch.float64:
        return "chunked"
    if u.device.type == "cuda" and _installed("mamba_ssm"):
        return "cuda"
    if u.device.type in ("cpu", "meta"):
        if _installed("numba"):
            return "cpu"
        _tell("numba is not installed: the selective scan runs in plain PyTorch, several times slower.")
    elif u.device.type == "cuda":
        _tell("mamba-ssm is not installed: the selective scan runs in plain PyTorch, slower than its kernel.")
    return "chunked"


_INSTALLED = {name: importlib.util.find_spec(name) is not None for name in ("numba", "mamba_ssm")}


def _installed(module: str) -> bool:
    return _INSTALLED[module]


@cache
def _tell(sentence: str) -> None:
    warnings.warn(sentence, stacklevel=4)


def _check_shapes(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, z: Tensor | None,
    bias: Tensor | None, order: Tensor | None,
) -> None:  # fmt: skip
    """ValueError unless the tensors are real numbers and fit u (B, G, D, L)."""
    if u.ndim != 4 or A.ndim != 2 or B.ndim != 4 or B.shape[1] != u.shape[1]:
        raise ValueError(
            f"u must be (B, E, L), A (E, N), B (B, N, L) or (B, G, N, L) with G a divisor of E, not"
            f" {tuple(u.shape)}, {tuple(A.shape)} and {tuple(B.shape)}."
        )
    (batch, groups, width, length), size = u.shape, A.shape[1]
    channels = groups * width
    expected = {"u": (u, u.shape), "delta": (delta, u.shape), "z": (z, u.shape), "A": (A, (channels, size))}
    expected |= {name: (each, (batch, groups, size, length)) for name, each in (("B", B), ("C", C))}
    expected |= {name: (each, (channels,)) for name, each in (("D", D), ("delta_bias", bias))}
    for name, (tensor, shape) in expected.items():
        if tensor is not None and tensor.shape != shape:
            raise ValueError(f"{name} is {tuple(tensor.shape)} and must be {tuple(shape)}.")
        if tensor is not None and not tensor.is_floating_point():
            raise ValueError(f"{name} must be a real floating-point tensor, not {tensor.dtype}.")
    if order is not None and (order.shape != (groups, length) or order.dtype != torch.int64):
        raise ValueError(f"order must be int64 {(groups, length)}, not {order.dtype} {tuple(order.shape)}.")


def _cuda(
    u: Tensor, delta: Tensor, z: Tensor | None, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
    bias: Tensor | None, softplus: bool,
) -> Tensor:  # fmt: skip
    """mamba-ssm's kernel, which wants float32 parameters and time as the last, contiguous axis."""
    if not _installed("mamba_ssm"):
        raise UserError("The scan backend cuda needs the package mamba-ssm; install it or choose chunked.")
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

    u, delta, B, C = (each.to(u.dtype).contiguous() for each in (u, delta, B, C))
    z = None if z is None else z.to(u.dtype).contiguous()
    D, bias = (None if each is None else each.float() for each in (D, bias))
    found: Tensor = selective_scan_fn(u, delta, A.float(), B, C, D, z, bias, softplus)
    return found


def _cpu(u: Tensor, *rest: Any) -> Tensor:
    """The numba kernels; states for a backward pass are kept only when there will be one."""
    if u.device.type not in ("cpu", "meta"):
        raise UserError(f"The scan backend cpu runs on CPU tensors, not on {u.device}; choose chunked.")
    if not _installed("numba"):
        raise UserError("The scan backend cpu needs the package numba; install it or choose chunked.")
    from cxreport.encoders.cpu.scan_operator import cpu_scan

    return cpu_scan(u, *rest)


def _chunked(
    u: Tensor, delta: Tensor, z: Tensor | None, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
    bias: Tensor | None, softplus: bool,
) -> Tensor:  # fmt: skip
    """Plain PyTorch: chunks one after the other, the steps of a chunk side by side in log2(chunk) rounds.

    In training every chunk is computed again in the backward pass, so that memory stays near that of the
    inputs and one chunk.
    """
    real = torch.float64 if u.dtype == torch.float64 else torch.float32
    x, dt = u.to(real), delta.to(real)
    if bias is not None:
        dt = dt + bias.to(real)[:, None]
    if softplus:
        dt = functional.softplus(dt)
    A, B, C = (each.to(real) for each in (A, B, C))
    step: Callable[..., tuple[Tensor, Tensor]] = _chunk
    if torch.is_grad_enabled() and any(each.requires_grad for each in (x, dt, A, B, C)):
        step = partial(checkpoint, _chunk, use_reentrant=False, preserve_rng_state=False)
    state, found = x.new_zeros(x.shape[0], *A.shape), []
    for dts, xs, Bs, Cs in zip(*(each.split(CHUNK, dim=-1) for each in (dt, x, B, C)), strict=True):
        y, state = step(dts, xs, A, Bs, Cs, state)
        found.append(y)
    y = torch.cat(found, dim=-1)
    if D is not None:
        y = y + D.to(real)[:, None] * x
    if z is not None:
        y = y * functional.silu(z.to(real))
    return y.to(u.dtype)


def _chunk(dt: Tensor, x: Tensor, A: Tensor, B: Tensor, C: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """y (B, E, l) of one chunk and the state (B, E, N) after it.

    Pairs (a, b) of h -> a h + b combine to (a' a, a' b + b'); after the round with shift s every step holds
    the combination of the 2 s steps before and at it (Hillis and Steele, 1986). All a are at most 1 for the
    negative A of Mamba, so nothing overflows.
    """
    groups, length = B.shape[1], dt.shape[-1]

    def per_channel(each: Tensor) -> Tensor:
        return each.transpose(2, 3).repeat_interleave(dt.shape[1] // groups, dim=1)

    a = torch.exp(dt.unsqueeze(-1) * A[:, None])
    b = (dt * x).unsqueeze(-1) * per_channel(B)
    shift = 1
    while shift < length:
        b = torch.cat([b[:, :, :shift], b[:, :, shift:] + a[:, :, shift:] * b[:, :, :-shift]], dim=2)
        a = torch.cat([a[:, :, :shift], a[:, :, shift:] * a[:, :, :-shift]], dim=2)
        shift *= 2
    h = b + a * state.unsqueeze(2)
    return (h * per_channel(C)).sum(-1), h[:, :, -1]


_BACKENDS: dict[str, Callable[..., Tensor]] = {"cpu": _cpu, "chunked": _chunked, "cuda": _cuda}

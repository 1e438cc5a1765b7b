"""What kernels share: functions of lanes, and moving rows between tensors and scratch."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from cxreport.encoders.cpu.lanes import LANES, broadcast, exp2, larger, load, store

LOG2_E, LN_2 = float(np.log2(np.e)), float(np.log(2))
helper = numba.njit(error_model="numpy")


def _fit_log1p(degree: int = 5) -> tuple[float, ...]:
    """artanh(s) / s as a polynomial of s**2 on 0 .. 1/9, constant coefficient first."""

    def slope(square: np.ndarray) -> np.ndarray:
        s = np.sqrt(square)
        return np.arctanh(s) / s

    found = np.polynomial.Chebyshev.interpolate(slope, degree, domain=[0, 1 / 9])
    return tuple(found.convert(kind=np.polynomial.Polynomial).coef)


_LOG1P = _fit_log1p()


@helper
def aligned(size: int) -> Any:
    """Scratch that starts on a cache line: a register that straddles two costs three times as much."""
    raw = np.zeros(size + LANES, np.float32)
    skip = -raw.ctypes.data % (4 * LANES) // 4
    return raw[skip : skip + size]


@helper
def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)) of lanes."""
    return 1.0 / (exp2(x * -LOG2_E) + 1.0)


@helper
def softplus(x: Any) -> Any:
    """log(1 + exp(x)) of lanes, as max(x, 0) + log1p(exp(-|x|)) with log1p(e) = 2 artanh(e / (2 + e))."""
    e = exp2(larger(x, x * -1.0) * -LOG2_E)
    s = e / (e + 2.0)
    square = s * s
    power = square * _LOG1P[5] + _LOG1P[4]
    for place in (3, 2, 1, 0):
        power = power * square + _LOG1P[place]
    return larger(broadcast(np.float32(0.0)), x) + s * power * 2.0


@helper
def pack(
    source: Any,
    batch: int,
    group: int,
    order: Any,
    start: int,
    steps: int,
    channel: int,
    lanes: int,
    target: Any,
) -> None:
    """Copy `lanes` channels of (B, G, L, D) to rows of sixteen; the rest of a row is zero.

    Row t comes from place ``order[start + t]``.
    """
    if lanes == LANES and source.strides[3] == 4:
        first = (batch * source.strides[0] + group * source.strides[1]) // 4 + channel
        along = source.strides[2] // 4
        for t in range(steps):
            store(target, t * LANES, load(source, first + order[start + t] * along))
        return
    if lanes < LANES:
        target[: steps * LANES] = 0
    for lane in range(lanes):
        for t in range(steps):
            target[t * LANES + lane] = source[batch, group, order[start + t], channel + lane]


@helper
def unpack(
    source: Any, batch: int, group: int, order: Any, start: int, steps: int, channel: int, lanes: int,
    target: Any, add: bool,
) -> None:  # fmt: skip
    """The reverse of :func:`pack`: rows of sixteen to `lanes` channels of (B, G, L, D), or added to them."""
    if lanes == LANES and target.strides[3] == 4:
        first = (batch * target.strides[0] + group * target.strides[1]) // 4 + channel
        along = target.strides[2] // 4
        for t in range(steps):
            at, value = first + order[start + t] * along, load(source, t * LANES)
            store(target, at, value + load(target, at) if add else value)
        return
    for lane in range(lanes):
        for t in range(steps):
            place, value = order[start + t], source[t * LANES + lane]
            if add:
                value += target[batch, group, place, channel + lane]
            target[batch, group, place, channel + lane] = value

"""Causal depth-wise convolution with SiLU, and its gradient; ``causal_conv.py`` defines what they compute.

Layout, blocks of sixteen channels, tasks and orders are those of ``scan_kernels.py``. Every group reads the
same x.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from numba import float32, int64, types, void

from cxreport.encoders.cpu.functions import aligned, helper, pack, sigmoid, unpack
from cxreport.encoders.cpu.lanes import LANES, load, store
from cxreport.encoders.cpu.running import compiled

CHUNK = 32
"""Steps at a time; at most one less than the taps that ``causal_conv.py`` allows."""


@helper
def _with_history(
    x: Any, batch: int, group: int, order: Any, start: int, steps: int, history: int, channel: int,
    lanes: int, xs: Any,
) -> None:  # fmt: skip
    """The rows of `history` steps before `start`, zero before the first, and of `steps` from it."""
    if start == 0:
        xs[: history * LANES] = 0
        pack(x, batch, group, order, 0, steps, channel, lanes, xs[history * LANES :])
    else:
        pack(x, batch, group, order, start - history, history + steps, channel, lanes, xs)


@helper
def _convolved(xs: Any, t: int, weight: Any, first: int, taps: int, y: Any) -> Any:
    """`y` plus the convolution at step t, whose oldest input is row t of `xs`."""
    for k in range(taps):
        y = y + load(xs, (t + k) * LANES) * load(weight, first + k * LANES)
    return y


def _forward(tasks: Any, orders: Any, x: Any, weight: Any, bias: Any, out: Any) -> None:
    """Write ``out`` from x, both (B, G, L, D), with weight (blocks, K, 16) and bias (blocks, 16)."""
    groups, length, wide, taps = orders.shape[0], x.shape[2], x.shape[3], weight.shape[1]
    history, blocks = taps - 1, weight.shape[0] // groups
    xs, ys = aligned((CHUNK + history) * LANES), aligned(CHUNK * LANES)
    for task in range(tasks.shape[0]):
        batch, group = tasks[task, 0], tasks[task, 1]
        order = orders[group]
        for start in range(0, length, CHUNK):
            steps = min(CHUNK, length - start)
            for block in range(tasks[task, 2], tasks[task, 3]):
                channel, lanes = block * LANES, min(LANES, wide - block * LANES)
                place = group * blocks + block
                _with_history(x, batch, group, order, start, steps, history, channel, lanes, xs)
                for t in range(steps):
                    y = _convolved(xs, t, weight, place * taps * LANES, taps, load(bias, place * LANES))
                    store(ys, t * LANES, y * sigmoid(y))
                unpack(ys, batch, group, order, start, steps, channel, lanes, out, False)


def _backward(
    tasks: Any, orders: Any, x: Any, weight: Any, bias: Any, gout: Any, gx: Any, gweight: Any, gbias: Any
) -> None:
    """Write gx (B, G, L, D), a part of each group; add to gweight (B, blocks, K, 16), gbias (B, blocks, 16).

    A chunk also needs the gradients of the K - 1 outputs after it, which its last inputs reach.
    """
    groups, length, wide, taps = orders.shape[0], x.shape[2], x.shape[3], weight.shape[1]
    history, blocks = taps - 1, weight.shape[0] // groups
    xs, gs = aligned((CHUNK + 2 * history) * LANES), aligned((CHUNK + history) * LANES)
    gxs = aligned(CHUNK * LANES)
    for task in range(tasks.shape[0]):
        batch, group = tasks[task, 0], tasks[task, 1]
        order = orders[group]
        for start in range(0, length, CHUNK):
            steps = min(CHUNK, length - start)
            reach = min(steps + history, length - start)
            for block in range(tasks[task, 2], tasks[task, 3]):
                channel, lanes = block * LANES, min(LANES, wide - block * LANES)
                place = group * blocks + block
                first, mine = place * taps * LANES, batch * weight.shape[0] + place
                _with_history(x, batch, group, order, start, reach, history, channel, lanes, xs)
                pack(gout, batch, group, order, start, reach, channel, lanes, gs)
                gs[reach * LANES :] = 0
                for t in range(reach):
                    y = _convolved(xs, t, weight, first, taps, load(bias, place * LANES))
                    s = sigmoid(y)
                    store(gs, t * LANES, load(gs, t * LANES) * s * (y * (1.0 - s) + 1.0))
                for t in range(steps):
                    g = load(gs, t * LANES)
                    sum_x = g * 0.0
                    for k in range(taps):
                        sum_x = sum_x + load(gs, (t + history - k) * LANES) * load(weight, first + k * LANES)
                        at = (mine * taps + k) * LANES
                        store(gweight, at, load(gweight, at) + g * load(xs, (t + k) * LANES))
                    store(gxs, t * LANES, sum_x)
                    store(gbias, mine * LANES, load(gbias, mine * LANES) + g)
                unpack(gxs, batch, group, order, start, steps, channel, lanes, gx, False)


_ROWS = types.Array(float32, 4, "A")
_INPUTS = (int64[:, ::1], int64[:, ::1], _ROWS, float32[:, :, ::1], float32[:, ::1], _ROWS)


@cache
def forward_kernel() -> Callable[..., None]:
    """:func:`_forward`, compiled."""
    return compiled(_forward, void(*_INPUTS))


@cache
def backward_kernel() -> Callable[..., None]:
    """:func:`_backward`, compiled."""
    return compiled(_backward, void(*_INPUTS, _ROWS, float32[:, :, :, ::1], float32[:, :, ::1]))

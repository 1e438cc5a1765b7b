"""The selective scan and its gradient as CPU kernels; ``scan.py`` defines what they compute.

Sixteen channels run side by side, one per SIMD lane, and the N states of a channel one after the other: every
state size uses all lanes, and no tensor of (B, L, E, N) exists. Time runs in chunks of :data:`CHUNK` steps.
The forward pass keeps the state at the start of every chunk; the backward pass computes the states of one
chunk again from there, then walks it in reverse. Softplus and gate happen in the same pass.

Arrays here are (B, L, E), in any memory layout. Parameters of channels lie in blocks: (blocks, N, 16) or
(blocks, 16), every group of channels filled up with zeros to whole blocks. A task is a row
``(batch, group, first block, end, part)`` with blocks counted inside the group, which is split in parts;
tasks write to disjoint places.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import boolean, float32, int64, types, void

from cxreport.encoders.cpu.functions import LN_2, aligned, helper, pack, sigmoid, softplus, unpack
from cxreport.encoders.cpu.lanes import LANES, exp2, load, load_one, store, total
from cxreport.encoders.cpu.running import compiled

CHUNK = 32
"""Steps between two kept states; 32 keep the scratch of a backward pass with N = 16 in 160 KiB of cache."""


@helper
def _step_sizes(dts: Any, shift: Any, soft: bool, steps: int) -> None:
    """delta to dt, in place."""
    for t in range(steps):
        dt = load(dts, t * LANES) + shift
        if soft:
            dt = softplus(dt)
        store(dts, t * LANES, dt)


@helper
def _gate(ys: Any, zs: Any, steps: int) -> None:
    """y times silu(z), in place."""
    for t in range(steps):
        z = load(zs, t * LANES)
        store(ys, t * LANES, load(ys, t * LANES) * z * sigmoid(z))


@helper
def _gate_backward(gys: Any, ys: Any, zs: Any, gzs: Any, steps: int) -> None:
    """The gradient of the gated y becomes that of y, in place, and that of z in `gzs`."""
    for t in range(steps):
        g, z = load(gys, t * LANES), load(zs, t * LANES)
        s = sigmoid(z)
        store(gzs, t * LANES, g * load(ys, t * LANES) * s * (z * (1.0 - s) + 1.0))
        store(gys, t * LANES, g * z * s)


def _forward(
    tasks: Any, u: Any, delta: Any, z: Any, A: Any, B: Any, C: Any, D: Any, bias: Any, soft: bool,
    out: Any, states: Any,
) -> None:  # fmt: skip
    """Write ``out`` (B, L, E) and, where it is not empty, ``states`` (B, chunks, blocks, N, 16).

    u, delta, z (B, L, E), z empty without a gate; A (blocks, N, 16) times log2(e); B, C (B, G, L, N); D, bias
    (blocks, 16).
    """
    groups, length, size = B.shape[1], B.shape[2], B.shape[3]
    blocks, wide, tile = A.shape[0] // groups, u.shape[2] // groups, size * LANES
    scratch = aligned(4 * CHUNK * LANES).reshape(4, -1)
    xs, dts, zs, ys = scratch[0], scratch[1], scratch[2], scratch[3]
    hs = aligned(blocks * tile)
    for task in range(tasks.shape[0]):
        batch, group = tasks[task, 0], tasks[task, 1]
        hs[:] = 0
        for start in range(0, length, CHUNK):
            steps = min(CHUNK, length - start)
            inputs = ((batch * groups + group) * length + start) * size
            for block in range(tasks[task, 2], tasks[task, 3]):
                channel, lanes = group * wide + block * LANES, min(LANES, wide - block * LANES)
                place, h = group * blocks + block, block * tile
                if states.size:
                    states[batch, start // CHUNK, place] = hs[h : h + tile].reshape(size, LANES)
                pack(u, batch, start, steps, channel, lanes, xs)
                pack(delta, batch, start, steps, channel, lanes, dts)
                _step_sizes(dts, load(bias, place * LANES), soft, steps)
                skip = load(D, place * LANES)
                for t in range(steps):
                    dt, x = load(dts, t * LANES), load(xs, t * LANES)
                    driven, y = dt * x, skip * x
                    for n in range(size):
                        decay = exp2(dt * load(A, place * tile + n * LANES))
                        state = decay * load(hs, h + n * LANES) + driven * load_one(B, inputs + t * size + n)
                        store(hs, h + n * LANES, state)
                        y = y + state * load_one(C, inputs + t * size + n)
                    store(ys, t * LANES, y)
                if z.size:
                    pack(z, batch, start, steps, channel, lanes, zs)
                    _gate(ys, zs, steps)
                unpack(ys, batch, start, steps, channel, lanes, out)


@helper
def _again(
    xs: Any, dts: Any, A: Any, at: int, B: Any, C: Any, inputs: int, size: int, skip: Any, steps: int,
    decays: Any, hs: Any, ys: Any,
) -> None:  # fmt: skip
    """Decays, states and y of one block over one chunk; ``hs`` begins with the state before it."""
    tile = size * LANES
    for t in range(steps):
        dt, x = load(dts, t * LANES), load(xs, t * LANES)
        driven, y = dt * x, skip * x
        for n in range(size):
            here = t * tile + n * LANES
            decay = exp2(dt * load(A, at + n * LANES))
            state = decay * load(hs, here) + driven * load_one(B, inputs + t * size + n)
            store(decays, here, decay)
            store(hs, here + tile, state)
            y = y + state * load_one(C, inputs + t * size + n)
        store(ys, t * LANES, y)


def _backward(
    tasks: Any, u: Any, delta: Any, z: Any, A: Any, B: Any, C: Any, D: Any, bias: Any, soft: bool,
    states: Any, gout: Any, gu: Any, gdelta: Any, gz: Any, gA: Any, gB: Any, gC: Any, gD: Any, gbias: Any,
) -> None:  # fmt: skip
    """Write the gradients, given that of ``out``; arguments as in :func:`_forward`.

    gA (B, blocks, N, 16), gD and gbias (B, blocks, 16) hold zeros before. gB and gC (parts, B, G, L, N) get
    the sums over the channels of each part.
    """
    groups, length, size = B.shape[1], B.shape[2], B.shape[3]
    blocks, wide, row, tile = A.shape[0] // groups, u.shape[2] // groups, LANES, size * LANES
    scratch = aligned(9 * CHUNK * row).reshape(9, -1)
    xs, dts, slopes, zs, ys = scratch[0], scratch[1], scratch[2], scratch[3], scratch[4]
    gys, gus, gds, gzs = scratch[5], scratch[6], scratch[7], scratch[8]
    decays, hs = aligned(CHUNK * tile), aligned((CHUNK + 1) * tile)
    sumB, sumC, carries = aligned(CHUNK * tile), aligned(CHUNK * tile), aligned(blocks * tile)
    chunks = (length + CHUNK - 1) // CHUNK
    for task in range(tasks.shape[0]):
        batch, group, first, end, part = tasks[task]
        carries[:] = 0
        for chunk in range(chunks - 1, -1, -1):
            start = chunk * CHUNK
            steps = min(CHUNK, length - start)
            inputs = ((batch * groups + group) * length + start) * size
            sumB[:] = 0
            sumC[:] = 0
            for block in range(first, end):
                channel, lanes = group * wide + block * row, min(LANES, wide - block * row)
                place, carry = group * blocks + block, block * tile
                at, mine = place * tile, batch * A.shape[0] + place
                skip = load(D, place * row)
                pack(u, batch, start, steps, channel, lanes, xs)
                pack(delta, batch, start, steps, channel, lanes, dts)
                pack(gout, batch, start, steps, channel, lanes, gys)
                if soft:
                    shift = load(bias, place * row)
                    for t in range(steps):
                        store(slopes, t * row, sigmoid(load(dts, t * row) + shift))
                _step_sizes(dts, load(bias, place * row), soft, steps)
                hs[:tile] = states[batch, chunk, place].ravel()
                _again(xs, dts, A, at, B, C, inputs, size, skip, steps, decays, hs, ys)
                if z.size:
                    pack(z, batch, start, steps, channel, lanes, zs)
                    _gate_backward(gys, ys, zs, gzs, steps)
                    unpack(gzs, batch, start, steps, channel, lanes, gz)
                gskip, gshift = load(gD, mine * row), load(gbias, mine * row)
                for t in range(steps - 1, -1, -1):
                    dt, x, gy = load(dts, t * row), load(xs, t * row), load(gys, t * row)
                    driven, gdriven, gdt = dt * x, gy * 0.0, gy * 0.0
                    for n in range(size):
                        here, total_at = t * tile + n * row, mine * tile + n * row
                        g = load(carries, carry + n * row) + gy * load_one(C, inputs + t * size + n)
                        store(sumB, here, load(sumB, here) + g * driven)
                        store(sumC, here, load(sumC, here) + gy * load(hs, here + tile))
                        gdriven = gdriven + g * load_one(B, inputs + t * size + n)
                        g = g * load(decays, here)
                        store(carries, carry + n * row, g)
                        g = g * load(hs, here)
                        gdt = gdt + g * load(A, at + n * row)
                        store(gA, total_at, load(gA, total_at) + g * dt)
                    gdt = gdt * LN_2 + gdriven * x
                    if soft:
                        gdt = gdt * load(slopes, t * row)
                    gskip, gshift = gskip + gy * x, gshift + gdt
                    store(gus, t * row, gdriven * dt + skip * gy)
                    store(gds, t * row, gdt)
                store(gD, mine * row, gskip)
                store(gbias, mine * row, gshift)
                unpack(gus, batch, start, steps, channel, lanes, gu)
                unpack(gds, batch, start, steps, channel, lanes, gdelta)
            for t in range(steps):
                for n in range(size):
                    gB[part, batch, group, start + t, n] = total(load(sumB, t * tile + n * row))
                    gC[part, batch, group, start + t, n] = total(load(sumC, t * tile + n * row))


_STRIDED = types.Array(float32, 3, "A")
_INPUTS = (int64[:, ::1], _STRIDED, _STRIDED, _STRIDED, float32[:, :, ::1], float32[:, :, :, ::1],
           float32[:, :, :, ::1], float32[:, ::1], float32[:, ::1], boolean)  # fmt: skip


@cache
def forward_kernel() -> Callable[..., None]:
    """:func:`_forward`, compiled."""
    return compiled(_forward, void(*_INPUTS, _STRIDED, float32[:, :, :, :, ::1]))


@cache
def backward_kernel() -> Callable[..., None]:
    """:func:`_backward`, compiled."""
    sums = (
        float32[:, :, :, ::1],
        float32[:, :, :, :, ::1],
        float32[:, :, :, :, ::1],
        float32[:, :, ::1],
        float32[:, :, ::1],
    )
    return compiled(_backward, void(*_INPUTS, float32[:, :, :, :, ::1], *[_STRIDED] * 4, *sums))


def scan_tasks(batch: int, groups: int, blocks: int, threads: int) -> np.ndarray:
    """Rows (batch, group, first block, end, part); groups are split where threads would lack work."""
    parts = min(blocks, threads // math.gcd(threads, batch * groups))
    cuts = [blocks * part // parts for part in range(parts + 1)]
    rows = [
        (b, g, cuts[part], cuts[part + 1], part)
        for part in range(parts)
        for b in range(batch)
        for g in range(groups)
    ]
    return np.array(rows, dtype=np.int64).reshape(-1, 5)

"""The selective scan and its gradient as CPU kernels; ``scan.py`` defines what they compute.

Sixteen channels run side by side, one per SIMD lane, and the N states of a channel one after the other: every
state size uses all lanes, and no tensor of (B, L, E, N) exists. Time runs in chunks of :data:`CHUNK` steps.
The forward pass keeps the state at the start of every chunk; the backward pass computes the states of one
chunk again from there, then walks it in reverse. Softplus and gate happen in the same pass.

Tensors of G groups of D channels are (B, G, L, D) here, in any memory layout, also with one memory for all
groups. Parameters of channels lie in blocks, (blocks, N, 16) or (blocks, 16), every group filled up with
zeros to whole blocks. A task is a row ``(batch, group, first block, end, part)`` with blocks counted inside
the group, which is split in parts.
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
    tasks: Any, orders: Any, u: Any, delta: Any, z: Any, A: Any, B: Any, C: Any, D: Any, bias: Any,
    soft: bool, merge: bool, out: Any, states: Any,
) -> None:  # fmt: skip
    """Write ``out`` and, where it is not empty, ``states`` (B, chunks, blocks, N, 16).

    Row g of ``orders`` (G, L) holds the places that group g visits, one a step. u, delta, z and out are
    (B, G, L, D), z empty without a gate; A (blocks, N, 16) times log2(e); B, C (B, G, L, N); D, bias
    (blocks, 16). With `merge` all groups add to the same memory of ``out``, zero before.
    """
    groups, length, size = B.shape[1], B.shape[2], B.shape[3]
    blocks, wide, tile = A.shape[0] // groups, u.shape[3], size * LANES
    scratch = aligned(4 * CHUNK * LANES).reshape(4, -1)
    xs, dts, zs, ys = scratch[0], scratch[1], scratch[2], scratch[3]
    hs = aligned(blocks * tile)
    for task in range(tasks.shape[0]):
        batch, group = tasks[task, 0], tasks[task, 1]
        order, inputs = orders[group], (batch * groups + group) * length
        hs[:] = 0
        for start in range(0, length, CHUNK):
            steps = min(CHUNK, length - start)
            for block in range(tasks[task, 2], tasks[task, 3]):
                channel, lanes = block * LANES, min(LANES, wide - block * LANES)
                place, h = group * blocks + block, block * tile
                if states.size:
                    states[batch, start // CHUNK, place] = hs[h : h + tile].reshape(size, LANES)
                pack(u, batch, group, order, start, steps, channel, lanes, xs)
                pack(delta, batch, group, order, start, steps, channel, lanes, dts)
                _step_sizes(dts, load(bias, place * LANES), soft, steps)
                skip = load(D, place * LANES)
                for t in range(steps):
                    dt, x = load(dts, t * LANES), load(xs, t * LANES)
                    driven, y, at = dt * x, skip * x, (inputs + order[start + t]) * size
                    for n in range(size):
                        decay = exp2(dt * load(A, place * tile + n * LANES))
                        state = decay * load(hs, h + n * LANES) + driven * load_one(B, at + n)
                        store(hs, h + n * LANES, state)
                        y = y + state * load_one(C, at + n)
                    store(ys, t * LANES, y)
                if z.size:
                    pack(z, batch, group, order, start, steps, channel, lanes, zs)
                    _gate(ys, zs, steps)
                unpack(ys, batch, group, order, start, steps, channel, lanes, out, merge)


@helper
def _again(
    xs: Any, dts: Any, A: Any, at: int, B: Any, C: Any, order: Any, start: int, inputs: int, size: int,
    skip: Any, steps: int, decays: Any, hs: Any, ys: Any,
) -> None:  # fmt: skip
    """Decays, states and y of one block over one chunk; ``hs`` begins with the state before it."""
    tile = size * LANES
    for t in range(steps):
        dt, x = load(dts, t * LANES), load(xs, t * LANES)
        driven, y, row = dt * x, skip * x, (inputs + order[start + t]) * size
        for n in range(size):
            here = t * tile + n * LANES
            decay = exp2(dt * load(A, at + n * LANES))
            state = decay * load(hs, here) + driven * load_one(B, row + n)
            store(decays, here, decay)
            store(hs, here + tile, state)
            y = y + state * load_one(C, row + n)
        store(ys, t * LANES, y)


def _backward(
    tasks: Any, orders: Any, u: Any, delta: Any, z: Any, A: Any, B: Any, C: Any, D: Any, bias: Any,
    soft: bool, merge: bool, states: Any, gout: Any, gu: Any, gdelta: Any, gz: Any, gA: Any, gB: Any,
    gC: Any, gD: Any, gbias: Any,
) -> None:  # fmt: skip
    """Write the gradients, given that of ``out``; arguments as in :func:`_forward`.

    gA (B, blocks, N, 16), gD and gbias (B, blocks, 16) hold zeros before. gB and gC (parts, B, G, L, N) get
    the sums over the channels of each part.
    """
    groups, length, size = B.shape[1], B.shape[2], B.shape[3]
    blocks, wide, tile = A.shape[0] // groups, u.shape[3], size * LANES
    scratch = aligned(9 * CHUNK * LANES).reshape(9, -1)
    xs, dts, slopes, zs, ys = scratch[0], scratch[1], scratch[2], scratch[3], scratch[4]
    gys, gus, gds, gzs = scratch[5], scratch[6], scratch[7], scratch[8]
    decays, hs = aligned(CHUNK * tile), aligned((CHUNK + 1) * tile)
    sumB, sumC, carries = aligned(CHUNK * tile), aligned(CHUNK * tile), aligned(blocks * tile)
    chunks = (length + CHUNK - 1) // CHUNK
    for task in range(tasks.shape[0]):
        batch, group, first, end, part = tasks[task]
        order, inputs = orders[group], (batch * groups + group) * length
        carries[:] = 0
        for chunk in range(chunks - 1, -1, -1):
            start = chunk * CHUNK
            steps = min(CHUNK, length - start)
            sumB[:] = 0
            sumC[:] = 0
            for block in range(first, end):
                channel, lanes = block * LANES, min(LANES, wide - block * LANES)
                place, carry = group * blocks + block, block * tile
                at, mine = place * tile, batch * A.shape[0] + place
                skip = load(D, place * LANES)
                pack(u, batch, group, order, start, steps, channel, lanes, xs)
                pack(delta, batch, group, order, start, steps, channel, lanes, dts)
                pack(gout, batch, group, order, start, steps, channel, lanes, gys)
                if soft:
                    shift = load(bias, place * LANES)
                    for t in range(steps):
                        store(slopes, t * LANES, sigmoid(load(dts, t * LANES) + shift))
                _step_sizes(dts, load(bias, place * LANES), soft, steps)
                hs[:tile] = states[batch, chunk, place].ravel()
                _again(xs, dts, A, at, B, C, order, start, inputs, size, skip, steps, decays, hs, ys)
                if z.size:
                    pack(z, batch, group, order, start, steps, channel, lanes, zs)
                    _gate_backward(gys, ys, zs, gzs, steps)
                    unpack(gzs, batch, group, order, start, steps, channel, lanes, gz, False)
                gskip, gshift = load(gD, mine * LANES), load(gbias, mine * LANES)
                for t in range(steps - 1, -1, -1):
                    dt, x, gy = load(dts, t * LANES), load(xs, t * LANES), load(gys, t * LANES)
                    driven, gdriven, gdt = dt * x, gy * 0.0, gy * 0.0
                    row = (inputs + order[start + t]) * size
                    for n in range(size):
                        here, total_at = t * tile + n * LANES, mine * tile + n * LANES
                        g = load(carries, carry + n * LANES) + gy * load_one(C, row + n)
                        store(sumB, here, load(sumB, here) + g * driven)
                        store(sumC, here, load(sumC, here) + gy * load(hs, here + tile))
                        gdriven = gdriven + g * load_one(B, row + n)
                        g = g * load(decays, here)
                        store(carries, carry + n * LANES, g)
                        g = g * load(hs, here)
                        gdt = gdt + g * load(A, at + n * LANES)
                        store(gA, total_at, load(gA, total_at) + g * dt)
                    gdt = gdt * LN_2 + gdriven * x
                    if soft:
                        gdt = gdt * load(slopes, t * LANES)
                    gskip, gshift = gskip + gy * x, gshift + gdt
                    store(gus, t * LANES, gdriven * dt + skip * gy)
                    store(gds, t * LANES, gdt)
                store(gD, mine * LANES, gskip)
                store(gbias, mine * LANES, gshift)
                unpack(gus, batch, group, order, start, steps, channel, lanes, gu, False)
                unpack(gds, batch, group, order, start, steps, channel, lanes, gdelta, False)
            for t in range(steps):
                for n in range(size):
                    gB[part, batch, group, order[start + t], n] = total(load(sumB, t * tile + n * LANES))
                    gC[part, batch, group, order[start + t], n] = total(load(sumC, t * tile + n * LANES))


_STRIDED = types.Array(float32, 4, "A")
_TABLE, _INDEX = float32[:, ::1], int64[:, ::1]
_INPUTS = (_INDEX, _INDEX, _STRIDED, _STRIDED, _STRIDED, float32[:, :, ::1], float32[:, :, :, ::1],
           float32[:, :, :, ::1], _TABLE, _TABLE, boolean, boolean)  # fmt: skip


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


def shares_of(batch: int, groups: int, blocks: int, threads: int, merge: bool) -> list[np.ndarray]:
    """The tasks of each thread; groups are split in parts where threads would lack work.

    Groups that `merge` share their results, so one thread does a part of all of them.
    """
    apart = 1 if merge else groups
    parts = min(blocks, threads // math.gcd(threads, batch * apart))
    cuts = [blocks * part // parts for part in range(parts + 1)]
    units = [
        [(b, g, cuts[part], cuts[part + 1], part) for g in (range(groups) if merge else (first,))]
        for part in range(parts)
        for b in range(batch)
        for first in range(apart)
    ]
    shares = [[task for unit in units[thread::threads] for task in unit] for thread in range(threads)]
    return [np.array(share, dtype=np.int64) for share in shares if share]

"""What the tokens of an encoder cost: time, peak memory and operations, and how they grow."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from cxreport.encoders import Encoder, build_encoder, entry_of
from cxreport.encoders.fast import fast
from cxreport.errors import UserError
from cxreport.options import EncoderOptions

SIZES = (224, 512, 768, 1024, 1280)
"""Sides in pixels of the square images that are measured unless others are given."""
LONG = 1000
"""Tokens from which growth is fitted: fixed costs hide it before."""


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


_ATTENTION = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}
"""Attention on a CPU, which PyTorch's counter does not know."""


def profile(
    name: str,
    sizes: Sequence[int] | None = None,
    training: bool = False,
    repeats: int = 3,
    device: str = "cpu",
    faster: bool = False,
    progress: Callable[[int], None] = lambda _size: None,
) -> dict[str, Any]:
    """Time, peak memory and operations of one image of each size (:data:`SIZES`); ready for JSON.

    ``seconds`` is the least of `repeats` after a first run. ``memory_bytes`` is the largest sum of tensors
    alive at once beyond the encoder and its input, as PyTorch's allocator counts them. ``operations`` are
    those of matrix products, convolutions, attention and scans. With `training` all are of a forward and a
    backward pass. ``exponents`` are the slopes of log cost over log tokens, from sizes of at least
    :data:`LONG` tokens when there are two of them. With `faster` every row also has the report of
    :func:`cxreport.encoders.fast.fast` at its size. `progress` is called with each size before its turn.

    Raises UserError for an unknown encoder, a size that it does not take, fewer than two sizes, and `faster`
    in training or on a GPU.
    """
    entry = entry_of(name)
    if faster and (training or device != "cpu"):
        raise UserError("--fast is for inference on a CPU; leave out --training.")
    torch.manual_seed(0)
    encoder = build_encoder(EncoderOptions(name=name)).to(device).train(training)
    if sizes is None:
        sizes = [size for size in SIZES if size % encoder.multiple == 0]
    sizes = sorted(set(sizes))
    if len(sizes) < 2:
        raise UserError("A growth needs at least two image sizes; give more with --sizes.")
    for size in sizes:
        if size < encoder.smallest or size % encoder.multiple:
            raise UserError(
                f"{name} takes image sizes from {encoder.smallest} px in multiples of {encoder.multiple} px,"
                f" not {size}."
            )
    rows: list[dict[str, Any]] = []
    for size in sizes:
        progress(size)
        row: dict[str, Any] = {"size": size, "tokens": (size // entry.stride) ** 2}
        row |= measure(encoder, size, training, repeats)
        if faster:
            row["fast"] = fast(encoder, torch.randn(1, encoder.channels, size, size), repeats=repeats)[1]
        rows.append(row)
    long = [row for row in rows if row["tokens"] >= LONG]
    fitted = long if len(long) >= 2 else rows
    return {
        "name": name,
        "parameters": sum(each.numel() for each in encoder.parameters()),
        "training": training,
        "threads": torch.get_num_threads(),
        "machine": machine(),
        "rows": rows,
        "exponents": {cost: exponent(fitted, cost) for cost in ("seconds", "memory_bytes", "operations")},
        "fitted_from_tokens": fitted[0]["tokens"],
    }


def measure(encoder: Encoder, size: int, training: bool = False, repeats: int = 3) -> dict[str, Any]:
    """Seconds, memory_bytes and operations of one square image of `size` px, on the encoder's device."""
    device = next(encoder.parameters()).device
    images = torch.randn(1, encoder.channels, size, size, device=device)

    def run() -> None:
        with torch.set_grad_enabled(training):
            tokens = encoder(images)
            if training:
                (tokens.patches.mean() + tokens.pooled.mean()).backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    operations = operations_of(run)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return {
        "seconds": min(seconds),
        "memory_bytes": peak_memory(run, device),
        "operations": operations,
    }


def operations_of(run: Callable[[], object]) -> int:
    """Operations of the matrix products, convolutions, attention and scans while `run` runs."""
    with FlopCounterMode(display=False, custom_mapping=_ATTENTION) as counter:
        run()
    return int(counter.get_total_flops())


def peak_memory(run: Callable[[], None], device: torch.device | None = None) -> int:
    """Bytes of the tensors that are alive at once at most while `run` runs, beyond those before."""
    if device is not None and device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler writes its own log to stderr
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profiler:
        run()
    events: Any = profiler.profiler.kineto_results.events()
    changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    sums = np.cumsum([change for _, change in changes])
    return int(sums.max(initial=0))


def exponent(rows: Sequence[dict[str, Any]], cost: str) -> float:
    """The slope of log `cost` over log tokens, by least squares."""
    tokens, costs = (np.log([row[name] for row in rows]) for name in ("tokens", cost))
    return float(np.polyfit(tokens, costs, 1)[0])


def machine() -> dict[str, Any]:
    """The processor, its cores and the versions that decide speed."""
    return {
        "processor": _processor(),
        "cores": len(_cores()),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "vectors": torch.backends.cpu.get_cpu_capability(),
    }


def _processor() -> str:
    """The model's name where the system tells it, as Linux does."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _cores() -> Sequence[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return range(os.cpu_count() or 1)

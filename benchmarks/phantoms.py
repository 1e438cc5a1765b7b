"""Rendering phantoms: studies a second, beside reading as many real-sized X-rays from JPEG.

    python benchmarks/phantoms.py [--studies 16] [--size 224] [--processes 2] [--repeats 5] [--json]

A study is two views. The named peer is Pillow: it decodes two grey JPEG images of 2048 x 2048 pixels a study
and shrinks them to the same size, which is what a data loader does with a study that was not rendered. The
JPEG file is a phantom, enlarged, with noise. Both run in turn in every repeat, in one process and in a pool
that is warm; medians count. The ratio is seconds of rendering over seconds of the peer.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import PIL
from PIL import Image

from cxreport.phantom.make import render_study, sample_findings
from cxreport.study import PROJECTIONS

Map = Callable[[Callable[[int], int], Iterable[int]], Iterable[int]]


def rendered(place: int, size: int, seed: int) -> int:
    """Render study number `place`; returns the bytes of its views."""
    rng = np.random.default_rng([seed, place])
    views, _, _ = render_study(sample_findings(rng), size, rng)
    return sum(len(view.image) for view in views)


def read(place: int, jpeg: bytes, size: int) -> int:
    """Decode and shrink as many views as a study has; returns their pixels."""
    pixels = 0
    for _ in PROJECTIONS:
        with Image.open(io.BytesIO(jpeg)) as image:
            image.load()
            pixels += image.resize((size, size), Image.Resampling.BILINEAR).width * size
    return pixels


def sample_jpeg(side: int, seed: int) -> bytes:
    """A phantom of `side` x `side` pixels with noise, as a grey JPEG of quality 90."""
    rng = np.random.default_rng(seed)
    views, _, _ = render_study((), 256, rng)
    with Image.open(io.BytesIO(views[0].image)) as image:
        grey = np.asarray(image.resize((side, side), Image.Resampling.BICUBIC), np.float64)
    noisy = np.clip(grey + rng.normal(0, 4, grey.shape), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noisy).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Median studies a second of both, and seconds of rendering over seconds of reading."""
    jpeg = sample_jpeg(options.side, options.seed)
    render = partial(rendered, size=options.size, seed=options.seed)
    peer = partial(read, jpeg=jpeg, size=options.size)
    results: dict[str, object] = {"one_process": _compared(map, render, peer, options)}
    if options.processes > 1:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(options.processes, mp_context=spawn) as pool:
            results["pool"] = _compared(pool.map, render, peer, options)
    return {
        **results,
        "peer": f"Pillow {PIL.__version__}: 2 JPEG images of {options.side} x {options.side} a study",
        "jpeg_bytes": len(jpeg),
        "settings": {key: value for key, value in vars(options).items() if key != "json"},
        "machine": {"processor": platform.processor() or platform.machine(), "numpy": np.__version__},
    }


def _compared(
    mapped: Map, render: Callable[[int], int], peer: Callable[[int], int], options: argparse.Namespace
) -> dict[str, float]:
    places = range(options.studies)
    for work in (render, peer):
        list(mapped(work, places))
    times = [
        (_seconds(mapped, render, places), _seconds(mapped, peer, places)) for _ in range(options.repeats)
    ]
    ours, theirs = (statistics.median(column) for column in zip(*times, strict=True))
    return {
        "studies_per_second": options.studies / ours,
        "peer_studies_per_second": options.studies / theirs,
        "ratio": statistics.median(own / other for own, other in times),
    }


def _seconds(mapped: Map, work: Callable[[int], int], places: Iterable[int]) -> float:
    start = time.perf_counter()
    list(mapped(work, places))
    return time.perf_counter() - start


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description="Rendering phantoms against reading JPEG images.")
    parser.add_argument("--studies", type=int, default=16, help="studies a repeat")
    parser.add_argument("--size", type=int, default=224, help="side of a view in pixels")
    parser.add_argument("--side", type=int, default=2048, help="side of a JPEG image in pixels")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="processes of the pool")
    parser.add_argument("--repeats", type=int, default=5, help="the median counts")
    parser.add_argument("--seed", type=int, default=9223)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = measure(options)
    if options.json:
        print(json.dumps(result, indent=2))
        return
    for name, title in (("one_process", "one process"), ("pool", f"{options.processes} processes")):
        row = result.get(name)
        if isinstance(row, dict):
            print(
                f"{title}: {row['studies_per_second']:.2f} studies/s rendered, "
                f"{row['peer_studies_per_second']:.2f} read from JPEG, ratio {row['ratio']:.2f}"
            )


if __name__ == "__main__":
    main()

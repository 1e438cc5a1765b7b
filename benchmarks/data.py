"""Importing and reading images, each beside a named peer on the same cores.

    python benchmarks/data.py [--rows import reading memory] [--quick] [--processes 2] [--json FILE]

- import: ``cxreport data import folder`` of 1,000 PNG files of 2000 x 2000 pixels to a longer side of 512.
  Peer: Pillow decodes and shrinks the same files in as many processes, and throws the result away. Both
  times are whole: processes start, work and end. Ratio: ours over the peer's (wanted: at most 1.3).
  ``cpu_ratio`` compares the processor time of both instead, which a busy machine disturbs less.
- reading: an epoch of batches of 224 x 224 pixels from the prepared dataset of 512 pixels, first with nothing
  in memory, then again. Peer: Pillow decodes the originals to 224 x 224. Processor time of one process each.
  Ratio: the peer's over ours (wanted: at least 15 for a first epoch from JPEG).
- memory: the peak of an import of 10,000 studies over that of 1,000: the resident memory of the main process
  plus, for every worker, that of the largest one. Ratio wanted: at most 1.2.

The files are drawn phantoms with noise. Every picture stands under several names, all of one patient, so that
the folder needs little room. Everything is written below a temporary folder and removed.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image

from cxreport.data.importing import import_release
from cxreport.data.sources.folder import folder
from cxreport.data.store import PreparedDataset
from cxreport.data.workers import cores
from cxreport.options import DataOptions

LONG_SIDE = 512
SEEN = 224
Row = Callable[[Path, argparse.Namespace], dict[str, Any]]


def draw_picture(task: tuple[Path, int, int]) -> None:
    """One phantom of (path, number, side) as a grey PNG with the grain of a detector."""
    import io

    from cxreport.phantom.make import render_study, sample_findings

    path, number, side = task
    rng = np.random.default_rng(number)
    views, _, _ = render_study(sample_findings(rng), 256, rng)
    with Image.open(io.BytesIO(views[0].image)) as image:
        grey = np.asarray(image.resize((side, side), Image.Resampling.BICUBIC), np.float32)
    noisy = np.clip(grey + rng.normal(0, 3, grey.shape), 0, 255).astype(np.uint8)
    Image.fromarray(noisy).save(path)


def make_folder(root: Path, pictures: int, names: int, side: int, processes: int) -> Path:
    """A folder of `pictures` different PNG files, each under `names` names of one patient, and its CSV."""
    root.mkdir()
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        tasks = [(root / f"{number}-0.png", number, side) for number in range(pictures)]
        list(pool.map(draw_picture, tasks, chunksize=4))
    with (root / "reports.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("study", "image", "report", "patient"))
        for number in range(pictures):
            for name in range(names):
                image = f"{number}-{name}.png"
                if name:
                    os.link(root / f"{number}-0.png", root / image)
                report = f"Number {number} of this folder at time {name}. The heart is of normal size."
                table.writerow((f"s{number}-{name}", image, report, f"p{number}"))
    return root


def run_import(root: Path, out: Path, processes: int, **settings: Any) -> PreparedDataset:
    """Import a folder of :func:`make_folder` as the command does."""
    columns = {f"{name}_column": name for name in ("image", "report", "patient")}
    release = folder(root, root / "reports.csv", id_column="study", **columns)
    return import_release(release, out, workers=processes, **settings)


def pillow(path: Path, side: int) -> int:
    """The peer: decode a file, make it grey, shrink it until its longer side is `side`."""
    with Image.open(path) as image:
        grey = image.convert("L")
        grey.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=None)
        return grey.width


def pillow_long_side(path: Path) -> int:
    """:func:`pillow` for a pool."""
    return pillow(path, LONG_SIDE)


def seconds_of(work: Callable[[], object]) -> tuple[float, float]:
    """Wall-clock and processor seconds of one call, with those of the processes that it started and ended."""
    start, processor = time.perf_counter(), processor_seconds()
    work()
    return time.perf_counter() - start, processor_seconds() - processor


def processor_seconds() -> float:
    """What this process and its ended children have used."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def import_row(temporary: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Import of a folder against Pillow's decoding and shrinking alone."""
    pictures, names = (12, 4) if options.quick else (125, 8)
    root = make_folder(temporary / "import", pictures, names, options.side, options.processes)
    paths = sorted(root.glob("*.png"))
    spawn = multiprocessing.get_context("spawn")

    def peer() -> None:
        with ProcessPoolExecutor(options.processes, spawn) as pool:
            list(pool.map(pillow_long_side, paths, chunksize=4))

    found: dict[str, Any] = {"files": len(paths), "file_bytes": paths[0].stat().st_size}
    theirs: list[tuple[float, float]] = []
    ours: dict[str, list[tuple[float, float]]] = {"png": [], "jpeg": []}
    for repeat in range(options.repeats):
        theirs.append(seconds_of(peer))
        for image_format, times in ours.items():
            out = temporary / f"out-{image_format}-{repeat}"

            def own(out: Path = out, image_format: str = image_format) -> None:
                run_import(root, out, options.processes, max_side=LONG_SIDE, image_format=image_format)

            times.append(seconds_of(own))
    found["peer_seconds"] = statistics.median(wall for wall, _ in theirs)
    for image_format, times in ours.items():
        found[f"{image_format}_seconds"] = statistics.median(wall for wall, _ in times)
        for place, name in enumerate(("ratio", "cpu_ratio")):
            ratios = [own_[place] / their[place] for own_, their in zip(times, theirs, strict=True)]
            found[f"{image_format}_{name}"] = statistics.median(ratios)
    return found


def reading_row(temporary: Path, options: argparse.Namespace) -> dict[str, Any]:
    """An epoch of batches of a prepared dataset against decoding the originals."""
    import torch

    from cxreport.data.batch import loader

    torch.set_num_threads(1)
    root = make_folder(temporary / "reading", 12 if options.quick else 64, 1, options.side, options.processes)
    paths = sorted(root.glob("*.png"))

    def originals() -> None:
        for path in paths:
            with Image.open(path) as image:
                np.asarray(image.convert("L").resize((SEEN, SEEN), Image.Resampling.BILINEAR))

    found: dict[str, Any] = {"files": len(paths)}
    theirs = statistics.median(seconds_of(originals)[1] for _ in range(options.repeats)) / len(paths)
    found["peer_ms_an_image"] = 1000 * theirs
    for image_format in ("png", "jpeg"):
        out = temporary / f"reading-{image_format}"
        dataset = run_import(root, out, 0, max_side=LONG_SIDE, image_format=image_format)
        studies = dataset.split("train")
        first, later = [], []
        for _ in range(options.repeats + 1):
            batches = loader(studies, DataOptions(image_size=SEEN), batch_size=16, train=False, seed=0)
            first.append(seconds_of(lambda: all(batches))[1] / len(studies))  # noqa: B023
            later.append(seconds_of(lambda: all(batches))[1] / len(studies))  # noqa: B023
        for name, times in (("first_epoch", first[1:]), ("later_epochs", later[1:])):
            found[f"{image_format}_{name}_ms_an_image"] = 1000 * statistics.median(times)
            found[f"{image_format}_{name}_ratio"] = theirs / statistics.median(times)
    return found


def memory_row(temporary: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Peak memory of an import of ten times as many studies."""
    few, many = (100, 1000) if options.quick else (1000, 10_000)
    found: dict[str, Any] = {"studies": [few, many]}
    for count in (few, many):
        root = make_folder(temporary / f"memory-{count}", 50, count // 50, 512, options.processes)
        out = temporary / f"memory-out-{count}"
        child = [sys.executable, __file__, "--child", str(root), str(out), str(options.processes)]
        told = subprocess.run(child, check=True, capture_output=True, text=True).stdout
        found[f"peak_mib_{count}"] = json.loads(told)["peak_mib"]
    found["ratio"] = found[f"peak_mib_{many}"] / found[f"peak_mib_{few}"]
    return found


def import_and_tell_memory(root: Path, out: Path, processes: int) -> None:
    """Import `root` and print the peak of this process plus that of the largest worker for each worker."""
    run_import(root, out, processes, max_side=256)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    kibibytes = (own + processes * worker) / (1024 if sys.platform == "darwin" else 1)
    print(json.dumps({"peak_mib": kibibytes / 1024}))


ROWS: dict[str, Row] = {"import": import_row, "reading": reading_row, "memory": memory_row}


def table_of(name: str, row: dict[str, Any]) -> Iterable[str]:
    """A line per number."""
    for key, value in row.items():
        yield f"{name:10}{key:34}" + (f"{value:10.2f}" if isinstance(value, float) else f"{value!s:>10}")


def main() -> None:
    """Parse, measure, print."""
    if sys.argv[1:2] == ["--child"]:
        import_and_tell_memory(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(description="Importing and reading images against Pillow.")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), help="rows to measure")
    parser.add_argument("--quick", action="store_true", help="few files, one repeat")
    parser.add_argument("--processes", type=int, default=cores(), help="processes of both sides")
    parser.add_argument("--repeats", type=int, help="the median counts; 3, or 1 with --quick")
    parser.add_argument("--side", type=int, default=2000, help="pixels of an original's side")
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made")
    parser.add_argument("--json", type=Path, help="file to write")
    options = parser.parse_args()
    options.repeats = options.repeats or (1 if options.quick else 3)
    results: dict[str, dict[str, Any]] = {}
    for name in options.rows:
        with tempfile.TemporaryDirectory(dir=options.folder, prefix="cxreport-benchmark-") as temporary:
            results[name] = ROWS[name](Path(temporary), options)
        print("\n".join(table_of(name, results[name])), flush=True)
    if options.json:
        tree = {
            "rows": results,
            "peer": f"Pillow {PIL.__version__}",
            "processes": options.processes,
            "repeats": options.repeats,
            "quick": options.quick,
            "machine": {"processor": platform.processor() or platform.machine(), "cores": cores()},
        }
        options.json.write_text(json.dumps(tree, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

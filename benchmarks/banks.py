"""A memory bank searched exactly with torch and with faiss: time a query and resident memory.

    python benchmarks/banks.py [--entries 2069 300000] [--width 1024] [--quick] [--json FILE]

The named peer is faiss's ``IndexFlatIP``, which the bank itself uses from 50,000 entries on. Random vectors
and queries; every query has a patient of its own in the bank, who is not found. Each row is measured in a
process of its own: resident memory is what that process grew by, for the bank with its entries, and for the
first search with what it keeps. Both methods must find the same.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import faiss
import torch

from cxreport.memories.bank import Bank, Entry, Origin
from cxreport.memories.search import Method

PEER = "faiss IndexFlatIP"
REPORT = "the heart is normal in size . the lungs are clear . no effusion or pneumothorax is seen . " * 3


def resident_bytes() -> int:
    """What of this process lies in memory now (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096


def random_bank(entries: int, width: int) -> Bank:
    """Entries with a report of 54 words, two labels and two pictures each; a patient has two."""
    vectors = torch.randn(entries, width, generator=torch.Generator().manual_seed(1))
    made = [
        Entry(
            f"study-{number:012d}",
            f"{number // 2:016x}",
            text=f"{REPORT}{number}",
            labels={"Edema": 1, "Cardiomegaly": 0},
            pictures=(f"{number:064x}", f"{number + 1:064x}"),
        )
        for number in range(entries)
    ]
    return Bank(vectors, made, Origin({"source": "random", "sha256": "0" * 64}))


def measure(options: tuple[int, int, Method, int, int, int]) -> dict[str, Any]:
    """One row, and the places that were found."""
    entries, width, method, queries, repeats, threads = options
    torch.set_num_threads(threads)
    faiss.omp_set_num_threads(threads)
    before = resident_bytes()
    bank = random_bank(entries, width)
    after_bank = resident_bytes()
    asked = torch.randn(queries, width, generator=torch.Generator().manual_seed(2))
    patients = [f"{number * 7 % entries // 2:016x}" for number in range(queries)]

    def search(count: int) -> list[list[int]]:
        places, _ = bank.nearest(asked[:count], 3, patient_ids=patients[:count], method=method)
        found: list[list[int]] = places.tolist()
        return found

    found = search(queries)
    after_search = resident_bytes()
    row: dict[str, Any] = {"entries": entries, "method": method, "found": found}
    for count in (1, queries):
        seconds = []
        for _ in range(repeats):
            start = time.perf_counter()
            search(count)
            seconds.append((time.perf_counter() - start) / count)
        row[f"ms_a_query_batch_{count}"] = 1e3 * statistics.median(seconds)
    row["bank_mb"] = (after_bank - before) / 1e6
    row["search_mb"] = (after_search - after_bank) / 1e6
    row["vectors_mb"] = 4e-6 * entries * width
    return row


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description="Searching a memory bank with torch, beside faiss.")
    parser.add_argument("--entries", type=int, nargs="+", default=[2069, 300_000])
    parser.add_argument("--width", type=int, default=1024, help="numbers of a vector; VMamba-B: 1024")
    parser.add_argument("--batch", type=int, default=16, help="queries at a time, beside 1")
    parser.add_argument("--repeats", type=int, default=9, help="searches; the median counts")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--quick", action="store_true", help="small banks, few repeats")
    parser.add_argument("--json", type=Path, help="write everything here")
    options = parser.parse_args()
    if options.quick:
        options.entries, options.width, options.repeats = [500, 4000], 64, 3
    rows = []
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for entries in options.entries:
            tasks = [
                (entries, options.width, method, options.batch, options.repeats, options.threads)
                for method in ("torch", "faiss")
            ]
            ours, peer = pool.map(measure, tasks, chunksize=1)
            same = ours.pop("found") == peer.pop("found")
            key = f"ms_a_query_batch_{options.batch}"
            ratios = {"ratio_batch_1": peer["ms_a_query_batch_1"] / ours["ms_a_query_batch_1"]}
            ratios[f"ratio_batch_{options.batch}"] = peer[key] / ours[key]
            rows.append({"torch": ours, "faiss": peer, "same_entries": same, **ratios})
    settings = {name: value for name, value in vars(options).items() if name != "json"}
    machine = {"processor": platform.processor() or platform.machine(), "torch": torch.__version__}
    tree = {
        "peer": PEER,
        "rows": rows,
        "settings": settings,
        "machine": machine | {"faiss": faiss.__version__},
    }
    if options.json:
        options.json.write_text(json.dumps(tree, indent=2) + "\n", encoding="utf-8")
    print(f"width {options.width}, {options.threads} thread(s); ratio: time of {PEER} over that of torch")
    header = ("entries", "method", "ms, 1 query", f"ms each of {options.batch}", "bank MB", "search MB")
    print("".join(f"{name:>14}" for name in header))
    for row in rows:
        for method in ("torch", "faiss"):
            one = row[method]
            times = [one["ms_a_query_batch_1"], one[f"ms_a_query_batch_{options.batch}"]]
            print(
                f"{one['entries']:>14,}{method:>14}{times[0]:14.3f}{times[1]:14.3f}"
                f"{one['bank_mb']:14.1f}{one['search_mb']:14.1f}"
            )
        same = "same entries" if row["same_entries"] else "OTHER ENTRIES"
        print(f"{'ratio':>28}{row['ratio_batch_1']:14.2f}{row[f'ratio_batch_{options.batch}']:14.2f}  {same}")


if __name__ == "__main__":
    main()

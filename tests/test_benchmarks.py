"""The benchmarks run and print what their pages promise; how fast they are is not tested."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

PHANTOMS = Path(__file__).resolve().parents[1] / "benchmarks" / "phantoms.py"


def test_phantoms_are_timed_beside_a_named_peer() -> None:
    small = ["--studies", "1", "--size", "32", "--side", "64", "--processes", "1", "--repeats", "1", "--json"]
    done = subprocess.run([sys.executable, str(PHANTOMS), *small], capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    assert result["peer"].startswith("Pillow")
    row = result["one_process"]
    assert row["ratio"] == pytest.approx(row["peer_studies_per_second"] / row["studies_per_second"])


def test_the_scan_is_timed_beside_peers_that_agree() -> None:
    path = PHANTOMS.with_name("encoders.py")
    description = importlib.util.spec_from_file_location("benchmarks_encoders", path)
    assert description is not None
    assert description.loader is not None
    encoders = importlib.util.module_from_spec(description)
    description.loader.exec_module(encoders)
    row = encoders.measure_scans(48, repeats=1)
    assert {"ours", "loop"} <= row["training"].keys()
    assert 0 < row["memory_ratio"] < 2
    rows = [
        {"tokens": tokens, "seconds": {"vision_mamba_tiny": ours, "vit_tiny": vit}}
        for tokens, ours, vit in ((100, 4, 1), (400, 1, 4), (1600, 1, 9))
    ]
    assert encoders.crossover(rows) == pytest.approx(200)
    assert encoders.crossover(rows[1:]) is None

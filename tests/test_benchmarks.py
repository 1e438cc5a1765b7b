"""The benchmarks run and print what their pages promise; how fast they are is not tested."""

from __future__ import annotations

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

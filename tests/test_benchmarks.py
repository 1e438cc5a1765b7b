"""The benchmarks run and print what their pages promise; how fast they are is not tested."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cxreport.cli import app

PHANTOMS = Path(__file__).resolve().parents[1] / "benchmarks" / "phantoms.py"


def test_phantoms_are_timed_beside_a_named_peer() -> None:
    small = ["--studies", "1", "--size", "32", "--side", "64", "--processes", "1", "--repeats", "1", "--json"]
    done = subprocess.run([sys.executable, str(PHANTOMS), *small], capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    assert result["peer"].startswith("Pillow")
    row = result["one_process"]
    assert row["ratio"] == pytest.approx(row["peer_studies_per_second"] / row["studies_per_second"])


def test_image_free_baselines_are_scored_in_the_columns_of_the_benchmark(tmp_path: Path) -> None:
    reports = ["The heart is large.", "Lungs are clear. No effusion.", "Lungs are clear. No effusion."]
    tree = {
        split: [{"id": f"CXR{split}{number}_IM-1", "report": report} for number, report in enumerate(reports)]
        for split in ("train", "val", "test")
    }
    (tmp_path / "annotation.json").write_text(json.dumps(tree))
    script = PHANTOMS.with_name("image_free.py")
    places = [tmp_path / "annotation.json", "--out", tmp_path / "files", "--json", tmp_path / "scores.json"]
    done = subprocess.run(
        [sys.executable, script, *places, "--quick"], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("| BLEU-4 | ROUGE-L | METEOR | CIDEr | P | R | F1 |") == 2
    assert "3 studies; percentile bootstrap over patients" in done.stdout
    scores = json.loads((tmp_path / "scores.json").read_text())["findings.full.clean"]
    assert set(scores) == {"oracle neighbour", "most frequent report", "random report", "all normal"}
    assert scores["oracle neighbour"]["scores"]["chexpert14.rules.macro.uncertain0.f1"]["value"] == 2 / 14
    assert len(scores["random report"]["files"]) == 5


def test_importing_and_reading_are_timed_beside_pillow(tmp_path: Path) -> None:
    script = PHANTOMS.with_name("data.py")
    small = ["--quick", "--rows", "import", "reading", "--side", "64", "--processes", "1"]
    out = tmp_path / "found.json"
    command = [sys.executable, str(script), *small, "--folder", str(tmp_path), "--json", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(out.read_text())
    assert found["peer"].startswith("Pillow")
    row = found["rows"]["import"]
    assert row["jpeg_ratio"] == pytest.approx(row["jpeg_seconds"] / row["peer_seconds"])
    reading = found["rows"]["reading"]
    expected = reading["peer_ms_an_image"] / reading["png_first_epoch_ms_an_image"]
    assert reading["png_first_epoch_ratio"] == pytest.approx(expected)
    assert "jpeg_first_epoch_ratio" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["found.json"]


def test_metrics_are_timed_beside_pycocoevalcap(tmp_path: Path) -> None:
    for package in ("pycocoevalcap", "torchxrayvision"):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    options = ["--quick", "--rows", "words,bootstrap", "--json", str(tmp_path / "speed.json")]
    script = PHANTOMS.with_name("metrics.py")
    subprocess.run([sys.executable, script, *options], capture_output=True, check=True)
    result = json.loads((tmp_path / "speed.json").read_text())
    row = result["rows"]["words"]
    assert row["peer"].startswith("pycocoevalcap")
    assert row["ratio"] == pytest.approx(row["peer_seconds"] / row["seconds"])
    assert row["largest_difference"] < 1e-9
    assert result["rows"]["bootstrap"]["scores"] > 20
    assert result["pairs"] == 200


def test_banks_are_searched_beside_faiss_and_find_the_same(tmp_path: Path) -> None:
    script = PHANTOMS.with_name("banks.py")
    command = [sys.executable, str(script), "--quick", "--json", str(tmp_path / "banks.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads((tmp_path / "banks.json").read_text())
    assert found["peer"].startswith("faiss")
    assert [row["torch"]["entries"] for row in found["rows"]] == [500, 4000]
    assert all(row["same_entries"] for row in found["rows"])
    row = found["rows"][1]
    expected = row["faiss"]["ms_a_query_batch_16"] / row["torch"]["ms_a_query_batch_16"]
    assert row["ratio_batch_16"] == pytest.approx(expected)
    assert "4,000" in done.stdout


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


def test_contours_are_compared_with_the_rectangle_on_phantoms_and_on_boxes(tmp_path: Path) -> None:
    script, out = PHANTOMS.with_name("contour.py"), tmp_path / "found.json"
    make = ["phantom", "make", "--studies", "12", "--size", "64", "--out", str(tmp_path / "data")]
    assert CliRunner().invoke(app, make).exit_code == 0
    options = ["--real", str(tmp_path / "data"), "--json", str(out)]
    subprocess.run([sys.executable, str(script), *options], check=True, capture_output=True)
    found = json.loads(out.read_text())
    assert found["boxed_images"] > 0
    scores = {name: score["value"] for name, score in found["scores"].items()}
    gap = scores["contour: box inside"] - scores["rectangle: box inside"]
    assert scores["contour - rectangle: box inside"] == pytest.approx(gap)
    assert scores["rectangle: size"] == pytest.approx(128 * 160 / 256**2)


def test_drafting_is_timed_beside_naive_decoding(tmp_path: Path) -> None:
    """Whatever is kept or computed anew, the same texts are written."""
    script, out = PHANTOMS.with_name("generators.py"), tmp_path / "found.json"
    command = [sys.executable, str(script), "--quick", "--only", "mambaxray", "--json", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    [row] = json.loads(out.read_text())["mambaxray"]
    assert row["same_texts"] == {"nothing kept": True, "every report by itself": True}
    assert row["reports_per_second"] == pytest.approx(2 / row["seconds"]["ours"])
    for peer, ratio in row["times_as_fast"].items():
        assert ratio == pytest.approx(row["seconds"][peer] / row["seconds"]["ours"])
        assert f"{peer}: {ratio:.2f}" in done.stdout

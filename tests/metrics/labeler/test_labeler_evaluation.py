"""The labeler against human codes: the mapping of codes, and floors that its scores must not fall below."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from cxreport.phantom.openi import OpeniReport
from cxreport.study import LABELS, Report

SCRIPT = Path(__file__).resolve().parents[3] / "benchmarks" / "labeler.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("labeler_benchmark", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("codes", "labels"),
    [
        (("Pleural Effusion/left/small",), {"Pleural Effusion"}),
        (("Cardiac Shadow/enlarged/mild",), {"Cardiomegaly"}),
        (("Cardiac Shadow/irregular",), set()),
        (("Opacity/lung/base/left",), {"Lung Opacity"}),
        (("Opacity/lung/upper lobe/round",), {"Lung Lesion"}),
        (("Density/ribs/left",), set()),
        (("Hydropneumothorax/right",), {"Pneumothorax", "Pleural Effusion"}),
        (("Thickening/pleura/apex",), {"Pleural Other"}),
        (("normal",), {"No Finding"}),
        (("Catheters, Indwelling/right",), {"Support Devices", "No Finding"}),
        (("Catheters, Indwelling/right", "Scoliosis"), {"Support Devices"}),
        ((), set()),
    ],
)
def test_codes_give_labels(benchmark: ModuleType, codes: tuple[str, ...], labels: set[str]) -> None:
    (row,) = benchmark.mesh_truth([OpeniReport("CXR1", Report(), codes, ())])
    assert {label for label, given in zip(LABELS, row, strict=True) if given} == labels


def test_scores_by_hand(benchmark: ModuleType) -> None:
    import numpy as np

    truth, drafted = np.array([1, 1, 1, 0, 0], dtype=bool), np.array([1, 1, 0, 1, 0], dtype=bool)
    score = benchmark.scores({"x": truth, "y": ~truth}, {"x": drafted, "y": ~truth})["x"]
    assert (score["positives"], score["fp"], score["fn"]) == (3, 1, 1)
    assert [score[name]["value"] for name in ("precision", "recall", "f1")] == pytest.approx([2 / 3] * 3)
    assert score["f1"]["ci95"][0] <= 2 / 3 <= score["f1"]["ci95"][1]


def test_the_scores_on_open_i_stay_above_their_floors(benchmark: ModuleType, shared: Path) -> None:
    """The targets of the labeler, on all reports; the policies are those that the development half chose."""
    result, _ = benchmark.openi(shared / "data" / "iu_xray" / "NLMCXR_reports.tgz", quick=False)
    rows = result["tables"]["all"]["labels"]
    f1 = {label: rows[label][result["policy"][label]]["f1"]["value"] for label in LABELS}
    floors = {"Pleural Effusion": 0.90, "Cardiomegaly": 0.90, "Pneumothorax": 0.90, "Atelectasis": 0.85}
    assert {label: f1[label] for label, floor in floors.items() if f1[label] < floor} == {}
    assert result["tables"]["all"]["macro_f1"]["chosen"] >= 0.85
    assert result["tables"]["held out"]["macro_f1"]["chosen"] >= 0.85


def test_one_command_writes_both_tables(tmp_path: Path, shared: Path) -> None:
    archive = shared / "data" / "iu_xray" / "NLMCXR_reports.tgz"
    numbers, tables = tmp_path / "labeler.json", tmp_path / "labeler.md"
    arguments = ["--openi", archive, "--quick", "--json", numbers, "--markdown", tables, "--sample", "1"]
    subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], check=True, capture_output=True, text=True)
    result = json.loads(numbers.read_text(encoding="utf-8"))
    assert set(result["openi"]["tables"]) == {"development", "held out", "all"}
    assert set(result["openi"]["policy"]) == set(LABELS)
    assert "| Pleural Effusion | Pleural Effusion; Hydropneumothorax;" in tables.read_text(encoding="utf-8")

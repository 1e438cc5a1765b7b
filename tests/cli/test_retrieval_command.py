"""``cxreport retrieval`` on a contrastive run that the command line made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cxreport.cli import app
from cxreport.data.sources.phantom import SOURCE_VERSION, options_of, phantom_studies
from cxreport.data.store import write_dataset

SMALL = (
    *("objective.text.vocabulary=400", "objective.text.width=16", "objective.text.layers=1"),
    *("objective.text.heads=2", "objective.width=16", "training.epochs=1", "training.batch_size=8"),
    *(
        "data.image_size=32",
        "encoder.width=16",
        "encoder.depths=[1]",
        "encoder.heads=[2]",
        "encoder.patch=16",
    ),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms") / "data"
    write_dataset(
        phantom_studies(40, 32, "grammar", 5),
        folder,
        source="phantom",
        source_version=SOURCE_VERSION,
        options=options_of(40, 32, "grammar", 5),
    )
    return folder


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("contrastive") / "run"
    sets = [word for change in SMALL for word in ("--set", change)]
    arguments = ["pretrain", "contrastive", "--encoder", "vit_tiny", "--data", str(data), "--out", str(out)]
    done = CliRunner().invoke(app, [*arguments, *sets], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "image to report, identical" in done.output
    return out


def test_a_run_tells_how_well_val_is_found(run: Path, data: Path) -> None:
    told = json.loads((run / "retrieval.json").read_text())
    assert told["split"] == "val"
    assert set(told["retrieval"]) == {"identical", "own"}
    again = CliRunner().invoke(app, ["retrieval", str(run), str(data), "--split", "val", "--json"])
    assert json.loads(again.stdout) == told


def test_scores_of_the_test_split_are_written(run: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.json"
    arguments = ["retrieval", str(run / "model"), str(data), "--out", str(out), "--min-positives", "1"]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    scores = json.loads(out.read_text())
    count = scores["studies"]
    assert f"{count} studies of test" in done.stderr
    for direction in ("image_to_report", "report_to_image"):
        own = scores["retrieval"]["own"][direction]
        assert own["R@1"]["chance"] == pytest.approx(1 / count)
        assert own["R@5"]["chance"] == pytest.approx(min(1, 5 / count))
        identical = scores["retrieval"]["identical"][direction]
        assert identical["R@5"]["value"] >= own["R@5"]["value"] - 1e-12
    findings = scores["zero_shot"]["findings"]
    assert findings["labels"]
    assert all(row["positives"] >= 1 for row in findings["labels"].values())
    assert "Support Devices" in scores["zero_shot"]["labels"]["labels"]
    assert "zero-shot" in done.stdout


def test_what_is_no_contrastive_run_is_told(data: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["retrieval", str(tmp_path), str(data)])
    assert done.exit_code == 1
    assert "is not a folder of encoder weights" in done.stderr

"""``cxreport classify``: from a run to scores, with what val decided kept, and what is refused."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cxreport.cli import app
from cxreport.data.store import PreparedDataset, write_dataset
from cxreport.pretraining import PretrainRecipe
from cxreport.study import Finding, Study, View
from cxreport.training import Weighted, pretrain

BOX = (0.0, 0.0, 0.5, 1.0)


def study(number: int, split: Any, *, labelled: bool = True) -> Study:
    """A bright left half is an effusion, a study in four; the last of a split is uncertain of edema."""
    rng = np.random.default_rng(number)
    pixels = rng.integers(0, 120, (32, 32), dtype=np.uint8)
    sick = number % 4 == 0
    if sick:
        pixels[:, :16] += 100
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG")
    labels = {
        "Pleural Effusion": int(sick),
        "Edema": -1 if number % 10 == 9 else 0,
        "No Finding": int(not sick),
    }
    findings = (Finding("pleural_effusion", "right", boxes={"frontal": BOX}),) if sick else ()
    view = View(png.getvalue(), 32, 32, "frontal")
    return Study(f"s{number}", f"p{number}", (view,), split=split, labels=labels if labelled else {},
                 findings=findings if labelled else None)  # fmt: skip


def dataset_of(folder: Path, *, labelled: bool = True, val: int = 20) -> PreparedDataset:
    splits = ["train"] * 40 + ["val"] * val + ["test"] * 20
    studies = [study(number, split, labelled=labelled) for number, split in enumerate(splits)]
    return write_dataset(studies, folder, source="halves", source_version="1", options={})


def recipe(**objective: Any) -> PretrainRecipe:
    tree = {
        "name": "t",
        "data": {"image_size": 32},
        "encoder": {"name": "resnet_small", "width": 4},
        "objective": {"name": "disease", "smoothing": 0, **objective},
        "training": {"epochs": 6, "batch_size": 8, "learning_rate": 0.01},
    }
    return PretrainRecipe.parse(tree)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[PreparedDataset, Path]:
    folder = tmp_path_factory.mktemp("classify")
    dataset = dataset_of(folder / "data")
    queries = {"width": 16, "layers": 1, "heads": 2, "feed_forward": 16}
    pretrain(recipe(queries=queries), [Weighted(dataset)], folder / "run")
    return dataset, folder / "run"


def classify(*arguments: Any) -> Any:
    return CliRunner().invoke(app, ["classify", *map(str, arguments)], catch_exceptions=False)


def test_a_run_is_scored_and_what_val_decided_is_kept(
    made: tuple[PreparedDataset, Path], tmp_path: Path
) -> None:
    dataset, run = made
    files = {name: tmp_path / name for name in ("scores.json", "predictions.jsonl", "maps.png")}
    written = ("--out", files["scores.json"], "--predictions", files["predictions.jsonl"])
    done = classify(run, dataset.path, *written, "--maps", files["maps.png"], "--min-positives", 5)
    assert done.exit_code == 0, done.output
    assert "mean of the 2 with *" in done.stdout
    assert "Not for diagnosis" in done.stderr
    scores = json.loads(files["scores.json"].read_text())
    assert scores["protocol"] == "labels.test"
    assert scores["labels"]["Pleural Effusion"]["auroc"]["value"] == 1.0
    assert scores["labels"]["Edema"] | {"threshold": None} == scores["labels"]["Edema"]
    assert scores["labels"]["Edema"]["negatives"] == 18
    assert scores["macro"]["labels"] == ["Pleural Effusion", "No Finding"]
    assert set(scores["pointing"]) == {"saliency", "grad-cam", "attention"}
    assert scores["pointing"]["grad-cam"]["hit"]["n"] == 5
    assert scores["pointing"]["grad-cam"]["chance"]["value"] == pytest.approx(0.5)
    lines = [json.loads(line) for line in files["predictions.jsonl"].read_text().splitlines()]
    assert [line["study_id"] for line in lines] == [f"s{number}" for number in range(60, 80)]
    assert lines[0]["present"] == ["Pleural Effusion"]
    assert "Edema" not in lines[9]["truth"]
    assert lines[0]["truth"]["Pleural Effusion"] == 1
    with Image.open(files["maps.png"]) as picture:
        assert picture.width == 5 * 256
    kept = json.loads((run / "calibration.json").read_text())
    assert kept["studies"] == 20
    assert kept["dataset_sha256"] == dataset.sha256
    assert kept["temperature"] == scores["calibration"]["temperature"]
    (run / "calibration.json").write_text(json.dumps(kept | {"temperature": 2.0}))
    again = json.loads(classify(run, dataset.path, "--json").stdout)
    assert again["calibration"]["temperature"] == 2.0
    anew = classify(run, dataset.path, "--json", "--calibrate", dataset.path)
    assert json.loads(anew.stdout)["calibration"] == scores["calibration"]


def test_data_without_labels_is_classified_and_not_scored(
    made: tuple[PreparedDataset, Path], tmp_path: Path
) -> None:
    dataset, run = made
    bare = dataset_of(tmp_path / "bare", labelled=False)
    done = classify(run, bare.path, "--calibrate", dataset.path, "--predictions", tmp_path / "p.jsonl",
                    "--maps", tmp_path / "m.png")  # fmt: skip
    assert done.exit_code == 0
    assert "nothing is scored" in done.stderr
    assert "No finding has a box" in done.stderr
    assert json.loads((tmp_path / "p.jsonl").read_text().splitlines()[0])["truth"] == {}
    scored = classify(run, bare.path, "--out", tmp_path / "s.json")
    assert scored.exit_code == 1
    assert "The test split of" in scored.stderr
    assert "no labels to score against" in scored.stderr
    refused = classify(run, dataset.path, "--calibrate", bare.path)
    assert "has no labels, which decide" in refused.stderr
    no_val = dataset_of(tmp_path / "no_val", val=0)
    assert "has no val split" in classify(run, no_val.path, "--calibrate", no_val.path).stderr


def test_what_does_not_fit_is_told(made: tuple[PreparedDataset, Path], tmp_path: Path) -> None:
    dataset, run = made
    masked = {"name": "masked", "strategy": "random", "decoder_width": 8, "decoder_depth": 1,
              "decoder_heads": 2, "ratio": 0.5}  # fmt: skip
    tree = recipe().model_dump(mode="json") | {"objective": masked}
    tree["encoder"] = {"name": "vit_tiny", "width": 8, "depths": [1], "heads": [2], "patch": 8}
    tree["training"] = {"epochs": 1}
    pretrain(PretrainRecipe.parse(tree), [Weighted(dataset)], tmp_path / "masked")
    assert "holds no classifier" in classify(tmp_path / "masked", dataset.path).stderr
    bare = dataset_of(tmp_path / "bare", labelled=False)
    arguments = ["pretrain", "disease", "--data", str(bare.path), "--out", str(tmp_path / "none")]
    told = CliRunner().invoke(app, arguments)
    assert told.exit_code == 1
    assert f"No training study of {bare.path} has one of the 14 labels" in told.stderr
    other = tmp_path / "other"
    pretrain(recipe(labels=["Edema", "Pleural Effusion"]), [Weighted(dataset)], other)
    (other / "calibration.json").write_text((run / "calibration.json").read_text())
    assert "belongs to other weights" in classify(other, dataset.path).stderr
    (other / "calibration.json").write_text("[")
    assert "calibration.json cannot be read" in classify(other, dataset.path).stderr


def test_a_broken_run_resumes_to_the_same_weights(
    made: tuple[PreparedDataset, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, _ = made
    chosen = recipe(queries={"width": 16, "layers": 1, "heads": 2, "feed_forward": 16, "dropout": 0.2})
    pretrain(chosen, [Weighted(dataset)], tmp_path / "whole")

    def stop(*_: Any) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        path = "cxreport.training.throughput.Throughput.on_train_epoch_start"
        patch.setattr(path, lambda self, trainer, module: trainer.current_epoch == 2 and stop())
        with pytest.raises(RuntimeError, match="killed"):
            pretrain(chosen, [Weighted(dataset)], tmp_path / "run")
    pretrain(chosen, [Weighted(dataset)], tmp_path / "run", resume=True)
    for name in ("model.safetensors", "objective.safetensors"):
        whole, resumed = (tmp_path / run / "model" / name for run in ("whole", "run"))
        assert whole.read_bytes() == resumed.read_bytes()
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["positives"]["Pleural Effusion"] == 10

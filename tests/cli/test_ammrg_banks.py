"""``cxreport bank make --kind disease`` and ``--kind report``, and a generator that looks both up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from generators.tiny_language import words_folder
from typer.testing import CliRunner

from cxreport.cli import app
from cxreport.encoders import build_encoder
from cxreport.objectives.disease import DiseaseClassification
from cxreport.objectives.folder import save_objective
from cxreport.options import EncoderOptions
from cxreport.pretraining import DiseaseOptions, PretrainRecipe

ENCODER = EncoderOptions(width=4)
RECIPE = """
name: tiny
data: {{image_size: 32, views: [frontal], max_views: 1, augment: false}}
model:
  generator: ammrg
  encoder: {{width: 4}}
  language_model: {{path: {language}, tuning: full}}
  queries: {{width: 8, layers: 1, heads: 2, feed_forward: 8}}
  query_count: 3
  memory: {{heads: 2, head_width: 4}}
  prompt: none
training: {{epochs: 1, batch_size: 4}}
decoding: {{method: greedy, max_length: 4}}
"""


def run(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ammrg") / "data"
    assert run("phantom", "make", "--out", folder, "--studies", 14, "--size", 32).exit_code == 0
    return folder


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the objective disease, untrained, with and without queries in ``run`` and ``plain``."""
    folder = tmp_path_factory.mktemp("classifier")
    for name, queries in (("run", {"width": 8, "layers": 1, "heads": 2, "feed_forward": 8}), ("plain", None)):
        recipe = PretrainRecipe.parse(
            {
                "name": "tiny",
                "data": {"image_size": 32},
                "encoder": ENCODER.model_dump(mode="json"),
                "objective": {"name": "disease", "queries": queries},
            }
        )
        assert isinstance(recipe.objective, DiseaseOptions)
        torch.manual_seed(1)
        made = DiseaseClassification(build_encoder(ENCODER), recipe.objective)
        save_objective(folder / name / "model", made, ENCODER, recipe, {})
    return folder


def test_banks_training_drafts_and_their_evidence(data: Path, classifier: Path, tmp_path: Path) -> None:
    visual, reports = tmp_path / "visual", tmp_path / "reports"
    made = run("bank", "make", data, "--kind", "disease", "--encoder", classifier / "run", "--out", visual)
    assert made.exit_code == 0, made.output
    assert "entries of disease of width 8" in made.stdout
    assert "entries of patches of width 32" in made.stdout
    made = run("bank", "make", data, "--kind", "report", "--encoder", words_folder(), "--out", reports)
    assert made.exit_code == 0, made.output
    facts = json.loads(run("bank", "show", visual, "--data", data, "--json").stdout)
    assert facts.keys() == {"disease", "patches"}
    assert facts["disease"]["split"] == "train"
    assert f"No study of val or test of {data}" in run("bank", "show", reports, "--data", data).stdout
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(RECIPE.format(language=words_folder()), encoding="utf-8")
    banks = ("--set", f"model.visual_bank={visual}", "--set", f"model.report_bank={reports}")
    out = tmp_path / "run"
    trained = run("train", recipe, "--data", data, "--out", out, *banks)
    assert trained.exit_code == 0, trained.output
    for folder in (visual, reports):
        folder.rename(tmp_path / f"{folder.name}-gone")  # the model folder holds its banks
    drafted = run(
        "generate", out, data, "--split", "test", "--evidence", "scores", "--out", tmp_path / "p.jsonl"
    )
    assert drafted.exit_code == 0, drafted.output
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    told = [sentence["bank"] for line in lines for sentence in line["evidence"]]
    assert told
    assert all(len(entries) == 6 for entries in told)
    shown = json.loads(run("bank", "show", out, "--data", data, "--json").stdout)
    assert shown.keys() == {"disease", "patches", "reports"}
    provenance = json.loads((out / "model" / "provenance.json").read_text())
    assert [bank["sha256"] for bank in provenance["banks"]] == [shown[name]["sha256"] for name in shown]


def test_what_does_not_fit(data: Path, classifier: Path, tmp_path: Path) -> None:
    words = ("bank", "make", data, "--out", tmp_path / "bank", "--kind")
    assert (
        "--pooling is for --kind report"
        in run(*words, "disease", "--encoder", "x", "--pooling", "mean").output
    )
    assert "--size is for banks of images" in run(*words, "report", "--encoder", "x", "--size", 32).output
    none = run(*words, "report", "--encoder", tmp_path / "nowhere")
    assert none.exit_code == 1
    assert "--encoder: " in none.output
    plain = run(
        *words, "disease", "--encoder", classifier / "plain", "--out", tmp_path / "plain", "--most", 2
    )
    assert plain.exit_code == 0
    assert "no disease queries: the bank has patches and no disease tokens" in plain.output
    assert sorted(path.name for path in (tmp_path / "plain").iterdir()) == [
        "patches.json",
        "patches.jsonl",
        "patches.safetensors",
    ]
    again = run(*words, "disease", "--encoder", classifier / "run", "--out", tmp_path / "plain")
    assert again.exit_code == 1
    assert "is not empty" in again.output

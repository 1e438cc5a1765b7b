"""``cxreport bank``: from an encoder of any folder, shown, and refused against held-out studies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from cxreport.checkpoints import load_model, save_model
from cxreport.checkpoints.feature_source import open_features
from cxreport.cli import app
from cxreport.data.batch import StudyImages, collate
from cxreport.data.store import PreparedDataset
from cxreport.encoders import build_encoder
from cxreport.encoders.folder import save_encoder
from cxreport.errors import UserError
from cxreport.generators import generator_class
from cxreport.generators.base import TrainStudies
from cxreport.generators.r2gen import R2Gen
from cxreport.memories.bank import Bank
from cxreport.model_options import R2GenOptions
from cxreport.options import EncoderOptions
from cxreport.recipe import Recipe

ENCODER = EncoderOptions(width=4)


def run(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("banks") / "data"
    assert run("phantom", "make", "--out", folder, "--studies", 10, "--size", 32).exit_code == 0
    return folder


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    save_encoder(tmp_path / "encoder", build_encoder(ENCODER), ENCODER, {})
    return tmp_path / "encoder"


def test_made_shown_and_not_made_again(data: Path, encoder: Path, tmp_path: Path) -> None:
    words = ("bank", "make", data, "--encoder", encoder, "--out", tmp_path / "bank", "--size", 32)
    done = run(*words)
    assert done.exit_code == 0, done.output
    assert "7 entries of width 32 from 7 train studies" in done.stdout
    shown = run("bank", "show", tmp_path / "bank", "--data", data, "--json")
    facts = json.loads(shown.stdout)
    dataset = PreparedDataset.open(data)
    assert (facts["entries"], facts["split"], facts["dataset"]["sha256"]) == (7, "train", dataset.sha256)
    assert facts["data"]["image_size"] == 32
    assert "No study of val or test" in run("bank", "show", tmp_path / "bank", "--data", data).stdout
    again = run(*words)
    assert again.exit_code == 1
    assert "already" in again.stderr


def test_a_planted_test_report_is_refused(data: Path, encoder: Path, tmp_path: Path) -> None:
    out = tmp_path / "bank"
    run("bank", "make", data, "--encoder", encoder, "--out", out, "--size", 32)
    bank = Bank.load(out)
    lines = (out / "bank.jsonl").read_text().splitlines()
    test = PreparedDataset.open(data).split("test")[0]
    lines[3] = json.dumps(json.loads(lines[3]) | {"text": test.report.findings})
    (out / "bank.jsonl").write_text("\n".join(lines) + "\n")
    edited = run("bank", "show", out, "--data", data)
    assert edited.exit_code == 1
    assert "bank.jsonl is damaged or was edited" in edited.stderr
    planted = [type(bank.entries[0])(test.study_id, test.patient_id), *bank.entries[1:]]
    Bank(bank.vectors, planted, bank.origin).save(out)
    refused = run("bank", "show", out, "--data", data)
    assert refused.exit_code == 1
    assert f"study {test.study_id} is of the test split" in refused.stderr


def test_the_vectors_are_the_encoders_whatever_folder_it_is_in(
    data: Path, encoder: Path, tmp_path: Path
) -> None:
    torch.manual_seed(2)
    recipe = Recipe.parse(
        {
            "name": "tiny",
            "data": {"image_size": 32},
            "model": {
                "generator": "r2gen",
                "encoder": {"width": 4},
                "width": 24,
                "heads": 4,
                "memory_heads": 3,
            },
        }
    )
    assert isinstance(recipe.model, R2GenOptions)
    save_model(
        tmp_path / "run" / "model", R2Gen.build(recipe.model, TrainStudies(["no effusion ."])), recipe, {}
    )
    studies = PreparedDataset.open(data).split("train")[:2]
    images = StudyImages(studies, recipe.data, augment=False, seed=0)
    batch = collate([images[0], images[1]])
    generator, _ = load_model(tmp_path / "run" / "model")
    found = open_features(tmp_path / "run")
    assert torch.equal(found.features(batch), generator.features(batch))
    assert found.data == recipe.data
    alone = open_features(encoder)
    torch.manual_seed(1)
    own = build_encoder(ENCODER).eval()
    expected = torch.stack([own(study).pooled.mean(dim=0) for study in batch.images])
    torch.testing.assert_close(alone.features(batch), expected, atol=1e-6, rtol=1e-5)
    assert alone.encoder["name"] == ENCODER.name
    assert alone.encoder["sha256"] != found.encoder["sha256"]


def test_a_generator_without_an_encoder(tmp_path: Path) -> None:
    recipe = Recipe.parse({"name": "tiny", "model": {"generator": "most_frequent"}})
    generator = generator_class("most_frequent").build(recipe.model, TrainStudies(["no effusion ."]))
    save_model(tmp_path / "model", generator, recipe, {})
    with pytest.raises(UserError, match="is a most_frequent, which has no image encoder"):
        open_features(tmp_path)


def test_a_folder_without_an_encoder(tmp_path: Path) -> None:
    for text in ("{}", "no JSON", '{"format": "astrology"}'):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(UserError, match="has no encoder; name a run folder"):
            open_features(tmp_path)

"""The stages of MambaXray-VL: recipes by name, and weights that pass from stage 1 to stage 2."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from cxreport.data.store import PreparedDataset, write_dataset
from cxreport.encoders import build_encoder
from cxreport.errors import UserError
from cxreport.options import EncoderOptions
from cxreport.pretraining import PretrainRecipe
from cxreport.recipe import Recipe
from cxreport.study import Report, Study, View
from cxreport.training import Weighted, pretrain

STAGES = ("stage1", "stage1_small", "stage2", "stage2_small")
SHAPE = {"width": 16, "depths": [4], "state_size": 2, "patch": 8}
CAUSAL = {"name": "vision_mamba_tiny_causal", **SHAPE}
FOUR = {"name": "vision_mamba_tiny", **SHAPE}
TEXT = {"vocabulary": 400, "width": 16, "layers": 1, "heads": 2}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    rng = np.random.default_rng(0)
    studies = []
    for number in range(6):
        png = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (64, 64), dtype=np.uint8)).save(png, "PNG")
        views = (View(png.getvalue(), 64, 64, "frontal"),)
        report = Report(findings=f"the lungs are clear . case {number} .")
        split: Any = "train" if number < 4 else "val"
        studies.append(Study(f"s{number}", f"p{number}", views, report, split=split))
    folder = tmp_path_factory.mktemp("stages") / "data"
    return write_dataset(studies, folder, source="noise", source_version="1", options={})


def recipe(encoder: dict[str, Any], objective: dict[str, Any], **training: Any) -> PretrainRecipe:
    options = {"epochs": 1, "batch_size": 4, "keep": "last", **training}
    tree = {"name": "t", "data": {"image_size": 64}, "encoder": encoder, "objective": objective}
    return PretrainRecipe.parse({**tree, "training": options})


@pytest.mark.parametrize("stage", STAGES)
def test_stages_load_by_the_name_of_their_system(stage: str) -> None:
    found = PretrainRecipe.load(f"mambaxray/{stage}")
    assert found.name == f"mambaxray-{stage}"
    assert found.objective.name == ("autoregressive" if "1" in stage else "contrastive")
    with pytest.raises(UserError, match="a recipe of `cxreport pretrain`"):
        Recipe.load(f"mambaxray/{stage}")
    with pytest.raises(UserError, match="did you mean mambaxray/stage"):
        PretrainRecipe.load(f"mambaxray/{stage}x")


def test_small_stages_fit_each_other_and_published_ones_too() -> None:
    for size in ("", "_small"):
        first, second = (PretrainRecipe.load(f"mambaxray/stage{number}{size}") for number in (1, 2))
        assert first.encoder.name == f"{second.encoder.name}_causal"
        assert first.encoder.depths == second.encoder.depths
    published: Any = PretrainRecipe.load("mambaxray/stage2").objective
    assert published.width == 2048
    assert published.text.name == "emilyalsentzer/Bio_ClinicalBERT"


def test_stage_two_begins_with_the_scan_of_stage_one_in_all_directions(
    dataset: PreparedDataset, tmp_path: Path
) -> None:
    first = recipe(CAUSAL, {"name": "autoregressive", "decoder_width": 64}, learning_rate=0.01)
    pretrain(first, [Weighted(dataset)], tmp_path / "one")
    weights = load_file(tmp_path / "one" / "model" / "model.safetensors")
    start = {**FOUR, "init": str(tmp_path / "one" / "model")}
    learnt = build_encoder(EncoderOptions(**start, image_size=64)).state_dict()
    fresh = build_encoder(EncoderOptions(**FOUR, image_size=64)).state_dict()
    copied = 0
    for name, value in weights.items():
        if name.startswith("norm."):
            assert torch.equal(learnt[name], fresh[name])  # the last norm starts fresh, as published
        elif value.shape == learnt[name].shape:
            assert torch.equal(value, learnt[name]), name
        elif name != "positions":
            assert learnt[name].numel() == 4 * value.numel(), name
            parts = learnt[name].flatten().chunk(4)
            assert all(torch.equal(part, value.flatten()) for part in parts), name
            copied += 1
    assert copied >= 4 * 4
    assert set(learnt) - set(weights) == {"class_token"}
    assert any(not torch.equal(value, fresh[name]) for name, value in learnt.items())
    second = recipe(start, {"name": "contrastive", "text": TEXT, "width": 16}, learning_rate=1e-12)
    pretrain(second, [Weighted(dataset)], tmp_path / "two")
    after = load_file(tmp_path / "two" / "model" / "model.safetensors")
    del after["class_token"]  # drawn anew
    assert all(torch.allclose(value, learnt[name], atol=1e-6) for name, value in after.items())
    facts = json.loads((tmp_path / "two" / "run.json").read_text())
    assert facts["encoder_init"]["encoder"] == "vision_mamba_tiny_causal"
    wider = recipe({**start, "width": 32}, {"name": "contrastive", "text": TEXT, "width": 16})
    with pytest.raises(UserError, match="does not fit"):
        pretrain(wider, [Weighted(dataset)], tmp_path / "wider")
    deeper = recipe({**start, "depths": [5]}, {"name": "contrastive", "text": TEXT, "width": 16})
    with pytest.raises(UserError, match="lacks"):
        pretrain(deeper, [Weighted(dataset)], tmp_path / "deeper")

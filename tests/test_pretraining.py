"""Pre-training: resuming, folders that load as encoders, mixtures, contours, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from cxreport.data.batch import EpochSampler
from cxreport.data.store import PreparedDataset, write_dataset
from cxreport.encoders import build_encoder
from cxreport.errors import UserError
from cxreport.objectives import chests
from cxreport.objectives.folder import load_objective
from cxreport.objectives.masked import MaskedAutoencoder
from cxreport.options import EncoderOptions
from cxreport.pretraining import PretrainRecipe
from cxreport.study import Report, Study, View
from cxreport.training import Weighted, pretrain
from cxreport.training.state import load_state

SHIPPED = sorted((Path(__file__).resolve().parents[1] / "recipes" / "pretrain").glob("*.yaml"))
ENCODER = {"name": "vit_tiny", "width": 16, "depths": [1], "heads": [2]}
MASKED = {"name": "masked", "strategy": "random", "ratio": 0.5, "decoder_width": 16, "decoder_depth": 1,
          "decoder_heads": 2}  # fmt: skip
CAUSAL = {"name": "vision_mamba_tiny_causal", "width": 16, "depths": [4], "state_size": 2, "patch": 8}
NEXT = {"name": "autoregressive", "decoder_width": 64}


def make_dataset(folder: Path, train: int = 10, val: int = 2, seed: int = 0) -> PreparedDataset:
    """Images of noise without reports; the last training image is constant."""
    rng = np.random.default_rng(seed)
    studies = []
    for number in range(train + val):
        pixels = rng.integers(0, 256, (64, 64), dtype=np.uint8)
        if number == train - 1:
            pixels[:] = 7
        png = io.BytesIO()
        Image.fromarray(pixels).save(png, "PNG")
        view = View(png.getvalue(), 64, 64, "frontal")
        split = "train" if number < train else "val"
        studies.append(Study(f"s{number}", f"p{number}", (view,), Report(), split=split))
    return write_dataset(studies, folder, source="noise", source_version="1", options={"seed": seed})


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return make_dataset(tmp_path_factory.mktemp("noise") / "data")


def recipe(
    encoder: dict[str, Any] = ENCODER, objective: dict[str, Any] = MASKED, size: int = 64, **training: Any
) -> PretrainRecipe:
    options = {"epochs": 3, "batch_size": 4, "learning_rate": 0.01, "keep": "last", **training}
    tree = {"name": "t", "data": {"image_size": size}, "encoder": encoder, "objective": objective}
    return PretrainRecipe.parse({**tree, "training": options})


def log_of(run: Path) -> list[dict[str, str]]:
    with (run / "log.csv").open(newline="") as file:
        return [{name: row[name] for name in row if name != "seconds"} for row in csv.DictReader(file)]


def tensors(run: Path) -> dict[str, torch.Tensor]:
    encoder = load_file(run / "model" / "model.safetensors")
    rest = load_file(run / "model" / "objective.safetensors")
    return {f"encoder.{name}": value for name, value in encoder.items()} | rest


def kill_in_epoch(
    epoch: int, chosen: PretrainRecipe, data: PreparedDataset, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leave a run as a kill at the start of `epoch` (from 1) does."""

    def stop(self: Any, trainer: Any, module: Any) -> None:
        if trainer.current_epoch == epoch - 1:
            raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr("cxreport.training.throughput.Throughput.on_train_epoch_start", stop)
        with pytest.raises(RuntimeError, match="killed"):
            pretrain(chosen, [Weighted(data)], out)


@pytest.mark.parametrize(("encoder", "objective"), [(ENCODER, MASKED), (CAUSAL, NEXT)])
def test_a_broken_run_resumes_to_the_same_weights_and_its_folder_is_an_encoder(
    dataset: PreparedDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    encoder: dict[str, Any],
    objective: dict[str, Any],
) -> None:
    chosen = recipe(encoder, objective)
    pretrain(chosen, [Weighted(dataset)], tmp_path / "whole")

    kill_in_epoch(3, chosen, dataset, tmp_path / "run", monkeypatch)
    assert load_state(tmp_path / "run" / "last.safetensors")["epoch"] == 1
    torch.rand(3)
    pretrain(chosen, [Weighted(dataset)], tmp_path / "run", resume=True)
    whole = tensors(tmp_path / "whole")
    assert all(torch.equal(value, whole[name]) for name, value in tensors(tmp_path / "run").items())
    assert log_of(tmp_path / "run") == log_of(tmp_path / "whole")
    with Image.open(tmp_path / "run" / "reconstructions.png") as picture:
        panels = 4 if objective["name"] == "masked" else 3
        assert picture.size == (panels * 64, 2 * 64)
    model = tmp_path / "run" / "model"
    taken = build_encoder(EncoderOptions(**encoder, image_size=64, init=str(model)))
    assert all(torch.equal(value, whole[f"encoder.{name}"]) for name, value in taken.state_dict().items())
    again = load_objective(model).state_dict()
    assert again.keys() == whole.keys()
    assert all(torch.equal(value, whole[name]) for name, value in again.items())
    wider = recipe({**encoder, "width": 32, "init": str(model)}, objective)
    with pytest.raises(UserError, match=r"does not fit .*another shape"):
        pretrain(wider, [Weighted(dataset)], tmp_path / "wider")


def test_contours_that_are_not_found_are_counted(dataset: PreparedDataset, tmp_path: Path) -> None:
    objective = {**MASKED, "strategy": "contour", "ratio_inside": 0.75, "ratio_outside": 0.5}
    encoder = {**ENCODER, "patch": 8}
    pretrain(recipe(encoder, objective, epochs=1), [Weighted(dataset)], tmp_path / "run")
    counts = json.loads((tmp_path / "run" / "run.json").read_text())["contours"]
    assert counts["images"] == 12
    assert 1 <= counts["rectangle"] <= 12


def test_two_batches_a_step_are_one_of_twice_the_size(dataset: PreparedDataset, tmp_path: Path) -> None:
    pretrain(recipe(batch_size=5), [Weighted(dataset)], tmp_path / "one")
    pretrain(
        recipe(batch_size=1, accumulate=5, activation_checkpointing=True),
        [Weighted(dataset)],
        tmp_path / "five",
    )
    one, five = log_of(tmp_path / "one"), log_of(tmp_path / "five")
    assert [row["step"] for row in one] == [row["step"] for row in five] == ["2", "4", "6"]
    for name in ("train_loss", "val_loss"):
        np.testing.assert_allclose(
            [float(row[name]) for row in one], [float(row[name]) for row in five], rtol=1e-4
        )


def test_a_nan_names_its_batch_and_leaves_the_last_epoch(
    dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = MaskedAutoencoder.loss

    def loss(self: MaskedAutoencoder, batch: Any) -> dict[str, torch.Tensor]:
        parts = plain(self, batch)
        self.calls = getattr(self, "calls", 0) + self.training
        return {**parts, "loss": parts["loss"] * (float("nan") if self.calls == 5 else 1)}

    monkeypatch.setattr(MaskedAutoencoder, "loss", loss)
    order = EpochSampler(10, 9223)
    order.set_epoch(1)
    named = ", ".join(f"s{number}" for number in list(order)[4:8])
    with pytest.raises(UserError, match=f"in epoch 2.*the studies {named}"):
        pretrain(recipe(), [Weighted(dataset)], tmp_path / "run")
    assert len(log_of(tmp_path / "run")) == 1
    assert load_objective(tmp_path / "run" / "model")


def test_a_mixture_takes_of_each_as_its_weight_says(dataset: PreparedDataset, tmp_path: Path) -> None:
    sampler = EpochSampler(40, 3, parts=((10, 3.0), (30, 1.0)))
    order = list(sampler)
    counts = np.bincount(np.array(order) % 40, minlength=40)
    assert len(order) == len(set(order)) == 40
    assert {place // 40 for place in order if place % 40 < 10} == {0, 1, 2}
    assert counts[:10].tolist() == [3] * 10
    assert counts[10:].sum() == 10
    assert counts[10:].max() == 1
    assert list(sampler) == order
    shares = [list(EpochSampler(40, 3, rank, 2, parts=((10, 3.0), (30, 1.0)))) for rank in (0, 1)]
    assert [index for pair in zip(*shares, strict=True) for index in pair] == order
    other = make_dataset(tmp_path / "other", train=1, seed=1)
    data = [Weighted.open(f"{dataset.path}=3"), Weighted.open(str(other.path))]
    pretrain(recipe(epochs=1), data, tmp_path / "run")
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["studies"] == {"train": 11, "val": 4}
    assert [part["weight"] for part in facts["dataset"]["parts"]] == [3.0, None]
    with pytest.raises(UserError, match="weight must be a number above 0, not '0'"):
        Weighted.open(f"{dataset.path}=0")


def test_one_image_and_a_batch_that_is_too_large(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    alone = make_dataset(tmp_path / "alone", train=1, val=1)
    with caplog.at_level(logging.INFO, "cxreport"):
        pretrain(recipe(epochs=1), [Weighted(alone)], tmp_path / "run")
    assert "training.batch_size (4) is more than the 1 training studies" in caplog.text
    assert "images/s" in caplog.text
    train_only = make_dataset(tmp_path / "train", train=1, val=0)
    with pytest.raises(UserError, match="has a val split"):
        pretrain(recipe(), [Weighted(train_only)], tmp_path / "none")


@pytest.mark.parametrize(
    ("chosen", "sentence"),
    [
        (recipe(size=32, encoder={**ENCODER, "patch": 32}), "1 x 1 patches 0 stay"),
        (recipe(encoder={**ENCODER, "image_size": 32}), r"data\.image_size \(64\) must be encoder"),
        (recipe(encoder={"name": "resnet_small"}), "vit_"),
        (recipe(objective=NEXT), "causal encoder"),
        (recipe(encoder={**CAUSAL, "patch": 16}, objective=NEXT), "one cluster"),
    ],
)
def test_what_does_not_fit_is_told(
    dataset: PreparedDataset, tmp_path: Path, chosen: PretrainRecipe, sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        pretrain(chosen, [Weighted(dataset)], tmp_path / "run")


@pytest.mark.parametrize(
    ("tree", "sentence"),
    [
        (
            {"objective": {"name": "msked"}},
            r"objective\.name must be .*'masked'.*, not 'msked'",
        ),
        ({"objective": {}}, r"objective\.name is missing"),
        (
            {"objective": {**MASKED, "ration": 1}},
            r"unknown key objective\.ration; did you mean objective\.ratio",
        ),
        ({"objective": {"name": "masked"}, "data": {"augment": True}}, "contour needs data.augment: false"),
    ],
)
def test_a_bad_recipe_is_told(tree: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        PretrainRecipe.parse({"name": "t", **tree})


@pytest.mark.parametrize("path", SHIPPED, ids=[path.stem for path in SHIPPED])
def test_shipped_recipes_load_by_name(path: Path) -> None:
    assert PretrainRecipe.load(path.stem) == PretrainRecipe.load(path)
    assert PretrainRecipe.load(path).name == path.stem


def test_a_resumed_run_still_knows_its_contours(
    dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sought = []
    find = chests.find_contour
    monkeypatch.setattr(chests, "find_contour", lambda grey: sought.append(1) or find(grey))
    objective = {**MASKED, "strategy": "contour", "ratio_inside": 0.75, "ratio_outside": 0.5}
    chosen = recipe({**ENCODER, "patch": 8}, objective)
    kill_in_epoch(3, chosen, dataset, tmp_path / "run", monkeypatch)
    before = json.loads((tmp_path / "run" / "run.json").read_text())["contours"]
    assert (before["images"], len(sought)) == (12, 12)
    pretrain(chosen, [Weighted(dataset)], tmp_path / "run", resume=True)
    after = json.loads((tmp_path / "run" / "run.json").read_text())["contours"]
    assert after == before
    assert len(sought) == 12 + 2  # the pictures of a finished run are drawn from its folder


def test_a_nan_in_validation_names_its_batch_and_leaves_the_last_epoch(
    dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = MaskedAutoencoder.loss

    def loss(self: MaskedAutoencoder, batch: Any) -> dict[str, torch.Tensor]:
        parts = plain(self, batch)
        self.calls = getattr(self, "calls", 0) + (not self.training and "s11" in batch.study_ids)
        bad = self.calls == 2 and not self.training and batch.study_ids == ["s11"]
        return {**parts, "loss": parts["loss"] * (float("nan") if bad else 1)}

    monkeypatch.setattr(MaskedAutoencoder, "loss", loss)
    with pytest.raises(UserError, match=r"validation loss .* in epoch 2.*batch holds the studies s11\."):
        pretrain(recipe(batch_size=1), [Weighted(dataset)], tmp_path / "run")
    assert len(log_of(tmp_path / "run")) == 1
    assert load_objective(tmp_path / "run" / "model")


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.parametrize(("encoder", "objective"), [(ENCODER, MASKED), (CAUSAL, NEXT)])
def test_two_processes_learn_as_one(
    dataset: PreparedDataset,
    tmp_path: Path,
    strategy: str,
    encoder: dict[str, Any],
    objective: dict[str, Any],
) -> None:
    """Losses and saved weights are those of one process with the same global batch; also after a kill."""
    program = tmp_path / "two.py"
    program.write_text(
        f"""
import os
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import pytest
import test_pretraining as tests
import torch
torch.set_num_threads(1)
if __name__ == "__main__":
    data = tests.PreparedDataset.open({str(dataset.path)!r})
    chosen = tests.recipe({encoder!r}, {objective!r}, batch_size=1, strategy={strategy!r})
    out = Path({str(tmp_path / "two")!r})
    if sys.argv[1] == "kill":
        def stop(self, trainer, module):
            if trainer.current_epoch == 2:
                os._exit(3)
        pytest.MonkeyPatch().setattr("cxreport.training.throughput.Throughput.on_train_epoch_start", stop)
    tests.pretrain(chosen, [tests.Weighted(data)], out, devices=2, resume=sys.argv[1] == "resume")
"""
    )
    for what, expected in (("kill", 3), ("resume", 0)):
        command = [sys.executable, str(program), what]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == expected, done.stderr
    pretrain(recipe(encoder, objective, batch_size=2), [Weighted(dataset)], tmp_path / "one", devices=1)
    one, two = log_of(tmp_path / "one"), log_of(tmp_path / "two")
    for name in ("train_loss", "val_loss"):
        np.testing.assert_allclose(
            [float(row[name]) for row in one], [float(row[name]) for row in two], atol=1e-4, rtol=0
        )
    whole, parts = tensors(tmp_path / "one"), tensors(tmp_path / "two")
    assert whole.keys() == parts.keys()
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, atol=2e-4, rtol=0)

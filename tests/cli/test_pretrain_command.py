"""``cxreport pretrain`` on data that is odd: it trains, or says in a sentence why it does not."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from cxreport.cli import app
from cxreport.data.store import write_dataset
from cxreport.encoders import build_encoder
from cxreport.objectives.folder import load_objective
from cxreport.objectives.masked import MaskedAutoencoder
from cxreport.options import EncoderOptions
from cxreport.study import Study, View

SMALL = (
    "encoder.width=16", "encoder.depths=[1]", "encoder.heads=[2]", "data.image_size=64",
    "objective.decoder_width=16", "objective.decoder_depth=1", "objective.decoder_heads=2",
    "objective.normalised_targets=true", "objective.ratio_inside=0.75", "objective.ratio_outside=0.5",
    "training.epochs=2", "training.batch_size=4", "training.keep=last",
)  # fmt: skip


def dataset(folder: Path, pictures: list[np.ndarray], val: int = 1) -> str:
    """A dataset of grey `pictures` (H, W), the last `val` of them for validation."""
    studies = []
    for number, pixels in enumerate(pictures):
        png = io.BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(png, "PNG")
        view = View(png.getvalue(), pixels.shape[1], pixels.shape[0], "frontal")
        split = "train" if number < len(pictures) - val else "val"
        studies.append(Study(f"s{number}", f"p{number}", (view,), split=split))
    write_dataset(studies, folder, source="odd", source_version="1", options={})
    return str(folder)


def noise(count: int, side: int = 64) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, side, side)))


def pretrain(
    data: str, out: Path, *options: str, objective: str = "masked", small: tuple[str, ...] = SMALL
) -> Result:
    changes = [part for change in small for part in ("--set", change)]
    encoder = "vit_tiny" if objective == "masked" else "vision_mamba_tiny_causal"
    arguments = ["pretrain", objective, "--encoder", encoder, "--data", data, "--out", str(out)]
    return CliRunner().invoke(app, [*arguments, *changes, *options])


def losses(run: Path) -> list[float]:
    with (run / "log.csv").open(newline="") as file:
        return [float(row[name]) for row in csv.DictReader(file) for name in ("train_loss", "val_loss")]


def test_constant_images_have_no_contour_and_a_finite_loss(tmp_path: Path) -> None:
    data = dataset(tmp_path / "data", [np.full((64, 64), grey) for grey in (0, 7, 128, 255)])
    done = pretrain(data, tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert len(losses(tmp_path / "run")) == 4
    assert all(map(math.isfinite, losses(tmp_path / "run")))
    assert json.loads((tmp_path / "run" / "run.json").read_text())["contours"] == {
        "images": 4,
        "rectangle": 4,
    }


def test_constant_images_leave_the_next_cluster_a_finite_loss(tmp_path: Path) -> None:
    data = dataset(tmp_path / "data", [np.full((64, 64), grey) for grey in (0, 7, 255)])
    small = (
        "encoder.width=16", "encoder.depths=[4]", "encoder.state_size=2", "encoder.patch=8",
        "objective.decoder_width=64", "data.image_size=64", "training.epochs=1",
    )  # fmt: skip
    done = pretrain(data, tmp_path / "run", objective="autoregressive", small=small)
    assert done.exit_code == 0, done.output
    assert all(map(math.isfinite, losses(tmp_path / "run")))


def test_an_image_of_fewer_pixels_than_the_grid_has_patches_is_enlarged(tmp_path: Path) -> None:
    data = dataset(tmp_path / "data", [*noise(3, 2), *noise(1, 2)])
    done = pretrain(data, tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert all(map(math.isfinite, losses(tmp_path / "run")))


def test_a_size_of_less_than_the_grid_needs_is_told(tmp_path: Path) -> None:
    data = dataset(tmp_path / "data", noise(3))
    done = pretrain(data, tmp_path / "run", "--set", "data.image_size=32", "--set", "encoder.patch=32")
    assert done.exit_code == 1
    assert "1 x 1 patches" in done.output
    assert "larger images" in done.output
    odd = pretrain(data, tmp_path / "odd", "--set", "data.image_size=72")
    assert odd.exit_code == 1
    assert "multiple" in odd.output or "72" in odd.output
    assert not isinstance(odd.exception, ValueError)


def test_one_image_is_learnt_in_a_batch_that_is_larger(tmp_path: Path) -> None:
    data = dataset(tmp_path / "data", noise(2))
    done = pretrain(data, tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert "training.batch_size (4) is more than the 1 training studies" in done.output
    assert json.loads((tmp_path / "run" / "run.json").read_text())["studies"] == {"train": 1, "val": 1}


def test_one_image_alone_cannot_choose_an_epoch(tmp_path: Path) -> None:
    done = pretrain(dataset(tmp_path / "data", noise(1), val=0), tmp_path / "run")
    assert done.exit_code == 1
    assert "has a val split" in done.output


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("encoder.width=32", "another shape"),
        ("encoder.depths=[2]", "does not fit"),
        ("encoder.patch=8", "another shape"),
    ],
)
def test_weights_of_another_size_are_told(tmp_path: Path, change: str, sentence: str) -> None:
    data = dataset(tmp_path / "data", noise(3))
    assert pretrain(data, tmp_path / "run").exit_code == 0
    done = pretrain(data, tmp_path / "other", "--init", str(tmp_path / "run"), "--set", change)
    assert done.exit_code == 1
    assert sentence in done.output
    assert str(tmp_path / "run") in done.output.replace("\n", "")
    assert not (tmp_path / "other").exists()


def test_a_nan_stops_the_run_which_goes_on_from_the_last_good_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dataset(tmp_path / "data", noise(9))
    plain = MaskedAutoencoder.loss

    def loss(self: MaskedAutoencoder, batch: Any) -> dict[str, torch.Tensor]:
        parts = plain(self, batch)
        self.calls = getattr(self, "calls", 0) + self.training
        return {**parts, "loss": parts["loss"] * (math.nan if self.training and self.calls > 2 else 1)}

    with monkeypatch.context() as patch:
        patch.setattr(MaskedAutoencoder, "loss", loss)
        done = pretrain(data, tmp_path / "run")
    assert done.exit_code == 1
    assert "became NaN or infinite in epoch 2" in done.output
    assert "The first such batch holds the studies s" in done.output
    assert len(losses(tmp_path / "run")) == 2
    kept = load_objective(tmp_path / "run" / "model").state_dict()
    assert all(bool(torch.isfinite(value).all()) for value in kept.values())
    again = pretrain(data, tmp_path / "run", "--resume")
    assert again.exit_code == 0, again.output
    assert len(losses(tmp_path / "run")) == 4
    options = EncoderOptions(
        name="vit_tiny",
        width=16,
        depths=(1,),
        heads=(2,),
        image_size=64,
        init=str(tmp_path / "run" / "model"),
    )
    assert build_encoder(options).width == 16

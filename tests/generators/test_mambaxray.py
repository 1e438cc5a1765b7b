"""MambaXray-VL: which tokens the language model reads, and its stages in a row."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_language import words_folder
from typer.testing import CliRunner

from cxreport.checkpoints import load_model
from cxreport.cli import app
from cxreport.data.batch import Batch
from cxreport.data.store import PreparedDataset, write_dataset
from cxreport.errors import UserError
from cxreport.generators.base import TrainStudies
from cxreport.generators.mambaxray import MambaXray
from cxreport.model_options import LanguageModelOptions, MambaXrayOptions
from cxreport.options import EncoderOptions
from cxreport.study import Report, Study, View
from cxreport.weights.folder import read_tensors

SHAPE = {"width": 24, "depths": (3,), "state_size": 4, "patch": 8}
TINY = EncoderOptions(name="vision_mamba_tiny", image_size=32, **SHAPE)  # type: ignore[arg-type]


def generator(encoder: EncoderOptions = TINY) -> MambaXray:
    torch.manual_seed(3)
    language_model = LanguageModelOptions(path=words_folder())
    options = MambaXrayOptions(encoder=encoder, language_model=language_model, prompt="none")
    return MambaXray.build(options, TrainStudies(["no effusion ."])).eval()


def test_the_language_model_reads_every_token_with_the_class_token_in_the_middle() -> None:
    model = generator()
    images = torch.randn(2, 1, 3, 32, 32)
    batch = Batch(images, torch.ones(2, 1, dtype=torch.bool), ["a", "b"], ["no effusion ."] * 2)
    with torch.no_grad():
        image = model.image_part(model.look(batch)).embeddings
        tokens = model.encoder(images[:, 0])
        assert tokens.sequence is not None
        patches = model.norm(model.projection(tokens.patches))
        whole = model.norm(model.projection(tokens.sequence))
    assert image is not None
    assert image.shape == (2, 17, model.language_model.width)
    torch.testing.assert_close(image, whole)
    torch.testing.assert_close(torch.cat([image[:, :8], image[:, 9:]], dim=1), patches)


def test_the_language_model_is_frozen_and_the_encoder_is_not() -> None:
    model = generator()
    trained = {name.partition(".")[0] for name, value in model.named_parameters() if value.requires_grad}
    assert trained == {"encoder", "projection", "norm"}
    assert all(value.requires_grad for value in model.encoder.parameters())


@pytest.mark.parametrize("name", ["vit_tiny", "vision_mamba_tiny_causal"])
def test_another_encoder_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"four scans, such as vision_mamba_base, not {name}"):
        generator(EncoderOptions(name=name))


def dataset(folder: Path) -> PreparedDataset:
    """Ten studies of noise with a report each."""
    rng = np.random.default_rng(0)
    studies = []
    for number in range(10):
        png = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (64, 64), dtype=np.uint8)).save(png, "PNG")
        split = "train" if number < 6 else "val" if number < 8 else "test"
        view = View(png.getvalue(), 64, 64, "frontal")
        report = Report(findings="No effusion.")
        studies.append(Study(f"s{number}", f"p{number}", (view,), report, split=split))
    return write_dataset(studies, folder, source="noise", source_version="1", options={})


def test_stages_are_joined_by_init(tmp_path: Path) -> None:
    """The causal scan of stage 1 becomes all four of stage 3, which then learns next to nothing."""
    data = dataset(tmp_path / "data").path

    def run(*words: object) -> None:
        settings = ["encoder.width=24", "encoder.depths=[4]", "encoder.state_size=4", "encoder.patch=8"]
        settings += ["encoder.image_size=64"]
        prefix = "model." if words[0] == "train" else ""
        more = [*(f"{prefix}{each}" for each in settings), "data.image_size=64", "training.epochs=1"]
        arguments = [*map(str, words), *(word for each in more for word in ("--set", each))]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output

    run("pretrain", "mambaxray/stage1_small", "--data", data, "--out", tmp_path / "one")
    run("train", "mambaxray/stage3_small", "--data", data, "--out", tmp_path / "three",
        "--init", tmp_path / "one", "--language-model", words_folder(),
        "--set", "training.learning_rate=1e-12", "--set", "training.encoder_learning_rate=1e-12",
        "--set", "training.weight_decay=0",
        "--set", "decoding.max_length=20")  # fmt: skip
    before = read_tensors(tmp_path / "one" / "model" / "model.safetensors")
    model, recipe = load_model(tmp_path / "three" / "model")
    assert recipe.model.encoder.init is None
    after = model.state_dict()
    for name in ("skip", "decay_log", "conv_bias"):
        key = f"blocks.2.mixer.{name}"
        for quarter in after[f"encoder.{key}"].chunk(4):
            torch.testing.assert_close(quarter, before[key], atol=1e-6, rtol=0)
    drafts = tmp_path / "drafts.jsonl"
    result = CliRunner().invoke(app, ["generate", str(tmp_path / "three"), str(data), "--out", str(drafts)])
    assert result.exit_code == 0, result.output
    assert len(drafts.read_text().splitlines()) == 2

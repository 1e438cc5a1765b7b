"""``cxreport convert``: what is printed, and mistakes as sentences."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from cxreport.checkpoints.kinds import KINDS
from cxreport.checkpoints.name_map import to_published
from cxreport.cli import app
from cxreport.encoders import build_encoder
from cxreport.options import EncoderOptions


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["convert", *map(str, arguments)])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    encoder = build_encoder(EncoderOptions(name="vmamba_mini", width=8, depths=(1, 1, 1, 1)))
    state = to_published(encoder, KINDS["vmamba"].names(encoder))
    state["classifier.head.weight"] = torch.ones(3)
    torch.save({"model": state, "epoch": 237}, tmp_path / "vssm.pth")
    return tmp_path / "vssm.pth"


def test_the_account_and_the_line_for_a_recipe(file: Path, tmp_path: Path) -> None:
    result = run(file, "--kind", "vmamba", "--out", tmp_path / "folder")
    assert result.exit_code == 0, result.output
    kept, dropped, line = result.stdout.splitlines()
    assert kept.startswith("Kept from its entry model, checked to come back unchanged: ")
    assert dropped == "Dropped, classifier: 1 (classifier.head.weight)."
    shape = "width: 8, depths: [1, 1, 1, 1]"
    assert line.endswith(f"encoder: {{name: vmamba_mini, {shape}, init: {tmp_path / 'folder'}}}")


def test_json_and_the_way_back(file: Path, tmp_path: Path) -> None:
    result = run(file, "--kind", "vmamba", "--out", tmp_path / "folder", "--json")
    told = json.loads(result.stdout)
    assert told["dropped"] == {"classifier": ["classifier.head.weight"]}
    assert told["encoder"] == {"name": "vmamba_mini", "width": 8, "depths": [1, 1, 1, 1]}
    back = run(tmp_path / "folder", "--kind", "vmamba", "--out", tmp_path / "back.safetensors")
    assert back.stdout.endswith(f"{told['kept']} tensors under their published names.\n")


class Runs:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> object:
        return os.system, (f"touch {self.mark}",)


def test_mistakes_are_sentences_and_nothing_is_run(file: Path, tmp_path: Path) -> None:
    torch.save({"model": {"a": Runs(tmp_path / "ran")}}, tmp_path / "bad.pth")
    for path, kind, told in (
        (tmp_path / "bad.pth", "vmamba", r"system, which weights do not need"),
        (file, "resnet", "it looks like vmamba"),
        (file, "vmambo", "Unknown kind 'vmambo'; choose arm-stage1"),
        (tmp_path / "absent.pth", "vit", "No such file"),
    ):
        result = run(path, "--kind", kind, "--out", tmp_path / "folder")
        assert result.exit_code == 1
        assert result.stdout == ""
        assert result.stderr.startswith("Error: ")
        assert told in result.stderr
        assert "Traceback" not in result.output
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "folder").exists()


def test_r2gen_needs_its_annotation(file: Path, tmp_path: Path) -> None:
    result = run(file, "--kind", "r2gen", "--out", tmp_path / "folder")
    assert result.exit_code == 2
    assert "--annotation" in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--kind", "vmamba", "--language-model", "llama"), "the kind vmamba has no --language-model"),
        (("--kind", "mambaxray", "--annotation", "a.json"), "the kind mambaxray has no --annotation"),
        (("--kind", "ammrg-bank", "--recipe", "r", "--encoder", "e"), "has no --recipe and no --encoder"),
    ],
)
def test_options_of_other_kinds(file: Path, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    result = run(file, "--out", tmp_path / "folder", *words)
    assert result.exit_code == 2
    assert message in " ".join(result.output.replace("│", " ").split())


@pytest.mark.parametrize("kind", ["mambaxray", "ammrg-bank"])
def test_the_way_back_is_for_encoders(kind: str, tmp_path: Path) -> None:
    result = run(tmp_path, "--kind", kind, "--out", tmp_path / "back.safetensors")
    assert result.exit_code == 2
    assert f"not for {kind}" in " ".join(result.output.replace("│", " ").split())

"""Model folders: complete, verified, replaced in one step, never a pickle."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from cxreport.checkpoints import load_model, read_provenance, save_model
from cxreport.errors import UserError
from cxreport.generators import generator_class
from cxreport.generators.base import Generator, TrainStudies
from cxreport.model_options import R2GenOptions
from cxreport.options import EncoderOptions
from cxreport.recipe import Recipe

OPTIONS = R2GenOptions(
    encoder=EncoderOptions(width=4),
    width=16,
    feed_forward=16,
    heads=2,
    layers=1,
    memory_heads=2,
    vocabulary_threshold=1,
)
RECIPE = Recipe(name="tiny", model=OPTIONS)


def build(seed: int) -> Generator:
    torch.manual_seed(seed)
    return generator_class("r2gen").build(OPTIONS, TrainStudies(["no effusion .", "clear lungs ."]))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(tmp_path / "model", build(1), RECIPE, {"seed": 1, "dataset": "abc"})
    return tmp_path / "model"


def reseal(folder: Path) -> None:
    """Write the hashes of the files as they are, as somebody who meant the change would."""
    config = json.loads((folder / "config.json").read_text())
    del config["sha256"]
    for name in config["files"]:
        config["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    text = json.dumps(config, sort_keys=True, ensure_ascii=False)
    config["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    (folder / "config.json").write_text(json.dumps(config))


def test_the_files_of_a_model_folder(folder: Path) -> None:
    names = {"config.json", "model.safetensors", "provenance.json", "tokenizer.json"}
    assert {path.name for path in folder.iterdir()} == names
    config = json.loads((folder / "config.json").read_text())
    assert config["files"].keys() == names - {"config.json"}
    assert config["recipe"] == RECIPE.model_dump(mode="json")
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert config["files"]["model.safetensors"] == digest
    assert read_provenance(folder) == {"seed": 1, "dataset": "abc"}
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_weights_come_back_bit_for_bit(folder: Path) -> None:
    loaded, recipe = load_model(folder)
    assert recipe == RECIPE
    own = build(1).state_dict()
    assert loaded.state_dict().keys() == own.keys()
    assert all(torch.equal(value, own[key]) for key, value in loaded.state_dict().items())


def test_an_older_model_is_replaced(folder: Path) -> None:
    save_model(folder, build(2), RECIPE, {"seed": 2})
    assert read_provenance(folder) == {"seed": 2}
    loaded, _ = load_model(folder)
    assert all(torch.equal(value, build(2).state_dict()[key]) for key, value in loaded.state_dict().items())
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_a_failed_write_leaves_the_older_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = build(2)

    def full_disk(target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(broken, "save_assets", full_disk)
    with pytest.raises(UserError, match=r"model: No space left"):
        save_model(folder, broken, RECIPE, {})
    assert read_provenance(folder)["seed"] == 1
    load_model(folder)
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_what_a_kill_left_is_cleared_by_the_next_save(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename, renamed = os.replace, []

    def kill(source: Path, target: Path) -> None:
        if renamed:
            raise KeyboardInterrupt
        renamed.append(target)
        rename(source, target)

    monkeypatch.setattr(os, "replace", kill)
    with pytest.raises(KeyboardInterrupt):
        save_model(folder, build(2), RECIPE, {"seed": 2})
    assert [path.name[:11] for path in folder.parent.iterdir()] == [".model.old."]
    monkeypatch.setattr(os, "replace", rename)
    save_model(folder, build(3), RECIPE, {"seed": 3})
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
    assert read_provenance(folder) == {"seed": 3}


def test_another_folder_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="not a model folder"):
        save_model(tmp_path, build(1), RECIPE, {})
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    (tmp_path / "empty").mkdir()
    save_model(tmp_path / "empty", build(1), RECIPE, {})


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "provenance.json", "tokenizer.json"])
@pytest.mark.parametrize("harm", [flip, cut, Path.unlink], ids=["changed", "truncated", "missing"])
def test_a_harmed_file_is_named(folder: Path, name: str, harm: Callable[[Path], None]) -> None:
    harm(folder / name)
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        load_model(folder)


def test_a_changed_recipe_is_noticed(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"beam_size": 3', '"beam_size": 4'))
    with pytest.raises(UserError, match=r"config\.json was altered"):
        load_model(folder)


@pytest.mark.parametrize("change", ["lacks", "has the unknown", "has another shape or type"])
def test_every_key_of_the_weights_is_checked(folder: Path, change: str) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    if change == "lacks":
        del weights["network.head.bias"]
    elif change == "has the unknown":
        weights["network.head.extra"] = torch.zeros(1)
    else:
        weights["network.head.bias"] = weights["network.head.bias"][:-1]
    save_file(weights, path)
    reseal(folder)
    with pytest.raises(UserError, match=rf"model\.safetensors.*{change}.*network\.head\.(bias|extra)"):
        load_model(folder)


def test_weights_that_are_no_safetensors(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\0" * 100)
    reseal(folder)
    with pytest.raises(UserError, match=r"model\.safetensors is not a safetensors file"):
        load_model(folder)


class Trap:
    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return print, ("this pickle ran a program",)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt", ".pkl"])
def test_pickles_are_refused_by_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(pickle.dumps(Trap()))
    for target in (path, tmp_path):
        with pytest.raises(UserError, match=rf"model\{suffix} is a pickle.*safetensors"):
            load_model(target)


def test_pickles_are_refused_by_content(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(build(1).state_dict(), folder / "model.safetensors")
    reseal(folder)
    with pytest.raises(UserError, match=r"model\.safetensors is a pickle"):
        load_model(folder)
    (folder / "model.safetensors").write_bytes(pickle.dumps(Trap()))
    reseal(folder)
    with pytest.raises(UserError, match=r"model\.safetensors is a pickle"):
        load_model(folder)
    assert "this pickle ran" not in capsys.readouterr().out


def test_what_is_no_model_folder(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UserError, match="not a model folder"):
            load_model(path)
    (tmp_path / "config.json").write_text('{"format": "cxreport-model-99"}')
    with pytest.raises(UserError, match=r"config\.json is not of format"):
        load_model(tmp_path)


def test_a_pretrained_encoder_is_not_looked_for_again(tmp_path: Path) -> None:
    options = OPTIONS.model_copy(update={"encoder": EncoderOptions(name="resnet101", pretrained=True)})
    folder = tmp_path / "assets"
    folder.mkdir()
    build(1).save_assets(folder)
    generator_class("r2gen").load_assets(options, folder)

"""Published files to folders of ours: every kind, every key accounted for, nothing let through silently."""

from __future__ import annotations

import json
import shutil
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from cxreport.checkpoints import load_model, read_provenance, save_model
from cxreport.checkpoints.convert import convert_encoder, publish_encoder
from cxreport.checkpoints.convert_r2gen import convert_r2gen
from cxreport.checkpoints.kinds import KINDS
from cxreport.checkpoints.name_map import to_published
from cxreport.checkpoints.published.r2gen import r2gen_names
from cxreport.checkpoints.published.r2gencmn import r2gencmn_names
from cxreport.encoders import Encoder, build_encoder
from cxreport.encoders.folder import origin
from cxreport.errors import UserError
from cxreport.generators.base import TrainStudies
from cxreport.generators.r2gen import R2Gen
from cxreport.generators.r2gencmn import R2GenCMN
from cxreport.model_options import R2GenCMNOptions, R2GenOptions
from cxreport.options import EncoderOptions
from cxreport.recipe import Recipe

MAMBA: dict[str, Any] = {"width": 24, "depths": (3,), "state_size": 4, "patch": 8}
SHAPES: dict[str, dict[str, Any]] = {
    "arm-stage1": {"name": "vision_mamba_tiny_causal", "image_size": 48, **MAMBA},
    "mambaxray-stage2": {"name": "vision_mamba_tiny", "image_size": 40, **MAMBA},
    "mambaxray-stage3": {"name": "vision_mamba_tiny", "image_size": 40, **MAMBA},
    "vmamba": {"name": "vmamba_mini", "width": 8, "depths": (1, 2, 1, 1)},
    "hdmae": {"name": "vit_hd_tiny", "depths": (2,), "image_size": 192},
    "vit": {"name": "vit_tiny", "depths": (2,), "image_size": 48},
    "swin": {"name": "swin_mini", "width": 12, "depths": (1, 2, 1, 1), "heads": (1, 2, 2, 4)},
    "swin-microsoft": {"name": "swin_mini", "width": 12, "depths": (1, 2, 1, 1), "heads": (1, 2, 2, 4)},
    "resnet": {"name": "resnet50"},
}
"""A small encoder of every kind."""

ASIDE = {
    "arm-stage1": ["ar_token", "dec_pos_embed", "mask", "enc2dec.weight", "dec_block.0.attn2.q.weight"],
    "mambaxray-stage2": ["text_encoder.embeddings.weight", "logit_scale"],
    "mambaxray-stage3": ["llama_proj.weight", "llama_proj.bias", "layer_norm.weight"],
    "vmamba": ["classifier.head.weight", "classifier.head.bias"],
    "hdmae": ["mask_token", "decoder_blocks.0.norm1.weight", "decoder_image.bias", "head.mlp.0.weight"],
    "vit": ["head.weight", "decoder_pred.bias", "mask_token"],
    "swin": ["classifier.weight", "swin.encoder.layers.0.blocks.0.attention.self.relative_position_index"],
    "swin-microsoft": ["head.weight", "layers.0.blocks.0.attn_mask"],
    "resnet": ["fc.weight", "fc.bias"],
}
"""Keys of such files that are no part of the encoder."""


def original(kind: str, seed: int = 1) -> tuple[Encoder, EncoderOptions]:
    torch.manual_seed(seed)
    options = EncoderOptions(**SHAPES[kind])
    encoder = build_encoder(options)
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return encoder.eval(), options


def published(kind: str, encoder: Encoder) -> dict[str, Tensor]:
    names = KINDS[kind].names(encoder)
    state = {KINDS[kind].prefix + key: value for key, value in to_published(encoder, names).items()}
    return state | {key: torch.ones(2) for key in ASIDE[kind]}


def write(path: Path, tree: Any, zipped: bool = True) -> Path:
    torch.save(tree, path, _use_new_zipfile_serialization=zipped)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_becomes_a_folder_that_a_recipe_starts_from(kind: str, tmp_path: Path) -> None:
    encoder, options = original(kind)
    state = published(kind, encoder)
    path = write(tmp_path / "w.pth", {"model": OrderedDict(state), "epoch": 3})
    done = convert_encoder(path, kind, tmp_path / "folder")
    assert done.options == options
    assert sorted(key for keys in done.account.dropped.values() for key in keys) == sorted(ASIDE[kind])
    assert done.account.kept == len(state) - len(ASIDE[kind])
    again = build_encoder(options.model_copy(update={"init": str(tmp_path / "folder")})).eval()
    own, found = encoder.state_dict(), again.state_dict()
    assert own.keys() == found.keys()
    assert [key for key in own if not torch.equal(own[key], found[key])] == []
    side = max(2 * encoder.multiple, 64)
    images = torch.randn(1, 3, side, side)
    with torch.no_grad():
        assert torch.equal(encoder(images).patches, again(images).patches)
    told = json.loads((tmp_path / "folder" / "provenance.json").read_text())
    assert told["converted_from"]["kind"] == kind
    assert told["converted_from"]["values"] == {"epoch": 3}
    assert len(told["converted_from"]["sha256"]) == 64
    assert str(tmp_path) not in json.dumps(told)


@pytest.mark.parametrize("kind", KINDS)
def test_the_way_back(kind: str, tmp_path: Path) -> None:
    encoder, _ = original(kind)
    state = published(kind, encoder)
    convert_encoder(write(tmp_path / "w.pth", state, zipped=False), kind, tmp_path / "folder")
    count = publish_encoder(tmp_path / "folder", kind, tmp_path / "back.safetensors")
    back = load_file(tmp_path / "back.safetensors")
    assert count == len(back) == len(state) - len(ASIDE[kind])
    assert [key for key, value in back.items() if not torch.equal(value, state[key])] == []
    convert_encoder(tmp_path / "back.safetensors", kind, tmp_path / "again")
    first, second = (tmp_path / name / "model.safetensors" for name in ("folder", "again"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_an_unknown_and_a_misshapen_key(kind: str, tmp_path: Path) -> None:
    encoder, _ = original(kind)
    state = published(kind, encoder)
    key = next(name for name in state if name.endswith(("norm1.weight", "norm.weight", "bn1.weight")))
    cases = {
        "missing": {name: value for name, value in state.items() if name != key},
        r"unknown .*extra\.weight": state | {f"{KINDS[kind].prefix}layer1.extra.weight": torch.ones(1)},
        "other shapes": state | {key: torch.ones(len(state[key]) + 1)},
        "NaN": state | {key: torch.full_like(state[key], float("nan"))},
    }
    for message, tree in cases.items():
        path = write(tmp_path / "w.pth", tree)
        with pytest.raises(UserError, match=rf"w\.pth is not converted: .*{message}"):
            convert_encoder(path, kind, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_another_kind_is_told_what_it_looks_like(kind: str, tmp_path: Path) -> None:
    other = "resnet" if kind != "resnet" else "vmamba"
    path = write(tmp_path / "w.pth", published(kind, original(kind)[0]))
    with pytest.raises(UserError, match=rf"no file of kind {other} .*it looks like .*{kind.split('-')[0]}"):
        convert_encoder(path, other, tmp_path / "folder")


def test_older_names_of_vmamba(tmp_path: Path) -> None:
    encoder, options = original("vmamba")
    state = {}
    for key, value in published("vmamba", encoder).items():
        key = key.replace(".norm.", ".ln_1.").replace(".op.", ".self_attention.")
        state[key.replace("classifier.ln_1.", "norm.").replace("classifier.head.", "head.")] = value
    assert "layers.0.blocks.0.self_attention.x_proj_weight" in state
    assert "norm.weight" in state
    done = convert_encoder(write(tmp_path / "w.pth", {"model": state}), "vmamba", tmp_path / "folder")
    assert done.options == options
    assert any("older name" in line for line in done.account.lines())
    found = load_file(tmp_path / "folder" / "model.safetensors")
    assert all(torch.equal(found[key], value) for key, value in encoder.state_dict().items())


def test_old_residual_networks_have_no_counters(tmp_path: Path) -> None:
    state = published("resnet", original("resnet")[0])
    state = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    done = convert_encoder(write(tmp_path / "w.pth", state), "resnet", tmp_path / "folder")
    assert len(done.account.filled) == 53
    assert "Absent counters of batches set to 0: 53." in done.account.lines()


def test_a_prefix_of_parallel_training_and_the_entry_of_a_student(tmp_path: Path) -> None:
    encoder, options = original("hdmae")
    state = {f"module.{key}": value for key, value in published("hdmae", encoder).items()}
    done = convert_encoder(write(tmp_path / "w.pth", {"student": state}), "hdmae", tmp_path / "folder")
    assert (done.options, done.account.entry) == (options, "student")


def test_a_key_under_two_names_and_numbers_of_another_kind(tmp_path: Path) -> None:
    state = published("vmamba", original("vmamba")[0])
    twice = state | {"norm.weight": state["classifier.norm.weight"]}
    with pytest.raises(UserError, match=r"it has norm\.weight twice"):
        convert_encoder(write(tmp_path / "w.pth", twice), "vmamba", tmp_path / "folder")
    whole = state | {"classifier.norm.weight": torch.ones_like(state["classifier.norm.weight"]).long()}
    with pytest.raises(UserError, match=r"no floating-point numbers .*: classifier\.norm\.weight"):
        convert_encoder(write(tmp_path / "w.pth", whole), "vmamba", tmp_path / "folder")


def test_half_precision_is_told(tmp_path: Path) -> None:
    encoder, _ = original("vmamba")
    state = {key: value.half() for key, value in published("vmamba", encoder).items()}
    done = convert_encoder(write(tmp_path / "w.pth", state), "vmamba", tmp_path / "folder")
    assert f"Turned from float16 into our type: {done.account.kept}." in done.account.lines()
    found = load_file(tmp_path / "folder" / "model.safetensors")
    assert torch.equal(found["norm.weight"], encoder.state_dict()["norm.weight"].half().float())


def test_a_model_that_starts_from_a_folder_does_not_need_it_again(tmp_path: Path) -> None:
    encoder, options = original("vit")
    convert_encoder(write(tmp_path / "w.pth", published("vit", encoder)), "vit", tmp_path / "folder")
    told = origin(tmp_path / "folder")
    assert (told["encoder"], told["file"], told["kind"]) == ("vit_tiny", "w.pth", "vit")
    small = {"width": 16, "feed_forward": 16, "heads": 2, "layers": 1, "memory_heads": 2}
    started = options.model_copy(update={"init": str(tmp_path / "folder")})
    recipe = Recipe(name="r", model=R2GenOptions(encoder=started, vocabulary_threshold=1, **small))
    generator = R2Gen.build(recipe.model, TrainStudies(["clear lungs ."]))
    save_model(tmp_path / "model", generator, recipe, {})
    shutil.rmtree(tmp_path / "folder")
    loaded, found = load_model(tmp_path / "model")
    assert found.model.encoder == options
    assert str(tmp_path) not in (tmp_path / "model" / "config.json").read_text()
    assert torch.equal(loaded.encoder.state_dict()["positions"], encoder.state_dict()["positions"])


def test_positions_that_are_not_sines(tmp_path: Path) -> None:
    state = published("hdmae", original("hdmae")[0])
    state["pos_embed"] = state["pos_embed"] + 0.01
    with pytest.raises(UserError, match="table pos_embed differs"):
        convert_encoder(write(tmp_path / "w.pth", state), "hdmae", tmp_path / "folder")


def test_heads_that_no_weight_tells(tmp_path: Path) -> None:
    path = write(tmp_path / "w.pth", published("vit", original("vit")[0]))
    assert convert_encoder(path, "vit", tmp_path / "folder").options.heads is None
    assert convert_encoder(path, "vit", tmp_path / "folder", heads=4).options.heads == (4,)
    options = EncoderOptions(name="vit_tiny", width=64, depths=(2,), heads=(2,), image_size=48)
    path = write(
        tmp_path / "w.pth", to_published(encoder := build_encoder(options), KINDS["vit"].names(encoder))
    )
    with pytest.raises(UserError, match=r"heads of its width 64; give it with --heads"):
        convert_encoder(path, "vit", tmp_path / "other")
    assert convert_encoder(path, "vit", tmp_path / "other", heads=2).options == options
    path = write(tmp_path / "w.pth", published("vmamba", original("vmamba")[0]))
    with pytest.raises(UserError, match="leave out --heads"):
        convert_encoder(path, "vmamba", tmp_path / "third", heads=2)


def test_a_delta_file_with_settings_and_what_it_may_not_hold(tmp_path: Path) -> None:
    """As the stage-3 training writes it: model, config, epoch, step."""
    import argparse

    state = published("mambaxray-stage3", original("mambaxray-stage3")[0])
    tree = {"model": state, "config": argparse.Namespace(llm="x"), "epoch": 5, "step": 900}
    done = convert_encoder(write(tmp_path / "w.pth", tree), "mambaxray-stage3", tmp_path / "folder")
    assert done.account.dropped == {
        "projection to the language model": ["llama_proj.weight", "llama_proj.bias", "layer_norm.weight"]
    }
    tree["model"] = state | {"surprise.weight": torch.ones(1)}
    with pytest.raises(UserError, match=r"unknown surprise\.weight"):
        convert_encoder(write(tmp_path / "w.pth", tree), "mambaxray-stage3", tmp_path / "other")


def test_stage_1_starts_the_four_scans_of_stage_2(tmp_path: Path) -> None:
    encoder, options = original("arm-stage1")
    convert_encoder(
        write(tmp_path / "w.pth", published("arm-stage1", encoder)), "arm-stage1", tmp_path / "folder"
    )
    shape = options.shape() | {"image_size": 32}
    four = build_encoder(EncoderOptions(name="vision_mamba_tiny", init=str(tmp_path / "folder"), **shape))
    one, found = encoder.state_dict(), four.state_dict()
    for name in ("blocks.1.mixer.conv_weight", "blocks.0.mixer.decay_log", "blocks.2.mixer.selection"):
        assert all(torch.equal(part, one[name]) for part in found[name].chunk(4))
    assert torch.equal(found["blocks.0.mlp.gate.weight"], one["blocks.0.mlp.gate.weight"])


def test_a_larger_image_resamples_positions_of_the_folder(tmp_path: Path) -> None:
    encoder, options = original("vit")
    convert_encoder(write(tmp_path / "w.pth", published("vit", encoder)), "vit", tmp_path / "folder")
    changes = {"image_size": 96, "init": str(tmp_path / "folder")}
    larger = build_encoder(options.model_copy(update=changes)).eval()
    assert larger.state_dict()["positions"].shape == (1, 37, 192)
    images = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(larger(images).patches, encoder(images).patches, atol=1e-5, rtol=1e-5)


def test_a_folder_that_does_not_fit_the_recipe(tmp_path: Path) -> None:
    encoder, options = original("vit")
    convert_encoder(write(tmp_path / "w.pth", published("vit", encoder)), "vit", tmp_path / "folder")
    with pytest.raises(
        UserError, match=r"does not fit model\.encoder \(it holds a vit_tiny\): it has another"
    ):
        build_encoder(options.model_copy(update={"width": 96, "init": str(tmp_path / "folder")}))
    with pytest.raises(UserError, match="absent is not a folder of encoder weights"):
        build_encoder(options.model_copy(update={"init": str(tmp_path / "absent")}))
    (tmp_path / "folder" / "model.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match=r"model\.safetensors is damaged or was altered"):
        build_encoder(options.model_copy(update={"init": str(tmp_path / "folder")}))


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ([torch.ones(2)], "no mapping"),
        ({}, "it is empty"),
        ({"weights": {"a": torch.ones(2)}}, "no tensors: weights"),
        ({"model": {"a": torch.ones(2), "b": [1]}}, "no tensors: b"),
    ],
)
def test_files_without_weights(tree: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        convert_encoder(write(tmp_path / "w.pth", tree), "vit", tmp_path / "folder")


def test_unknown_kinds_and_the_wrong_way_back(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Unknown kind 'vmambo'; choose arm-stage1.*r2gen"):
        convert_encoder(tmp_path / "w.pth", "vmambo", tmp_path / "folder")
    path = write(tmp_path / "w.pth", published("vit", original("vit")[0]))
    convert_encoder(path, "vit", tmp_path / "folder")
    with pytest.raises(UserError, match="holds a vit_tiny, which is no encoder of kind swin"):
        publish_encoder(tmp_path / "folder", "swin", tmp_path / "back.safetensors")


REPORTS = ["No effusion. No effusion!", "Clear lungs. Clear lungs.", "no edema", "clear heart."]


@pytest.fixture
def annotation(tmp_path: Path) -> Path:
    tree = {"train": [{"report": text} for text in REPORTS], "test": [{"report": "secret secret"}]}
    (tmp_path / "annotation.json").write_text(json.dumps(tree))
    return tmp_path / "annotation.json"


def test_r2gen_becomes_a_model_folder(annotation: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    options = R2GenOptions(
        encoder=EncoderOptions(name="resnet101"),
        width=16,
        feed_forward=24,
        heads=2,
        layers=2,
        memory_heads=2,
        memory_slots=4,
        vocabulary_threshold=2,
    )
    words = ["clear lungs . clear lungs .", "no effusion . no effusion .", ". no edema clear"]
    generator = R2Gen.build(options, TrainStudies(words)).eval()
    assert generator.tokenizer.words == (".", "<unk>", "clear", "effusion", "lungs", "no")
    state = to_published(generator, r2gen_names(generator))
    path = write(tmp_path / "model_best.pth", {"state_dict": state, "epoch": 9, "monitor_best": 0.1})
    convert_r2gen(path, annotation, tmp_path / "folder", heads=2, threshold=2)
    loaded, recipe = load_model(tmp_path / "folder")
    assert recipe.model == options
    assert recipe.data.cleaner == "legacy-iu"
    own = generator.state_dict()
    assert all(torch.equal(value, own[key]) for key, value in loaded.state_dict().items())
    assert read_provenance(tmp_path / "folder")["converted_from"]["values"] == {
        "epoch": 9,
        "monitor_best": 0.1,
    }
    with pytest.raises(UserError, match=r"it knows 6 words, and .* gives \d+ at a threshold of 1"):
        convert_r2gen(path, annotation, tmp_path / "other", heads=2, threshold=1)
    with pytest.raises(UserError, match="is no annotation file of R2Gen"):
        convert_r2gen(path, tmp_path / "folder" / "provenance.json", tmp_path / "other")
    with pytest.raises(UserError, match=r"heads \(3\) must divide width \(16\); give --heads"):
        convert_r2gen(path, annotation, tmp_path / "other", heads=3, threshold=2)
    with pytest.raises(UserError, match=r"it has no encoder_decoder\.memory_matrix, so .* of kind r2gencmn"):
        convert_r2gen(path, annotation, tmp_path / "other", heads=2, threshold=2, kind="r2gencmn")
    with pytest.raises(UserError, match=r"so it is no file of kind r2gen"):
        convert_r2gen(write(tmp_path / "v.pth", {"a": torch.ones(1)}), annotation, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_r2gencmn_becomes_a_model_folder(annotation: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    options = R2GenCMNOptions(
        encoder=EncoderOptions(name="resnet101"),
        width=16,
        feed_forward=24,
        heads=2,
        layers=2,
        memory_rows=40,
        memory_top=32,
        vocabulary_threshold=2,
    )
    generator = R2GenCMN.build(
        options, TrainStudies(["clear lungs . clear lungs .", "no effusion . no effusion ."])
    ).eval()
    state = to_published(generator, r2gencmn_names(generator))
    assert torch.equal(state["encoder_decoder.cmn.linears.3.bias"], generator.network.memory.output.bias)
    path = write(tmp_path / "model_best.pth", {"state_dict": state, "epoch": 9})
    convert_r2gen(path, annotation, tmp_path / "folder", heads=2, threshold=2, kind="r2gencmn")
    loaded, recipe = load_model(tmp_path / "folder")
    assert recipe.model == options
    own = generator.state_dict()
    assert all(torch.equal(value, own[key]) for key, value in loaded.state_dict().items())
    state["encoder_decoder.model.cmn.linears.0.bias"] = torch.ones(16)
    path = write(tmp_path / "two.pth", {"state_dict": state})
    with pytest.raises(
        UserError, match=r"model\.cmn\.linears\.0\.bias must hold what .*r\.cmn\.linears\.0\.bias"
    ):
        convert_r2gen(path, annotation, tmp_path / "other", heads=2, threshold=2, kind="r2gencmn")
    assert not (tmp_path / "other").exists()

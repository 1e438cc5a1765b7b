"""Delta files of R2GenGPT, MambaXray-VL and AM-MRG to model folders: transformers, peft, golden numbers."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from generators.tiny_language import words_folder
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import SwinConfig, SwinModel
from typer.testing import CliRunner

from cxreport.checkpoints import load_model, read_provenance
from cxreport.checkpoints.convert import convert_encoder
from cxreport.checkpoints.name_map import NameMap, to_published
from cxreport.checkpoints.published.ammrg import stage2_names
from cxreport.checkpoints.published.vision_mamba import vision_mamba_names
from cxreport.cli import app
from cxreport.data.batch import Batch
from cxreport.encoders import build_encoder
from cxreport.generators.ammrg import AMMRG
from cxreport.generators.base import TrainStudies
from cxreport.generators.prefix_lm import PrefixLM
from cxreport.memories.bank import Bank, Entry, Origin
from cxreport.options import DecodingOptions, EncoderOptions
from cxreport.recipe import Recipe

LANGUAGE_WIDTH = 32
SHAPE: dict[str, Any] = {"width": 24, "depths": (3,), "state_size": 4, "patch": 8}
SETTINGS = argparse.Namespace(llm_r=16, dataset="mimic_cxr")
RECIPE = """
name: tiny
model:
  generator: {generator}
  language_model: {{path: {path}}}
  prompt: none
decoding: {{method: greedy, max_length: 5}}
"""


def swin(seed: int = 1) -> SwinModel:
    """A small Swin of transformers with random weights."""
    torch.manual_seed(seed)
    config = SwinConfig(embed_dim=12, depths=[1, 2, 1, 1], num_heads=[1, 2, 2, 4], image_size=224)
    model = SwinModel(config, add_pooling_layer=False).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)
    return model


RENAMED = {
    ".attention.q_proj": ".attention.self.query",
    ".attention.k_proj": ".attention.self.key",
    ".attention.v_proj": ".attention.self.value",
    ".attention.relative_position_bias.": ".attention.self.",
    ".attention.o_proj": ".attention.output.dense",
    ".mlp.fc1": ".intermediate.dense",
    ".mlp.fc2": ".output.dense",
}
"""Names of transformers 5 and those of the version that R2GenGPT was trained with, which 5 still writes."""


def trained_of(model: nn.Module) -> dict[str, Tensor]:
    """What is trained of an encoder, as the published code names and saves it."""
    found = {}
    for name, value in model.named_parameters():
        for new, old in RENAMED.items():
            name = name.replace(new, old)
        if value.requires_grad:
            found[f"visual_encoder.{name}"] = value.detach()
    return found


def projection(width: int) -> dict[str, Tensor]:
    """What stands between an encoder of that width and the language model."""
    generator = torch.Generator().manual_seed(2)
    shapes = {"llama_proj.weight": (LANGUAGE_WIDTH, width)}
    shapes |= dict.fromkeys(("llama_proj.bias", "layer_norm.weight", "layer_norm.bias"), (LANGUAGE_WIDTH,))
    return {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}


def projected(tokens: Tensor, weights: dict[str, Tensor]) -> Tensor:
    """The published ``layer_norm(llama_proj(tokens))``."""
    linear = functional.linear(tokens, weights["llama_proj.weight"], weights["llama_proj.bias"])
    return functional.layer_norm(
        linear, (LANGUAGE_WIDTH,), weights["layer_norm.weight"], weights["layer_norm.bias"]
    )


def write(path: Path, weights: dict[str, Tensor]) -> Path:
    """A delta file as the published code saves it."""
    torch.save({"model": weights, "config": SETTINGS, "epoch": 3, "step": 40}, path)
    return path


def convert(file: Path, kind: str, *more: object, fails: bool = False) -> str:
    """Run the command beside the tiny language model; its output."""
    recipe = file.with_name(f"{kind}.yaml")
    recipe.write_text(RECIPE.format(generator=kind, path=words_folder()), encoding="utf-8")
    out = file.with_name("model")
    words = [
        "convert",
        str(file),
        "--kind",
        kind,
        "--out",
        str(out),
        "--recipe",
        str(recipe),
        *map(str, more),
    ]
    result = CliRunner().invoke(app, words)
    assert (result.exit_code != 0) == fails, result.output
    return result.output


def image_of(folder: Path, images: Tensor) -> Tensor:
    """The image embeddings of the converted model for one view a study; it also drafts."""
    generator, _ = load_model(folder)
    assert isinstance(generator, PrefixLM)
    mask = torch.ones(len(images), 1, dtype=torch.bool)
    batch = Batch(
        images.unsqueeze(1), mask, [str(number) for number in range(len(images))], [""] * len(images)
    )
    drafts = generator.generate(batch, DecodingOptions(method="greedy", max_length=5))
    assert len(drafts) == len(images)
    with torch.no_grad():
        embeddings = generator.image_part(generator.look(batch)).embeddings
    assert embeddings is not None
    return embeddings


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(7))


@pytest.fixture
def encoder_folder(tmp_path: Path) -> Path:
    """Swin before R2GenGPT's training, as ``--kind swin`` makes it."""
    weights = {key.replace("visual_encoder.", "swin."): value for key, value in trained_of(swin()).items()}
    torch.save(weights, tmp_path / "swin.bin")
    convert_encoder(tmp_path / "swin.bin", "swin", tmp_path / "swin")
    return tmp_path / "swin"


class TestR2GenGPT:
    def test_deep(self, images: Tensor, tmp_path: Path) -> None:
        model = swin(seed=4)
        weights = projection(96)
        trained = trained_of(model)
        file = write(tmp_path / "deep.pth", trained | weights)
        printed = convert(file, "r2gengpt")
        assert f"Kept from its entry model, checked to come back unchanged: {len(trained) + 4}." in printed
        with torch.no_grad():
            expected = projected(model(images).last_hidden_state, weights)
        torch.testing.assert_close(image_of(tmp_path / "model", images), expected, atol=1e-4, rtol=1e-4)
        recipe = load_model(tmp_path / "model")[1]
        assert (recipe.model.variant, recipe.model.published) == ("deep", True)  # type: ignore[union-attr]
        facts = read_provenance(tmp_path / "model")["converted_from"]
        assert (facts["kind"], facts["values"]) == ("r2gengpt", {"epoch": 3, "step": 40})

    def test_delta(self, images: Tensor, encoder_folder: Path, tmp_path: Path) -> None:
        """peft's own updates of query and value, on top of the encoder that they were trained on."""
        lora = LoraConfig(
            r=3, lora_alpha=16, target_modules=["query", "value", "q_proj", "v_proj"], bias="none"
        )
        model = get_peft_model(swin(), lora).eval()
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                nn.init.normal_(parameter, std=0.2)
        weights = projection(96)
        trained = trained_of(model)
        assert len(trained) == 5 * 4
        file = write(tmp_path / "delta.pth", trained | weights)
        assert "only updates of its encoder" in convert(file, "r2gengpt", fails=True)
        convert(file, "r2gengpt", "--encoder", encoder_folder)
        with torch.no_grad():
            expected = projected(model(images).last_hidden_state, weights)
            without = projected(swin()(images).last_hidden_state, weights)
        found = image_of(tmp_path / "model", images)
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)
        assert (found - without).abs().max() > 0.1
        recipe = load_model(tmp_path / "model")[1]
        assert recipe.model.variant == "delta"  # type: ignore[union-attr]
        assert recipe.model.encoder_lora.rank == 3  # type: ignore[union-attr]

    def test_shallow(self, images: Tensor, encoder_folder: Path, tmp_path: Path) -> None:
        weights = projection(96)
        file = write(tmp_path / "shallow.pth", weights)
        assert "holds no encoder" in convert(file, "r2gengpt", fails=True)
        convert(file, "r2gengpt", "--encoder", encoder_folder)
        with torch.no_grad():
            expected = projected(swin()(images).last_hidden_state, weights)
        torch.testing.assert_close(image_of(tmp_path / "model", images), expected, atol=1e-4, rtol=1e-4)
        provenance = read_provenance(tmp_path / "model")
        assert provenance["encoder"]["kind"] == "swin"
        assert load_model(tmp_path / "model")[1].model.variant == "shallow"  # type: ignore[union-attr]

    def test_what_does_not_fit(self, encoder_folder: Path, tmp_path: Path) -> None:
        model, weights = swin(), projection(96)
        trained = trained_of(model)
        whole = write(tmp_path / "deep.pth", trained | weights)
        assert "leave out --encoder" in convert(whole, "r2gengpt", "--encoder", encoder_folder, fails=True)
        narrow = weights | {"llama_proj.weight": torch.zeros(48, 96)}
        told = convert(write(tmp_path / "narrow.pth", trained | narrow), "r2gengpt", fails=True)
        assert "language model of width 48" in told
        assert "has width 32" in told
        tuned = {
            "llama_model.base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight": torch.ones(
                2
            )
        }
        told = convert(write(tmp_path / "tuned.pth", trained | weights | tuned), "r2gengpt", fails=True)
        assert "updates of the language model (llama_model.base_model" in told
        del trained["visual_encoder.layernorm.bias"]
        told = convert(write(tmp_path / "hole.pth", trained | weights), "r2gengpt", fails=True)
        assert "missing layernorm.bias" in told
        told = convert(write(tmp_path / "other.pth", {"head.weight": torch.ones(2)}), "r2gengpt", fails=True)
        assert "no llama_proj.weight" in told
        assert not (tmp_path / "model").exists()


class TestMambaXray:
    @pytest.fixture
    def weights(self) -> tuple[Any, dict[str, Tensor]]:
        """A tiny encoder and a delta file's tensors."""
        torch.manual_seed(5)
        options = EncoderOptions(
            name="vision_mamba_tiny",
            image_size=40,
            **SHAPE,
        )
        encoder = build_encoder(options)
        for parameter in encoder.parameters():
            nn.init.normal_(parameter, std=0.1)
        names: Any = vision_mamba_names(encoder)  # type: ignore[arg-type]
        trained = {f"visual_encoder.{key}": value for key, value in to_published(encoder, names).items()}
        return encoder.eval(), trained | projection(24)

    def test_a_delta_file(self, weights: tuple[Any, dict[str, Tensor]], tmp_path: Path) -> None:
        encoder, tensors = weights
        head = {"visual_encoder.head.weight": torch.ones(2, 2)}
        printed = convert(write(tmp_path / "IU-Finetune-B.pth", tensors | head), "mambaxray")
        assert "Dropped, classifier: 1" in printed
        pictures = torch.randn(2, 3, 40, 40)
        with torch.no_grad():
            expected = projected(encoder(pictures).sequence, tensors)
        torch.testing.assert_close(image_of(tmp_path / "model", pictures), expected, atol=1e-5, rtol=1e-5)
        found = json.loads((tmp_path / "model" / "config.json").read_text())["recipe"]["model"]["encoder"]
        assert (found["name"], found["width"], found["depths"]) == ("vision_mamba_tiny", 24, [3])

    def test_a_recipe_of_another_system(self, weights: tuple[Any, dict[str, Tensor]], tmp_path: Path) -> None:
        file = write(tmp_path / "delta.pth", weights[1])
        recipe = tmp_path / "other.yaml"
        recipe.write_text(RECIPE.format(generator="r2gengpt", path=words_folder()))
        words = [
            "convert",
            str(file),
            "--kind",
            "mambaxray",
            "--out",
            str(tmp_path / "m"),
            "--recipe",
            str(recipe),
        ]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 1
        assert "is one of r2gengpt, not of mambaxray" in result.output

    def test_the_published_encoder_and_its_tokens(self, shared: Path, tmp_path: Path) -> None:
        """Golden weights and tokens of the published code, behind a projection of ours."""
        golden = load_file(shared / "golden" / "arm_finetune.safetensors")
        prefix = "weights."
        encoder = {
            f"visual_encoder.{key.removeprefix(prefix)}": value
            for key, value in golden.items()
            if key.startswith(prefix)
        }
        weights = projection(40)
        convert(write(tmp_path / "delta.pth", encoder | weights), "mambaxray")
        inputs = {
            key.removeprefix("inputs."): value for key, value in golden.items() if key.startswith("inputs.")
        }
        [pictures] = [value for value in inputs.values() if value.ndim == 4][:1]
        expected = projected(golden["outputs.tokens"], weights)
        torch.testing.assert_close(image_of(tmp_path / "model", pictures), expected, atol=1e-4, rtol=1e-4)


class TestAMMRG:
    """Stage 2 beside banks of one's own: its queries, memories and projections, and the encoder."""

    SIZES = (
        "queries: {width: 12, layers: 2, heads: 2, feed_forward: 16, image_width: 20}",
        "memory: {heads: 2, head_width: 6}",
    )

    def settings(self, tmp_path: Path, width: int = 12) -> list[str]:
        """The recipe's sizes and banks of random vectors of that width, for the command."""
        for name, count in (("disease", 5), ("reports", 6)):
            entries = [Entry(f"s{number}", f"p{number}") for number in range(count)]
            vectors = torch.randn(count, width, generator=torch.Generator().manual_seed(count))
            (tmp_path / name).mkdir()
            Bank(vectors, entries, Origin({"source": "tiny"})).save(tmp_path / name, name)
        sizes = [f"model.{each.replace(': ', '=', 1)}" for each in self.SIZES]
        sizes += [f"model.visual_bank={tmp_path / 'disease'}", f"model.report_bank={tmp_path / 'reports'}"]
        return [word for each in [*sizes, "model.query_count=4"] for word in ("--set", each)]

    def tensors(self, tmp_path: Path, settings: list[str]) -> tuple[Any, dict[str, Tensor]]:
        """A generator with random weights and its delta file's tensors."""
        options = Recipe.parse(
            {
                "name": "tiny",
                "model": {
                    "generator": "ammrg",
                    "encoder": {"name": "vision_mamba_tiny", "image_size": 40} | {**SHAPE},
                    "language_model": {"path": words_folder()},
                    "prompt": "none",
                    "published": True,
                },
            }
        )
        recipe = Recipe.changed(options.model_dump(mode="json"), settings[1::2], "tiny")
        torch.manual_seed(8)
        generator: Any = AMMRG.build(recipe.model, TrainStudies([])).eval()  # type: ignore[arg-type]
        for name, parameter in generator.named_parameters():
            if not name.startswith("language_model."):
                nn.init.normal_(parameter, std=0.3)
        names = stage2_names(generator.queries, generator.visual_memory, generator.report_memory)
        names |= vision_mamba_names(generator.encoder).prefixed("visual_encoder.", "encoder.")
        own = generator.state_dict()
        names |= NameMap({f"own: {key}": key for key in own.keys() - names.ours})
        found = to_published(generator, names)
        return generator, {key: value for key, value in found.items() if not key.startswith("own: ")}

    def test_a_delta_file(self, tmp_path: Path) -> None:
        settings = self.settings(tmp_path)
        generator, tensors = self.tensors(tmp_path, settings)
        leftover = {"Qformer.bert.embeddings.position_ids": torch.arange(3)[None]}
        vectors = {"HopfieldLayers.lookup_weights": torch.ones(1, 5, 12)}
        printed = convert(write(tmp_path / "stage2.pth", tensors | leftover | vectors), "ammrg", *settings)
        assert "Dropped, the memories' vectors: 1 (HopfieldLayers.lookup_weights)" in printed
        converted, _ = load_model(tmp_path / "model")
        assert isinstance(converted, AMMRG)
        mask = torch.ones(2, 1, dtype=torch.bool)
        batch = Batch(torch.randn(2, 1, 3, 40, 40), mask, ["a", "b"], ["", ""])
        with torch.no_grad():
            expected = generator.prefix(batch, generator.look(batch)).embeddings
            found = converted.prefix(batch, converted.look(batch)).embeddings
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)

    def test_banks_of_another_width_need_a_layer_that_no_file_has(self, tmp_path: Path) -> None:
        _, tensors = self.tensors(tmp_path, self.settings(tmp_path))
        (tmp_path / "narrow").mkdir()
        settings = self.settings(tmp_path / "narrow", width=7)
        told = convert(write(tmp_path / "stage2.pth", tensors), "ammrg", *settings, fails=True)
        assert "it does not hold report_memory.fits.0.bias" in told

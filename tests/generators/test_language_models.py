"""Language models: what is read from a folder, what is refused, and what a model folder keeps of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_language import byte_tokenizer, save, word_tokenizer, words_folder
from transformers import BertConfig, BertForMaskedLM

from cxreport.checkpoints import load_model, save_model
from cxreport.errors import UserError
from cxreport.generators.language_folder import weights_digest
from cxreport.generators.language_models import LanguageModel, load_language_model
from cxreport.generators.r2gengpt import R2GenGPT
from cxreport.model_options import LanguageModelOptions, LoraOptions, R2GenGPTOptions, R2GenOptions
from cxreport.options import EncoderOptions
from cxreport.recipe import Recipe
from cxreport.training.state import load_state, save_state


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A language model that a test may break."""
    return Path(shutil.copytree(words_folder(), tmp_path / "language"))


def load(folder: Path | str, **options: Any) -> LanguageModel:
    return load_language_model(LanguageModelOptions(path=str(folder), **options))


def generator(folder: Path | str, seed: int = 0, **options: Any) -> R2GenGPT:
    torch.manual_seed(seed)
    language = LanguageModelOptions(path=str(folder), **options)
    return R2GenGPT.build(R2GenGPTOptions(encoder=EncoderOptions(width=4), language_model=language), None)


def saved(model: R2GenGPT, folder: Path) -> Path:
    save_model(folder, model, Recipe(name="tiny", model=model.options), {"seed": 1})
    return folder


class TestRefused:
    def test_neither_a_folder_nor_a_cached_name(self) -> None:
        with pytest.raises(UserError, match=r"nobody/nothing is neither a folder nor .*`hf download nobody"):
            load("nobody/nothing")
        with pytest.raises(UserError, match="neither a folder"):
            load("runs/language/that/is/not/there")

    @pytest.mark.parametrize(
        ("missing", "message"),
        [
            (("config.json",), r"is not a language model: config.json is missing"),
            (("tokenizer.json", "tokenizer_config.json"), r"has no tokenizer; put its tokenizer.json there"),
            (("model.safetensors",), r"has no weights: model.safetensors is missing"),
        ],
    )
    def test_an_incomplete_folder(self, folder: Path, missing: tuple[str, ...], message: str) -> None:
        for name in missing:
            (folder / name).unlink()
        with pytest.raises(UserError, match=message):
            load(folder)

    def test_pickled_weights(self, folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        with pytest.raises(UserError, match=r"pickle \(\.bin\).*convert them to safetensors"):
            load(folder)

    def test_a_shard_that_is_missing(self, folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
        shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
        with pytest.raises(UserError, match=r"model-00002-of-00002.safetensors is missing"):
            load(folder)

    def test_weights_that_lack_a_tensor(self, folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        del weights["model.layers.1.mlp.up_proj.weight"]
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(UserError, match=r"not complete: its weights lack model.layers.1.mlp.up_proj"):
            load(folder)

    def test_another_kind_of_model(self, tmp_path: Path) -> None:
        config = BertConfig(vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
        BertForMaskedLM(config).save_pretrained(tmp_path)
        with pytest.raises(UserError, match="not a causal language model but BertForMaskedLM"):
            load(tmp_path)

    def test_a_damaged_config(self, folder: Path) -> None:
        (folder / "config.json").write_text("{")
        with pytest.raises(UserError, match=r"config.json is not readable JSON"):
            load(folder)

    def test_quantisation_without_its_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(UserError, match="pip install bitsandbytes"):
            load(words_folder(), quantised="8-bit")

    def test_low_rank_targets_that_do_not_exist(self) -> None:
        with pytest.raises(UserError, match=r"no layer query; its linear layers are .*q_proj"):
            load(words_folder(), tuning="lora", lora=LoraOptions(targets=("query",)))


def test_type_of_the_weights(folder: Path) -> None:
    assert load(folder).dtype == torch.float32
    assert load(folder, dtype="bf16").dtype == torch.bfloat16
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"dtype": "float16"}))
    assert load(folder).dtype == torch.float16
    assert load(folder, tuning="full").dtype == torch.float32


def test_attention_that_is_differentiated_in_bfloat16_gives_the_same_logits() -> None:
    """On a CPU it is plain, and all else has the fused one; numbers in full precision are the same."""
    model = load(words_folder())
    embeddings = torch.randn(2, 7, 32, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(2, 7, dtype=torch.bool)
    mask[1, :3] = False
    places = (mask.long().cumsum(dim=1) - 1).clamp_min(0)

    def logits() -> tuple[torch.Tensor, bool]:
        with torch.profiler.profile() as profile:
            found = model(embeddings, mask, places)
        return found.detach(), any("flash" in event.key for event in profile.key_averages())

    with torch.no_grad():
        exact, _ = logits()
    assert torch.equal(logits()[0], exact)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plain, plain_is_fused = logits()
        with torch.no_grad():
            fused, fused_is_fused = logits()
    assert (plain_is_fused, fused_is_fused) == (False, True)
    off_plain, off_fused = ((each.float() - exact).std() / exact.std() for each in (plain, fused))
    assert off_plain < 0.02
    assert off_fused < 0.02


def test_nothing_of_a_frozen_language_model_is_stored_or_trained(folder: Path) -> None:
    frozen = load(folder)
    assert list(frozen.state_dict()) == ["digest_bytes"]
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert not frozen.train().network.training


def test_low_rank_updates_alone_are_stored(folder: Path) -> None:
    tuned = load(folder, tuning="lora", lora=LoraOptions(rank=2))
    stored = {key for key in tuned.state_dict() if key != "digest_bytes"}
    assert stored == {f"network.{name}" for name, p in tuned.network.named_parameters() if p.requires_grad}
    layers = [f"model.layers.{layer}.self_attn.{name}" for layer in (0, 1) for name in ("q_proj", "v_proj")]
    assert stored == {f"network.{layer}.lora_{part}.default.weight" for layer in layers for part in "AB"}


def test_a_tensor_of_two_names_is_stored_once(tmp_path: Path) -> None:
    tied = save(tmp_path / "tied", word_tokenizer(), tie_word_embeddings=True)
    model = generator(tied, tuning="full")
    assert "language_model.network.lm_head.weight" not in model.state_dict()
    loaded, _ = load_model(saved(model, tmp_path / "model"))
    head = loaded.language_model.network.lm_head.weight
    assert head is loaded.language_model.network.model.embed_tokens.weight
    assert torch.equal(head, model.language_model.network.lm_head.weight)


class TestModelFolder:
    @pytest.mark.parametrize("options", [{"store": True}, {"tuning": "full"}], ids=str)
    def test_one_that_holds_the_language_model(
        self, folder: Path, tmp_path: Path, options: dict[str, Any]
    ) -> None:
        model = generator(folder, **options)
        saved(model, tmp_path / "model")
        shutil.rmtree(folder)
        loaded, _ = load_model(tmp_path / "model")
        before, after = model.state_dict(), loaded.state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key], after[key]) for key in before)
        assert loaded.language_model.tokens("no effusion .") == model.language_model.tokens("no effusion .")

    @pytest.mark.parametrize("options", [{}, {"tuning": "lora"}], ids=str)
    def test_one_that_does_not(self, folder: Path, tmp_path: Path, options: dict[str, Any]) -> None:
        model = generator(folder, **options)
        saved(model, tmp_path / "model")
        stored = load_file(tmp_path / "model" / "model.safetensors")
        assert not any("embed_tokens" in key or "base_layer" in key for key in stored)
        loaded, _ = load_model(tmp_path / "model")
        whole, again = (dict(each.language_model.network.named_parameters()) for each in (model, loaded))
        assert all(torch.equal(whole[key], again[key]) for key in whole)

    def test_a_language_model_that_was_moved(self, folder: Path, tmp_path: Path) -> None:
        digest = weights_digest(folder)
        saved(generator(folder), tmp_path / "model")
        folder.rename(tmp_path / "elsewhere")
        with pytest.raises(UserError, match=rf"--language-model.*SHA-256 {digest}"):
            load_model(tmp_path / "model")
        _, recipe = load_model(tmp_path / "model", str(tmp_path / "elsewhere"))
        assert recipe.model.language_model.path == str(tmp_path / "elsewhere")

    def test_another_language_model_in_its_place(self, folder: Path, tmp_path: Path) -> None:
        saved(generator(folder), tmp_path / "model")
        digest = weights_digest(folder)
        save(folder, word_tokenizer(), seed=5)
        with pytest.raises(UserError, match=f"not the one .*{weights_digest(folder)}, not {digest}"):
            load_model(tmp_path / "model")

    def test_a_generator_without_one(self, tmp_path: Path) -> None:
        from cxreport.generators.base import TrainStudies
        from cxreport.generators.r2gen import R2Gen

        options = R2GenOptions(encoder=EncoderOptions(width=4), vocabulary_threshold=1)
        model = R2Gen.build(options, TrainStudies(["no effusion ."]))
        save_model(tmp_path / "model", model, Recipe(name="r2gen", model=options), {})
        with pytest.raises(UserError, match="--language-model: the generator r2gen has no language model"):
            load_model(tmp_path / "model", words_folder())


def test_a_resumed_run_needs_the_same_language_model(folder: Path, tmp_path: Path) -> None:
    save_state(generator(folder).state_dict(), tmp_path / "state")
    state = load_state(tmp_path / "state")
    assert not any("network" in key for key in state)
    other = generator(folder, seed=3)
    other.load_state_dict(state)
    assert torch.equal(other.projection.weight, state["projection.weight"])
    save(folder, word_tokenizer(), seed=5)
    with pytest.raises(UserError, match="trained with another language model"):
        generator(folder).load_state_dict(state)


def test_a_tokenizer_without_an_end(tmp_path: Path) -> None:
    endless = save(tmp_path / "endless", byte_tokenizer())
    with pytest.raises(UserError, match="no symbol that ends"):
        generator(endless)

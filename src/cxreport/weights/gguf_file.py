"""A GGUF file of a Llama-like language model to an ordinary folder of transformers.

The values become float32 as the file's format says, so the folder needs neither GGUF nor its reader again.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cxreport.errors import UserError
from cxreport.weights.folder import WEIGHTS, check_fit

EXTRA = "install cxreport[smollm2]"
_SPECIAL = 3
"""The type of control symbols among the tokens of a GGUF file."""


def need_packages(name: str) -> None:
    """UserError unless what reads the GGUF file called `name` is installed."""
    if importlib.util.find_spec("gguf") is None:
        raise UserError(f"Reading {name} needs the package gguf; {EXTRA}.")


def write_language_model(file: Path, folder: Path) -> dict[str, str]:
    """Write weights, configuration and tokenizer of `file` into `folder`; facts of its header are returned.

    The tokenizer is read back, and must number the file's tokens as the file does. Raises UserError where the
    packages are missing and where `file` holds another architecture than Llama's, another tokenizer than
    SmolLM's, or tensors that do not fit its configuration.
    """
    reader = _reader(file)
    fields = {key: reader.get_field(f"general.{key}") for key in ("architecture", "name", "license")}
    facts = {key: str(field.contents()) for key, field in fields.items() if field is not None}
    if facts.get("architecture") != "llama":
        raise UserError(f"{file} holds a model of the architecture {facts.get('architecture')}, not llama.")
    tokenizer = _tokenizer(reader, file)
    tokenizer.save_pretrained(folder, save_jinja_files=False)
    _read_by_every_version(folder / "tokenizer_config.json")
    _check_tokenizer(reader, folder)

    from safetensors.torch import save_file
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    config = AutoConfig.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True)
    config.name_or_path = facts.get("name", "")
    with torch.device("meta"):  # names and shapes alone
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.config.architectures = [type(model).__name__]
    weights, own = _weights(reader), model.state_dict()
    if config.tie_word_embeddings:
        own.pop(_HEAD)
    check_fit(file, weights, own, "its own configuration")
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    model.config.save_pretrained(folder)
    GenerationConfig.from_model_config(model.config).save_pretrained(folder)
    return facts


def _weights(reader: Any) -> dict[str, Tensor]:
    """All tensors in float32 under transformers' names; its own reader keeps a model that cannot be saved."""
    from gguf import dequantize

    heads = {"q": _value(reader, "llama.attention.head_count")}
    heads["k"] = _value(reader, "llama.attention.head_count_kv")
    weights = {}
    for tensor in reader.tensors:
        weight = torch.tensor(dequantize(tensor.data, tensor.tensor_type))
        kind = tensor.name.partition("attn_")[2].partition(".")[0]
        name = _transformers_name(tensor.name)
        weights[name] = _halves_apart(weight, heads[kind]) if kind in heads else weight
    return weights


def _check_tokenizer(reader: Any, folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    tokens = _value(reader, "tokenizer.ggml.tokens")
    if len(tokenizer) != len(tokens) or tokenizer.convert_ids_to_tokens(list(range(len(tokens)))) != tokens:
        raise UserError(f"The tokenizer of {folder} numbers its tokens otherwise than its source.")


def _reader(file: Path) -> Any:
    need_packages(file.name)

    from gguf import GGUFReader

    try:
        return GGUFReader(file)
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise UserError(f"{file} is no readable GGUF file: {error}.") from None


def _value(reader: Any, key: str) -> Any:
    field = reader.get_field(key)
    if field is None:
        raise UserError(f"The GGUF file has no {key}.")
    return field.contents()


def _tokenizer(reader: Any, file: Path) -> Any:
    """Byte-level BPE from the file's vocabulary and merges; digits stand alone where the file says so.

    transformers' own reader leaves the rule of digits out (``tokenizer.ggml.pre: smollm``).
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    key = "tokenizer.ggml"
    kind, rule = _value(reader, f"{key}.model"), _value(reader, f"{key}.pre")
    if (kind, rule) != ("gpt2", "smollm"):
        raise UserError(f"{file} has a tokenizer of the kind {kind}, {rule}; only SmolLM's is read.")
    tokens, types = _value(reader, f"{key}.tokens"), _value(reader, f"{key}.token_type")
    merges = [tuple(merge.split(" ")) for merge in _value(reader, f"{key}.merges")]
    byte_pairs = Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, merges))
    byte_pairs.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    byte_pairs.decoder = decoders.ByteLevel()
    special = [token for token, type_ in zip(tokens, types, strict=True) if type_ == _SPECIAL]
    byte_pairs.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    roles = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
    return PreTrainedTokenizerFast(
        tokenizer_object=byte_pairs,
        model_max_length=_value(reader, "llama.context_length"),
        chat_template=_value(reader, "tokenizer.chat_template"),
        clean_up_tokenization_spaces=False,
        **{name: tokens[_value(reader, f"{key}.{role}_token_id")] for name, role in roles.items()},
    )


def _read_by_every_version(path: Path) -> None:
    """Name the tokenizer's class as transformers 4 and 5 both know it."""
    tree = json.loads(path.read_text(encoding="utf-8"))
    tree["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(tree, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_HEAD = "lm_head.weight"
_ENDS = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": _HEAD,
}


def _transformers_name(name: str) -> str:
    """transformers' name of a tensor of llama.cpp's Llama."""
    if name in _ENDS:
        return _ENDS[name]
    _, block, part, ending = name.split(".")
    return f"model.layers.{block}.{_NAMES[part]}.{ending}"


def _halves_apart(weight: Tensor, heads: int) -> Tensor:
    """Queries or keys (heads * d, D): llama.cpp turns neighbours, transformers the halves of a head."""
    pairs = weight.unflatten(0, (heads, -1, 2))
    return pairs.transpose(1, 2).flatten(0, 2).contiguous()

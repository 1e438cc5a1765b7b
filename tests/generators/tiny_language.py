"""Language models of a few thousand weights, made on the spot: tests need no download."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

REPORTS = [
    "the lungs are clear . no effusion .",
    "there is a small left effusion .",
    "the heart is enlarged . the lungs are clear .",
    "no pneumothorax .",
]
ROOT = Path(tempfile.mkdtemp(prefix="cxreport-tiny-language-"))
atexit.register(shutil.rmtree, ROOT, ignore_errors=True)


def word_tokenizer() -> PreTrainedTokenizerFast:
    """A word is a token; what is in no report is ``<unk>``."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.train_from_iterator(
        REPORTS, trainers.WordLevelTrainer(special_tokens=["<unk>", "<s>", "</s>"], show_progress=False)
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


def byte_tokenizer(**special: str) -> PreTrainedTokenizerFast:
    """Byte-level pieces of the reports, with these special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=list(special.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(REPORTS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def save(folder: Path, tokenizer: Any, seed: int = 0, **config: Any) -> Path:
    """A folder with an untrained Llama of width 32 and two layers."""
    shape = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 128,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": None,
        "initializer_range": 0.3,
    }
    torch.manual_seed(seed)
    LlamaForCausalLM(LlamaConfig(**(shape | config))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    assert AutoTokenizer.from_pretrained(folder)(REPORTS[0]).input_ids == tokenizer(REPORTS[0]).input_ids
    return folder


@cache
def words_folder() -> str:
    """An untrained language model of words."""
    with torch.random.fork_rng():
        return str(save(ROOT / "words", word_tokenizer()))


@cache
def bytes_folder() -> str:
    """An untrained language model of byte-level pieces, without a symbol that begins a text."""
    with torch.random.fork_rng():
        return str(save(ROOT / "bytes", byte_tokenizer(eos_token="<end>"), seed=1))

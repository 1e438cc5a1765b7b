"""Byte-level byte-pair tokenizers, learnt from the train split: any text comes back as it went in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BEGIN, END, PAD = "<|begin|>", "<|end|>", "<|pad|>"
"""Special tokens, ids 0, 1 and 2; no cleaned report holds one."""


def train_subwords(
    texts: Sequence[str], vocabulary: int, *, max_length: int, ends: bool = False
) -> PreTrainedTokenizerFast:
    """A tokenizer with at most `vocabulary` entries, the most frequent pairs of bytes in `texts` merged.

    As in Llama's, an encoded text begins with :data:`BEGIN`, and has no end unless `ends`. Padding is on the
    right and an entry of its own. `max_length` is what its user can read.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=[BEGIN, END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A {END}" if ends else f"{BEGIN} $A", special_tokens=[(BEGIN, 0), (END, 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        padding_side="right",
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )


def save_subwords(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write ``tokenizer.json`` and ``tokenizer_config.json``, which transformers 4 and 5 read alike."""
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    tree = json.loads(path.read_text(encoding="utf-8")) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    path.write_text(json.dumps(tree, indent=2) + "\n", encoding="utf-8")


def load_subwords(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of a folder that :func:`save_subwords` wrote."""
    from transformers import PreTrainedTokenizerFast

    loaded: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    return loaded

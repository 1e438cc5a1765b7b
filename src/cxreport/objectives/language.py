"""A small causal language model of reports, in Hugging Face's Llama layout.

R2GenGPT, MambaXray-VL, R2GenCSR and AM-MRG put images as soft tokens before a pre-trained language model
(Llama-2-7b-chat, Qwen1.5). Where none can be had, this is the stand-in: a Llama (Touvron et al., 2023: RMS
norms, rotary positions, SwiGLU) of a few million parameters with a byte-level BPE tokenizer, both learnt on
reports of the train split alone. The loss is the cross-entropy of the next token over report and end. Some
training reports follow an instruction of the published systems, so that a model which stays frozen has seen
their words; no loss is on those.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cxreport.data.batch import Batch
from cxreport.data.subwords import load_subwords, save_subwords, train_subwords
from cxreport.errors import UserError
from cxreport.pretraining import LanguageOptions
from cxreport.weights.folder import (
    CONFIG,
    PROVENANCE,
    WEIGHTS,
    check_fit,
    digests_of,
    read_provenance_file,
    read_tensors,
    replacing,
    verify_files,
    write_json,
    write_tensors,
)

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

FORMAT = "cxreport-language-1"
NOUN = "language model folder"
_PUBLISHED = (
    "Human: <Img></Img> Generate a comprehensive and detailed diagnosis report for this chest xray image. "
    "\nAssistant:"
)
PROMPTS = (
    _PUBLISHED,
    f"Note: <Img></Img> with disease. Note: <Img></Img> normal. {_PUBLISHED}",
    "Write the findings of this chest X-ray.\nFindings:",
    "Indication: chest pain.\nWrite the report.\nReport:",
)
"""Instructions, the first as R2GenGPT and its descendants have it, the second as R2GenCSR."""
IGNORED = -100
GROUP = 4
"""Reports of like length that are read together; a whole batch would be more than half padding."""


class ReportLanguageModel(nn.Module):
    """A Llama with its tokenizer; ``loss(batch)`` reads the reports of a batch."""

    def __init__(
        self, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompted: float = 0.0
    ) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.prompted = prompted
        self.max_length = int(model.config.max_position_embeddings)

    @classmethod
    def build(cls, options: LanguageOptions, reports: Sequence[str]) -> ReportLanguageModel:
        """A model of random weights whose tokenizer is learnt from `reports`, those of the train split."""
        from transformers import LlamaConfig, LlamaForCausalLM

        texts = [*reports, *PROMPTS]
        tokenizer = train_subwords(texts, options.vocabulary, max_length=options.max_length)
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=options.width,
            intermediate_size=options.feed_forward,
            num_hidden_layers=options.layers,
            num_attention_heads=options.heads,
            num_key_value_heads=options.heads,
            max_position_embeddings=options.max_length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            tie_word_embeddings=False,
            architectures=[LlamaForCausalLM.__name__],
        )
        return cls(LlamaForCausalLM(config), tokenizer, options.prompted)

    @classmethod
    def load(cls, folder: Path) -> ReportLanguageModel:
        """The model of a folder of :meth:`save`, in evaluation mode.

        Raises UserError where it is no such folder, or a file of it is not as it was written.
        """
        from transformers import LlamaConfig, LlamaForCausalLM

        check_language_folder(folder)
        model = LlamaForCausalLM(LlamaConfig.from_pretrained(folder, local_files_only=True))
        weights = read_tensors(folder / WEIGHTS)
        check_fit(folder / WEIGHTS, weights, model.state_dict(), CONFIG)
        model.load_state_dict(weights)
        return cls(model, load_subwords(folder)).eval()

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """``loss`` is the mean over the ``tokens`` of the reports, ends included."""
        prompts = [self._prompt(draw) for draw in batch.draws] if self.training else [""] * len(batch)
        losses = self.token_losses(batch.reports, prompts)
        return {"loss": losses.mean(), "tokens": losses.new_tensor(len(losses))}

    def token_losses(self, reports: Sequence[str], prompts: Sequence[str]) -> Tensor:
        """Negative log-probabilities (K,) of all tokens of `reports` and their ends, in no certain order."""
        pairs = zip(reports, prompts, strict=True)
        rows = sorted((self._row(report, prompt) for report, prompt in pairs), key=lambda row: len(row[0]))
        groups = (rows[first : first + GROUP] for first in range(0, len(rows), GROUP))
        return torch.cat([self._losses_of_group(group) for group in groups])

    def _row(self, report: str, prompt: str) -> tuple[list[int], list[int]]:
        """Begin, prompt, report, end, cut at ``max_length``; and the targets, those of the report."""
        start = self.tokenizer(prompt).input_ids
        text = self.tokenizer(report, add_special_tokens=False).input_ids
        ids = [*start, *text, self.tokenizer.eos_token_id][: self.max_length]
        return ids, ([IGNORED] * len(start) + ids[len(start) :])[: len(ids)]

    def _losses_of_group(self, rows: Sequence[tuple[list[int], list[int]]]) -> Tensor:
        pad, device = nn.utils.rnn.pad_sequence, self.model.device
        ids, targets = ([torch.tensor(part) for part in parts] for parts in zip(*rows, strict=True))
        read = pad(ids, batch_first=True, padding_value=self.tokenizer.pad_token_id).to(device)
        wanted = pad(targets, batch_first=True, padding_value=IGNORED).to(device)[:, 1:]
        # padding comes after every token that counts, and attention is causal: no mask is needed
        logits = self.model(input_ids=read).logits[:, :-1]
        asked = wanted != IGNORED
        return functional.cross_entropy(logits[asked].float(), wanted[asked], reduction="none")

    def truncated(self, reports: Iterable[str]) -> int:
        """How many reports do not fit ``max_length``, begin and end included."""
        lengths = (len(self.tokenizer(report).input_ids) + 1 for report in reports)
        return sum(length > self.max_length for length in lengths)

    def measured(self) -> dict[str, object]:
        """Nothing is counted."""
        return {}

    def save(self, folder: Path, provenance: dict[str, Any]) -> None:
        """Write a ``transformers`` folder, with the SHA-256 of every file in its ``provenance.json``."""
        with replacing(folder, NOUN) as part:
            # as save_pretrained does, whose progress bar nobody asked for
            write_tensors(part / WEIGHTS, self.model.state_dict(), {"format": "pt"})
            self.model.config.save_pretrained(part)
            self.model.generation_config.save_pretrained(part)
            save_subwords(self.tokenizer, part)
            write_json(part / PROVENANCE, {"format": FORMAT, **provenance, "files": digests_of(part)})

    def _prompt(self, draw: int) -> str:
        rng = np.random.default_rng(draw)
        return PROMPTS[rng.integers(len(PROMPTS))] if rng.random() < self.prompted else ""


@torch.no_grad()
def perplexity(system: ReportLanguageModel, reports: Sequence[str], batch_size: int = 16) -> dict[str, Any]:
    """How well `reports` are predicted without a prompt: ``perplexity`` a token, and a word with its end.

    The second does not depend on the tokenizer, so that models may be compared by it.
    """
    system.eval()
    total, tokens = 0.0, 0
    for first in range(0, len(reports), batch_size):
        part = reports[first : first + batch_size]
        losses = system.token_losses(part, [""] * len(part))
        total, tokens = total + float(losses.double().sum()), tokens + len(losses)
    words = sum(len(report.split()) + 1 for report in reports)
    return {
        "reports": len(reports),
        "tokens": tokens,
        "words": words,
        "perplexity": math.exp(total / tokens),
        "perplexity_per_word": math.exp(total / words),
    }


def check_language_folder(folder: Path) -> None:
    """UserError unless `folder` is of :meth:`ReportLanguageModel.save` and every file as it was written."""
    try:
        provenance = read_provenance_file(folder)
    except (OSError, ValueError):
        provenance = {}
    if provenance.get("format") != FORMAT:
        raise UserError(f"{folder} is not a {NOUN}; `cxreport pretrain language` writes one (RUN/model).")
    verify_files(folder, provenance["files"], "train again")

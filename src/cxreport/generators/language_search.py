"""Drafts of a language model after a prefix of embeddings, searched by transformers with its cache."""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from cxreport.generators.decoding import guided
from cxreport.options import DecodingOptions

if TYPE_CHECKING:
    from cxreport.generators.language_models import LanguageModel


@dataclass(frozen=True, slots=True)
class Prefix:
    """What a language model reads before the report.

    ``embeddings`` (B, P, D), those of shorter prompts to the right; ``mask`` (B, P) is False in the places
    to their left, which are not seen.
    """

    embeddings: Tensor
    mask: Tensor

    @staticmethod
    def of(embeddings: Tensor, mask: Tensor) -> Prefix:
        """Close the gaps where `mask` (B, P) is False: what is seen moves right, in its order."""
        if mask.all():
            return Prefix(embeddings, mask)
        longest = int(mask.sum(dim=1).max())
        order = mask.long().argsort(dim=1, stable=True)[:, -longest:]
        seen = mask.gather(1, order)
        moved = embeddings.gather(1, order.unsqueeze(2).expand(-1, -1, embeddings.shape[2]))
        return Prefix(moved * seen.unsqueeze(2), seen)

    @property
    def positions(self) -> Tensor:
        """Positions (B, P), counted from the first token that is seen."""
        return (self.mask.long().cumsum(dim=1) - 1).clamp_min(0)


def begun(model: LanguageModel, prefix: Prefix) -> Any:
    """The cache of `prefix` but its last token: all that is written after it, and every beam, shares it.

    None where there is nothing to share, or the cache of this architecture cannot be shared.
    """
    from transformers import DynamicCache

    if prefix.mask.shape[1] < 2:
        return None
    cache = model.cache(prefix.embeddings[:, :-1], prefix.mask[:, :-1], prefix.positions[:, :-1])
    return cache if isinstance(cache, DynamicCache) else None


def read_after(
    model: LanguageModel, prefix: Prefix, words: Tensor, mask: Tensor, cache: Any = None
) -> Tensor:
    """Logits (B, T, V) for each of T tokens from what stands before it.

    `words` (B, T, D) are their embeddings; `mask` (B, T) says which are real.

    With the `cache` that :func:`begun` made of `prefix`, that is not read again.
    """
    embeddings, seen, positions = joined(prefix, words, mask)
    if cache is None:
        return model(embeddings, seen, positions, keep=words.shape[1] + 1)[:, :-1]
    new = slice(prefix.mask.shape[1] - 1, -1)
    logits: Tensor = model(embeddings[:, new], seen[:, :-1], positions[:, new], past=copy.deepcopy(cache))
    return logits


def joined(prefix: Prefix, words: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings (B, P + T, D), mask and positions (B, P + T) of `words` (B, T, D) after `prefix`."""
    embeddings = in_a_row([prefix.embeddings, words])
    after = prefix.mask.sum(dim=1, keepdim=True) + torch.arange(words.shape[1], device=words.device)
    return (
        embeddings,
        torch.cat([prefix.mask, mask], dim=1),
        torch.cat([prefix.positions, after], dim=1),
    )


def in_a_row(embeddings: Sequence[Tensor]) -> Tensor:
    """Embeddings (B, N, D) of one type one after another.

    Outside autocast, which to bfloat16 refuses float16: published systems train like this.
    """
    with torch.autocast(embeddings[0].device.type, enabled=False):
        return torch.cat(list(embeddings), dim=1)


def search(
    model: LanguageModel,
    prefix: Prefix,
    decoding: DecodingOptions,
    study_ids: Sequence[str],
    cache: Any = None,
    blind: Prefix | None = None,
) -> list[list[int]]:
    """The ids written for each of B studies, the end included unless ``max_length`` came first.

    With the `cache` that :func:`begun` made of `prefix`, that is not read again, nor by every beam. `blind`
    is the prefix without the image, which ``guidance`` needs.
    """
    from transformers import GenerationConfig, LogitsProcessorList, RepetitionPenaltyLogitsProcessor

    config = GenerationConfig(
        max_new_tokens=decoding.max_length,
        min_new_tokens=decoding.min_new_tokens or None,
        num_beams=decoding.beam_size if decoding.method == "beam" else 1,
        do_sample=False,
        length_penalty=decoding.length_penalty,
        no_repeat_ngram_size=decoding.no_repeat_ngram,
        eos_token_id=model.eos,
        pad_token_id=model.pad,
    )
    processors = LogitsProcessorList()
    if decoding.repetition_penalty != 1:
        # not by the configuration: transformers 5 then leaves out as many written ids as a prompt has padding
        processors.append(RepetitionPenaltyLogitsProcessor(decoding.repetition_penalty))
    if decoding.guidance and blind is not None:
        processors.append(Guided(model, blind, decoding.guidance))
    if decoding.method == "sample":
        processors.append(DrawnTokens(decoding, study_ids))
    with warnings.catch_warnings():
        # that only written ids count, which the prompt's embeddings have none of
        warnings.filterwarnings("ignore", "Passing `no_repeat_ngram_size` with `inputs_embeds`", UserWarning)
        written = model.network.generate(
            inputs_embeds=prefix.embeddings,
            attention_mask=prefix.mask.long(),
            generation_config=config,
            logits_processor=processors,
            **{model.cache_name: _for_beams(cache, config.num_beams)},
        )
    return [_until_end(row, model.eos) for row in written.tolist()]


def _for_beams(cache: Any, beams: int) -> Any:
    """A copy of `cache`, every study as often as it has beams."""
    cache = copy.deepcopy(cache)
    if cache is not None and beams > 1:
        cache.batch_repeat_interleave(beams)
    return cache


class Guided:
    """A logits processor: :func:`cxreport.generators.decoding.guided`."""

    def __init__(self, model: LanguageModel, blind: Prefix, strength: float) -> None:
        self._model, self._blind, self._strength = model, blind, strength
        self._cache: Any = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores (B, V) of the tokens after ``input_ids`` (B, T), with the image, to guided ones."""
        seen = (scores - scores.logsumexp(dim=1, keepdim=True)).float()
        without = self._next_without(input_ids).float()
        return guided(seen, without.log_softmax(dim=1), self._strength)

    def _next_without(self, ids: Tensor) -> Tensor:
        """Logits (B, V) after `ids` (B, T), one more of them than at the last call, without the image."""
        blind = self._blind
        mask = torch.cat([blind.mask, blind.mask.new_ones(ids.shape)], dim=1)
        if self._cache is None:
            words, places = blind.embeddings, blind.positions
        else:
            words, places = self._model.embed(ids[:, -1:]), mask.long().sum(dim=1, keepdim=True) - 1
        logits, self._cache = self._model.advance(words, mask, places, self._cache)
        return logits


class DrawnTokens:
    """A logits processor that makes the most probable token a drawn one, for every study by its own seed.

    With Gumbel noise added to its logits the largest is a draw from their softmax, so that what is drawn does
    not depend on the batch (as it does with transformers' own sampling, where a batch shares one seed).
    """

    def __init__(self, decoding: DecodingOptions, study_ids: Sequence[str]) -> None:
        from transformers import TopPLogitsWarper

        self._temperature = decoding.temperature
        self._nucleus = TopPLogitsWarper(decoding.top_p) if decoding.top_p < 1 else None
        self._draws = [torch.Generator().manual_seed(_seed(decoding.seed, study)) for study in study_ids]

    def __call__(self, input_ids: Any, scores: Tensor) -> Tensor:
        """Scores (B, V) after a draw."""
        scores = scores.float() / self._temperature
        if self._nucleus is not None:
            scores = self._nucleus(input_ids, scores)
        uniform = torch.stack([torch.rand(scores.shape[1], generator=draw) for draw in self._draws])
        tiny = torch.finfo(torch.float32).tiny
        noise = -(-uniform.clamp_min(tiny).log()).clamp_min(tiny).log()
        return scores + noise.to(scores)


def _seed(seed: int, study: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {study}".encode()).digest()[:8], "big") >> 1


def _until_end(row: list[int], eos: int | None) -> list[int]:
    return row[: row.index(eos) + 1] if eos in row else row

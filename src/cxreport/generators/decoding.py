"""Greedy and beam search over any autoregressive generator, with R2Gen's published semantics.

Source: published R2Gen ``modules/caption_model.py`` and ``modules/att_model.py``. B studies, K beams per
study, V ids; the id :data:`END` begins and ends a text.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from cxreport.data.words import END
from cxreport.errors import UserError
from cxreport.generators.transformer import take_beams
from cxreport.model_options import GeneratorOptions
from cxreport.options import DecodingOptions

FINISHED = 1000.0
"""Taken from the score of a beam that has ended and runs on."""
PLAUSIBLE = 0.1
"""Guidance chooses among ids at least this times as probable as the most probable one."""
TRIGRAM_PENALTY = 0.693 * 2.0
"""Taken from a word's log-probability for every time that it has completed the same trigram before."""


def refuse_unheeded(decoding: DecodingOptions, options: GeneratorOptions) -> None:
    """UserError where `decoding` asks for what a generator of these `options` cannot do."""
    if refusal := options.refusal(decoding):
        raise UserError(f"{refusal[0].upper()}{refusal[1:]}.")


def guided(seen: Tensor, blind: Tensor, strength: float) -> Tensor:
    """Log-probabilities (..., V) of the next id with and without the image to scores that favour the former.

    An id less than :data:`PLAUSIBLE` times as probable as the most probable one scores minus infinity.
    Source: visual contrastive decoding (Leng et al., CVPR 2024, equations 3 and 4), with no image in the
    place of a distorted one, as classifier-free guidance has it (Sanchez et al., ICML 2024).
    """
    least = seen.amax(dim=-1, keepdim=True) + math.log(PLAUSIBLE)
    return (seen + strength * (seen - blind)).masked_fill(seen < least, float("-inf"))


class Stepper(Protocol):
    """A generator in the middle of writing: it holds what it has written and seen for every study."""

    def step(self, tokens: Tensor) -> Tensor:
        """Write tokens (B, K) and return the log-probabilities (B, K, V) of the next ones."""

    def reorder(self, beams: Tensor) -> None:
        """From now on beam k of study b continues what beam ``beams[b, k]`` (B, K) has written."""


@dataclass(frozen=True, slots=True)
class Guide:
    """What writes the same text without the image, and how much the difference counts."""

    blind: Stepper
    strength: float

    def ranked(self, scores: Tensor, token: Tensor) -> Tensor:
        """Log-probabilities `scores` (B, V) of what follows `token` (B, 1) to guided ones."""
        return guided(scores, self.blind.step(token).squeeze(1), self.strength)


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A written text: ids without the one that begins, the end included unless the length limit cut it.

    ``logprobs`` holds each id's log-probability, ``score`` what the search ranked the text by.
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    score: float


def greedy_search(
    stepper: Stepper,
    studies: int,
    max_length: int,
    device: torch.device,
    block_trigrams: bool = False,
    guide: Guide | None = None,
) -> list[Hypothesis]:
    """The most probable id at every step, at most `max_length` ids; with a `guide` that of its ranking.

    `block_trigrams` lowers, from the fourth id on, an id by :data:`TRIGRAM_PENALTY` for each earlier time
    that it completed the same trigram. The reported log-probabilities contain neither.
    """
    ids = torch.zeros(studies, 0, dtype=torch.long, device=device)
    logprobs = torch.zeros(studies, 0, device=device)
    running = torch.ones(studies, 1, dtype=torch.bool, device=device)
    token = torch.full((studies, 1), END, device=device)
    for _ in range(max_length):
        scores = stepper.step(token).squeeze(1)
        ranked = scores if guide is None else guide.ranked(scores, token)
        if block_trigrams and ids.shape[1] >= 3:
            ranked = ranked - _trigram_penalty(ids, scores)
        token = torch.where(running, ranked.argmax(dim=1, keepdim=True), END)
        ids = torch.cat([ids, token], dim=1)
        logprobs = torch.cat([logprobs, scores.gather(1, token)], dim=1)
        running = running & (token != END)
        if not running.any():
            break
    return [_hypothesis(row, steps) for row, steps in zip(ids.tolist(), logprobs.tolist(), strict=True)]


def beam_search(
    stepper: Stepper, studies: int, beam_size: int, max_length: int, device: torch.device, keep: int = 1
) -> list[list[Hypothesis]]:
    """The `keep` best hypotheses of every study, best first, of at most `max_length` ids.

    A beam that ends is stored with its summed log-probability, without length penalty, and runs on with
    :data:`FINISHED` taken from its score; at the length limit every running beam is stored. The search stops
    before that when no running beam can enter the best `keep` any more: scores only ever fall.
    """
    token = torch.full((studies, 1), END, device=device)
    sums = torch.zeros(studies, 1, device=device)
    ids = torch.zeros(studies, 1, 0, dtype=torch.long, device=device)
    logprobs = torch.zeros(studies, 1, 0, device=device)
    stored: list[list[Hypothesis]] = [[] for _ in range(studies)]
    for length in range(1, max_length + 1):
        step = stepper.step(token)
        candidates = (sums.unsqueeze(2) + step).flatten(1)
        sums, chosen = candidates.topk(min(beam_size, candidates.shape[1]), dim=1)
        beams, token = chosen // step.shape[2], chosen % step.shape[2]
        stepper.reorder(beams)
        ids = torch.cat([take_beams(ids, beams), token.unsqueeze(2)], dim=2)
        taken = step.flatten(1).gather(1, chosen)
        logprobs = torch.cat([take_beams(logprobs, beams), taken.unsqueeze(2)], dim=2)
        ended = token == END if length < max_length else torch.ones_like(token, dtype=torch.bool)
        for study, beam in ended.nonzero().tolist():
            text, each = ids[study, beam].tolist(), logprobs[study, beam].tolist()
            stored[study].append(Hypothesis(tuple(text), tuple(each), sums[study, beam].item()))
        sums = torch.where(ended, sums - FINISHED, sums)
        best_running = sums.amax(dim=1).tolist()
        if all(_decided(done, keep, best) for done, best in zip(stored, best_running, strict=True)):
            break
    return [_best(done, keep) for done in stored]


def _best(stored: list[Hypothesis], keep: int) -> list[Hypothesis]:
    """Sorted is stable: of equal scores the one stored first wins."""
    return sorted(stored, key=lambda hypothesis: -hypothesis.score)[:keep]


def _decided(stored: list[Hypothesis], keep: int, best_running: float) -> bool:
    return len(stored) >= keep and _best(stored, keep)[-1].score >= best_running


def _trigram_penalty(ids: Tensor, scores: Tensor) -> Tensor:
    """Penalty (B, V) of each id after ids (B, T)."""
    first, second, third = ids[:, :-2], ids[:, 1:-1], ids[:, 2:]
    repeats = (first == ids[:, -2:-1]) & (second == ids[:, -1:])
    return torch.zeros_like(scores).scatter_add(1, third, repeats * torch.tensor(TRIGRAM_PENALTY).to(scores))


def _hypothesis(ids: list[int], logprobs: list[float]) -> Hypothesis:
    length = ids.index(END) + 1 if END in ids else len(ids)
    return Hypothesis(tuple(ids[:length]), tuple(logprobs[:length]), sum(logprobs[:length]))

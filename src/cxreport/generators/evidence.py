"""What each sentence of a draft rests on: its words' probability, places in the image, entries of a bank.

Two kinds of maps: ``attention``, what the decoder looked at while it wrote the sentence, and ``gradient``,
Grad-CAM (Selvaraju et al., ICCV 2017) of the sentence's summed log-probability over the encoder's patches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from cxreport.data.batch import chosen_views
from cxreport.data.sentences import sentence_spans
from cxreport.encoders import Encoder, Tokens
from cxreport.errors import UserError
from cxreport.options import DataOptions
from cxreport.study import Draft, ImageMap, SentenceEvidence, Study

if TYPE_CHECKING:
    from cxreport.data.batch import Batch
    from cxreport.generators.base import Generator

EvidenceKind = Literal["scores", "attention", "gradient"]
"""``scores`` are log-probabilities and bank entries alone; the others add maps over the views."""

FINEST = 24
"""Most cells a side of a map; a finer grid of patches is averaged."""


@dataclass(frozen=True, slots=True)
class ScoredText:
    """Natural-log probabilities (T,) of the tokens of a given text, its end included.

    ``ends`` has for each of them how many characters of the text stand once it is written.
    """

    logprobs: Tensor
    ends: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TokenMaps:
    """Where a generator looked while it wrote each token of a text.

    ``weights`` (T, V, h, w), zero in absent views; ``ends`` as in :class:`ScoredText`.
    """

    weights: Tensor
    ends: tuple[int, ...]


def sentence_tokens(text: str, ends: Sequence[int]) -> list[tuple[tuple[int, int], list[int]]]:
    """Every sentence of `text` as its (start, end), with the numbers of the tokens that wrote it.

    A token belongs to the sentence of its first letter or sign; tokens of blanks or of part of a character go
    to the one after them. The end of the text belongs to no sentence.
    """
    sentences: list[tuple[tuple[int, int], list[int]]] = [(span, []) for span in sentence_spans(text)]
    waiting: list[int] = []
    before = 0
    for number, end in enumerate(ends):
        waiting.append(number)
        piece = text[before:end]
        if piece.strip():
            first = before + len(piece) - len(piece.lstrip())
            for (start, stop), tokens in sentences:
                if start <= first < stop:
                    tokens += waiting
            waiting = []
        before = max(before, end)
    return sentences


def sentence_scores(draft: Draft) -> tuple[SentenceEvidence, ...]:
    """The sentences of `draft` with the mean log-probability of their tokens."""
    return tuple(
        SentenceEvidence(start, end, _mean([draft.token_logprobs[token] for token in tokens]))
        for (start, end), tokens in sentence_tokens(draft.text, draft.token_ends)
    )


def evidence_of(
    generator: Generator, batch: Batch, drafts: Sequence[Draft], kind: EvidenceKind
) -> list[tuple[SentenceEvidence, ...]]:
    """The sentences of `drafts`, which `generator` wrote for `batch`, and what they rest on.

    Raises UserError where the generator cannot give this kind.
    """
    scored = [sentence_scores(draft) for draft in drafts]
    texts = [draft.text for draft in drafts]
    training = generator.training
    generator.eval()
    try:
        maps: Iterable[list[tuple[ImageMap, ...]]] = ([()] * len(sentences) for sentences in scored)
        if kind == "attention":
            with torch.no_grad():
                maps = _attention_maps(generator, batch, texts)
        elif kind == "gradient":
            maps = gradient_maps(generator, batch, texts)
        with torch.no_grad():
            banks = generator.bank_entries(batch)
    finally:
        generator.train(training)
    return [
        tuple(replace(sentence, maps=seen, bank=bank) for sentence, seen in zip(sentences, each, strict=True))
        for sentences, each, bank in zip(scored, maps, banks, strict=True)
    ]


def evidence_tree(draft: Draft, study: Study, options: DataOptions) -> list[dict[str, Any]]:
    """The sentences of `draft` as ``predictions.jsonl`` keeps them: plain values, rounded."""
    views = chosen_views(study, options) if any(one.maps for one in draft.sentences) else []
    return [
        {
            "sentence": draft.text[one.start : one.end],
            "start": one.start,
            "end": one.end,
            "mean_logprob": round(one.mean_logprob, 4),
            "maps": [
                {
                    "view": seen.view,
                    "projection": views[seen.view].projection,
                    "grid": list(seen.grid),
                    "values": [round(value, 2) for value in seen.values],
                }
                for seen in one.maps
            ],
            "bank": [
                {"entry": entry.entry, "study": entry.study, "score": round(entry.score, 4)}
                for entry in one.bank
            ],
        }
        for one in draft.sentences
    ]


def gradient_maps(
    generator: Generator, batch: Batch, texts: Sequence[str]
) -> list[list[tuple[ImageMap, ...]]]:
    """Grad-CAM of every sentence of `texts`, one map for each present view.

    A channel counts by its mean gradient over the view's patches, a patch by its channels' weighted sum where
    that is positive. The maps of a sentence share one scale. The encoder itself is not differentiated.
    """
    with torch.enable_grad(), _watched(generator, batch) as seen:
        scored = generator.score(batch, texts)
        tokens = seen[-1]
        studies = batch.view_mask.nonzero()[:, 0].tolist()
        spans = [sentence_tokens(text, one.ends) for text, one in zip(texts, scored, strict=True)]
        maps: list[list[tuple[ImageMap, ...]]] = [[] for _ in texts]
        for number in range(max(map(len, spans), default=0)):
            # studies do not touch each other, so one backward pass serves sentence `number` of all of them
            having = [study for study, sentences in enumerate(spans) if number < len(sentences)]
            total = torch.stack([scored[s].logprobs[spans[s][number][1]].sum() for s in having]).sum()
            [gradient] = torch.autograd.grad(total, tokens.patches, retain_graph=True)
            weights = gradient.mean(dim=1, keepdim=True)
            heat = (weights * tokens.patches.detach()).sum(dim=2).relu().unflatten(1, tokens.grid)
            for study in having:
                rows = [heat[row] for row, owner in enumerate(studies) if owner == study]
                maps[study].append(_image_maps(rows))
    return maps


def _attention_maps(
    generator: Generator, batch: Batch, texts: Sequence[str]
) -> list[list[tuple[ImageMap, ...]]]:
    maps = []
    for text, attended, present in zip(
        texts, generator.attention(batch, texts), batch.view_mask, strict=True
    ):
        sentences = sentence_tokens(text, attended.ends)
        views = int(present.sum())  # absent views stand last
        maps.append(
            [_image_maps(list(attended.weights[tokens, :views].mean(dim=0))) for _, tokens in sentences]
        )
    return maps


def _image_maps(views: Sequence[Tensor]) -> tuple[ImageMap, ...]:
    """Maps (h, w) of the present views on one scale from 0 to 1, of at most :data:`FINEST` cells a side."""
    views = [
        functional.adaptive_avg_pool2d(view[None], (min(view.shape[0], FINEST), min(view.shape[1], FINEST)))[
            0
        ]
        for view in views
    ]
    highest = max((float(view.max()) for view in views), default=0.0)
    scale = 1 / highest if highest > 0 else 0.0
    return tuple(
        ImageMap(place, (view.shape[0], view.shape[1]), tuple((view * scale).flatten().tolist()))
        for place, view in enumerate(views)
    )


@contextmanager
def _watched(generator: Generator, batch: Batch) -> Iterator[list[Tokens]]:
    """Collects what the encoder gives for the present views of `batch`, as leaves that gradients reach.

    The encoder may also be asked about other images, those of a bank.
    """
    encoder = getattr(generator, "encoder", None)
    if not isinstance(encoder, Encoder):
        raise UserError("This generator has no image encoder, so there is no gradient map; ask for scores.")
    images = batch.images[batch.view_mask]
    seen: list[Tokens] = []
    enabled: list[bool] = []

    def begin(module: Encoder, inputs: Any) -> None:
        enabled.append(torch.is_grad_enabled())
        torch.set_grad_enabled(False)

    def keep(module: Encoder, inputs: Any, tokens: Tokens) -> Tokens:
        torch.set_grad_enabled(enabled.pop())
        if not torch.equal(inputs[0], images):
            return tokens
        leaf = tokens.patches.detach().requires_grad_()
        sequence, place = tokens.sequence, tokens.class_place
        if sequence is not None and place is not None:
            sequence = torch.cat([leaf[:, :place], sequence[:, [place]], leaf[:, place:]], dim=1)
        seen.append(replace(tokens, patches=leaf, sequence=sequence))
        return seen[-1]

    handles = (encoder.register_forward_pre_hook(begin), encoder.register_forward_hook(keep))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0

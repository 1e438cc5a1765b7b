"""Generators that put a study's images as tokens before the text of a causal language model.

What is read is ``[BOS] text image text report [EOS]``. A generator of this kind is a subclass of
:class:`PrefixLM` that changes one of these, from the outside in:

- :meth:`PrefixLM.prompt_parts`: texts and embeddings in their order (R2GenCSR puts context samples first);
- :meth:`PrefixLM.image_part`: the embeddings of the image (AM-MRG adds tokens from its memories);
- :meth:`PrefixLM.joined_views`: a study's views as one sequence of encoder tokens.

B studies, V views, N tokens of a view, E the width of the encoder, D that of the language model.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxreport.encoders import Encoder, build_encoder
from cxreport.errors import UserError
from cxreport.generators.base import Generator, TrainStudies
from cxreport.generators.decoding import refuse_unheeded
from cxreport.generators.evidence import ScoredText, TokenMaps
from cxreport.generators.finding_loss import FindingHead
from cxreport.generators.image_dropout import ImageDropout
from cxreport.generators.language_models import LanguageModel, load_language_model, restore_language_model
from cxreport.generators.language_search import Prefix, begun, in_a_row, read_after, search
from cxreport.generators.low_rank import add_low_rank
from cxreport.generators.prefix_attention import image_attention, numbered
from cxreport.generators.prompts import prompt_of
from cxreport.generators.seen import Seen
from cxreport.generators.views import mean_of_views, spread
from cxreport.generators.word_dropout import WordDropout
from cxreport.generators.word_loss import word_loss
from cxreport.model_options import PrefixOptions
from cxreport.options import DecodingOptions
from cxreport.study import Draft

if TYPE_CHECKING:
    from cxreport.data.batch import Batch

END = "</s>"
"""What R2GenGPT writes at the end of a report, whatever the tokenizer makes of it."""
_NEEDS_A_BEGINNING = (
    "compares with a text that begins without the image, and this language model has no symbol that begins a"
    " text (bos_token); set model.prompt."
)


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of the prompt: ``text``, the same for all studies, or ``embeddings`` (B, N, D) of their own.

    Places where ``mask`` (B, N) is False do not exist for their study; without it all do. ``image`` says
    that these are image tokens (for messages), ``begin`` that this is the symbol that begins a text.
    """

    text: str = ""
    embeddings: Tensor | None = None
    mask: Tensor | None = None
    image: bool = False
    begin: bool = False


class PrefixLM(Generator):
    """Image encoder, projection with layer norm, and a causal language model.

    Trained are of the encoder what ``options.variant`` says, the projection, and of the language model what
    ``options.language_model.tuning`` says. Raises UserError for a tokenizer without a symbol that ends texts.
    """

    def __init__(self, options: PrefixOptions, encoder: Encoder, language_model: LanguageModel) -> None:
        super().__init__()
        if language_model.eos is None and not options.published:
            raise UserError(
                f"The tokenizer of the language model {options.language_model.path} has no symbol that ends a"
                " text (eos_token); name one in its tokenizer_config.json."
            )
        self.options = options
        self.encoder = encoder
        self.language_model = language_model
        self.projection = nn.Linear(encoder.width, language_model.width)
        self.norm = nn.LayerNorm(language_model.width)
        self.word_dropout = WordDropout(options.word_dropout)
        self.image_dropout = ImageDropout(options.image_dropout)
        self.prompt = prompt_of(options, language_model.tokenizer)
        if options.views == "embeddings":
            self.view_embeddings = nn.Parameter(torch.zeros(options.most_views, encoder.width))
        if options.finding_loss:
            self.finding_head = FindingHead(encoder.width)
        self._encoder_frozen = False
        if options.variant == "shallow":
            self.freeze_encoder()
        elif options.variant == "delta":
            add_low_rank(encoder, options.encoder_lora)

    @classmethod
    def build(cls, options: Any, train: TrainStudies) -> Self:
        """The language model and, where ``encoder.init`` names some, the encoder's weights are read."""
        return cls(options, build_encoder(options.encoder), load_language_model(options.language_model))

    def freeze_encoder(self) -> None:
        """From now on the encoder is not trained and always in evaluation mode."""
        self.encoder.requires_grad_(False)
        self._encoder_frozen = True
        self.encoder.eval()

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all but frozen parts, which stay in evaluation mode."""
        super().train(mode)
        if self._encoder_frozen:
            self.encoder.eval()
        return self

    # What a subclass may change

    def prompt_parts(self, batch: Batch, seen: Seen) -> list[Part]:
        """The prompt of every study, in order and without the symbol that begins a text."""
        return [Part(self.prompt.before), self.image_part(seen), Part(self.prompt.after)]

    def image_part(self, seen: Seen) -> Part:
        """The image as embeddings of the language model."""
        tokens, mask = self.joined_views(seen)
        return Part(embeddings=self.norm(self.projection(tokens)), mask=mask, image=True)

    def joined_views(self, seen: Seen) -> tuple[Tensor, Tensor | None]:
        """Encoder tokens (B, M, E) of all views as ``options.views`` says, and which of them exist (B, M)."""
        if self.options.views == "mean":
            return mean_of_views(seen.tokens, seen.view_mask), None
        tokens = seen.tokens
        if self.options.views == "embeddings":
            tokens = tokens + self._view_vectors(seen.view_mask.shape[1])[:, None, :]
        return tokens.flatten(1, 2), seen.view_mask.repeat_interleave(tokens.shape[2], dim=1)

    # What a subclass may use

    def look(self, batch: Batch) -> Seen:
        """Encode the present views of `batch` and merge patches as ``options.merge_patches`` says."""
        found = self.encoder(batch.images[batch.view_mask])
        tokens = found.patches if found.sequence is None else found.sequence
        seen = Seen(
            spread(tokens, batch.view_mask),
            spread(found.pooled, batch.view_mask),
            batch.view_mask,
            found.grid,
            None if found.sequence is None else found.class_place,
        )
        return seen.merged(self.options.merge_patches)

    def embed_text(self, text: str) -> Tensor:
        """Embeddings (N, D) of `text`, tokenised without special tokens."""
        ids = torch.tensor(self.language_model.tokens(text), dtype=torch.long, device=self.norm.weight.device)
        return self.language_model.embed(ids)

    def prefix(self, batch: Batch, seen: Seen, hidden: Tensor | None = None) -> Prefix:
        """All that the language model reads before a report; UserError where its window is too small.

        For studies that are `hidden` (B,) it is that of :meth:`blind_prefix`.
        """
        parts, pieces, masks = self._pieces(batch, seen)
        if hidden is not None:
            texts = [part.embeddings is None or part.begin for part in parts]
            masks = [
                mask if text else mask & ~hidden.unsqueeze(1) for mask, text in zip(masks, texts, strict=True)
            ]
            if not sum(piece.shape[1] for piece, text in zip(pieces, texts, strict=True) if text):
                raise UserError(f"model.image_dropout {_NEEDS_A_BEGINNING}")
        prefix = Prefix.of(in_a_row(pieces), torch.cat(masks, dim=1))
        image = sum(part.embeddings.shape[1] for part in parts if part.image and part.embeddings is not None)
        self._check_window(prefix.mask.shape[1], image)
        return prefix

    def blind_prefix(self, batch: Batch, seen: Seen) -> Prefix:
        """The texts of the prompt alone, the same for all studies, for ``decoding.guidance``.

        UserError where there is neither a text nor a symbol that begins one.
        """
        bos, parts = self._begin(), self.prompt_parts(batch, seen)
        texts = [part.text for part in parts if part.embeddings is None]
        ids = [] if bos is None else [bos]
        ids += [token for text in texts for token in self.language_model.tokens(text)]
        if not ids:
            raise UserError(f"decoding.guidance {_NEEDS_A_BEGINNING}")
        rows = torch.tensor(ids, device=self.norm.weight.device).expand(len(batch), -1)
        return Prefix(self.language_model.embed(rows), torch.ones_like(rows, dtype=torch.bool))

    def report_ids(self, reports: Sequence[str], max_length: int | None = None) -> tuple[Tensor, Tensor]:
        """Ids (B, T) of `reports`, at most `max_length` of each, ends included, and which (B, T) are real."""
        rows = [self._encoded(report)[:max_length] for report in reports]
        if max_length is not None and not self.options.published:
            rows = [[*row[:-1], self._end()] for row in rows]
        lengths = torch.tensor([len(row) for row in rows])
        pad = 0 if self.options.published else self.language_model.pad
        ids = torch.full((len(rows), int(lengths.max())), pad)
        for place, row in zip(ids, rows, strict=True):
            place[: len(row)] = torch.tensor(row)
        device = self.norm.weight.device
        return ids.to(device), (torch.arange(ids.shape[1]) < lengths.unsqueeze(1)).to(device)

    # The interface of a generator

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Mean negative log-likelihood over all tokens and ends of the batch's reports, and their number.

        With ``finding_loss`` and ``word_loss`` their weighted parts are added and also given by their names.
        """
        ids, mask = self.report_ids(batch.reports, self.options.max_length)
        seen = self.look(batch)
        prefix = self.prefix(batch, seen, self.image_dropout(batch.view_mask))
        self._check_window(prefix.mask.shape[1], report=ids.shape[1])
        words = self.word_dropout(self.language_model.embed(ids))
        logits = read_after(self.language_model, prefix, words, mask)
        learnt = mask & (ids != 0) if self.options.published else mask
        loss = functional.cross_entropy(logits[learnt].float(), ids[learnt])
        parts = {"loss": loss, "tokens": learnt.sum()}
        if self.options.finding_loss:
            found = self.finding_head.loss(seen.tokens.flatten(1, 2), batch.view_mask, batch.findings)
            parts["finding_loss"] = self.options.finding_loss * found
            parts["loss"] = parts["loss"] + parts["finding_loss"]
        if self.options.word_loss:
            image, table = self.image_part(seen), self.language_model.network.get_input_embeddings().weight
            assert image.embeddings is not None  # an image is no text
            said = word_loss(image.embeddings, image.mask, table, ids, mask)
            parts["word_loss"] = self.options.word_loss * said
            parts["loss"] = parts["loss"] + parts["word_loss"]
        return parts

    def generate(self, batch: Batch, decoding: DecodingOptions) -> list[Draft]:
        """Search one draft per study; ``seconds`` is an equal share of the batch's time.

        The log-probabilities of its tokens are the language model's own: no penalty, temperature or least
        length enters them.
        """
        refuse_unheeded(decoding, self.options)
        start = time.perf_counter()
        training = self.training
        self.eval()
        with torch.inference_mode():
            seen = self.look(batch)
            prefix = self.prefix(batch, seen)
            self._check_window(prefix.mask.shape[1], report=decoding.max_length)
            cache = begun(self.language_model, prefix)
            blind = self.blind_prefix(batch, seen) if decoding.guidance else None
            written = search(self.language_model, prefix, decoding, batch.study_ids, cache, blind)
            if self.options.published:
                written = [self._until_end(ids) for ids in written]
            logprobs = self._logprobs(prefix, *self._padded(written), cache)
        self.train(training)
        seconds = (time.perf_counter() - start) / len(written)
        return [
            self._draft(ids, tuple(row[: len(ids)].tolist()), seconds)
            for ids, row in zip(written, logprobs, strict=True)
        ]

    def score(self, batch: Batch, texts: Sequence[str]) -> list[ScoredText]:
        """The log-probability of every token of `texts` and of their ends, teacher forced, differentiable."""
        ids, mask = self.report_ids(texts)
        prefix = self.prefix(batch, self.look(batch))
        self._check_window(prefix.mask.shape[1], report=ids.shape[1])
        logprobs = self._logprobs(prefix, ids, mask)
        return [
            ScoredText(row[real], self._token_ends(tokens[real].tolist(), text))
            for row, real, tokens, text in zip(logprobs, mask, ids, texts, strict=True)
        ]

    def attention(self, batch: Batch, texts: Sequence[str]) -> list[TokenMaps]:
        """What the language model gives every patch, averaged over heads and layers.

        With ``views: mean`` a patch stands for all views and each gets its share. UserError where the image
        tokens are not the encoder's.
        """
        ids, mask = self.report_ids(texts)
        seen = self.look(batch)
        parts, pieces, masks = self._pieces(batch, seen)
        prefix = self.prefix(batch, seen)
        self._check_window(prefix.mask.shape[1], report=ids.shape[1])
        places, count = numbered([piece.shape[1] for piece in pieces], [part.image for part in parts], masks)
        weights = image_attention(self.language_model, prefix, ids, mask, places, count)
        views, tokens = seen.tokens.shape[1:3]
        if count == tokens:
            present = seen.view_mask / seen.view_mask.sum(dim=1, keepdim=True)
            weights = weights.unsqueeze(2) * present[:, None, :, None]
        elif count == views * tokens:
            weights = weights.unflatten(2, (views, tokens))
        else:
            raise UserError("This generator's image tokens are not the patches; ask for evidence: gradient.")
        if seen.class_place is not None:
            kept = [place for place in range(tokens) if place != seen.class_place]
            weights = weights[..., kept]
        weights = weights.unflatten(3, seen.grid)
        return [
            TokenMaps(row[real], self._token_ends(own[real].tolist(), text))
            for row, real, own, text in zip(weights, mask, ids, texts, strict=True)
        ]

    def features(self, batch: Batch) -> Tensor:
        """Pooled encoder features (B, E), averaged over the views that are present."""
        return self.look(batch).global_vector()

    def encoder_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters of the image encoder."""
        return self.encoder.parameters()

    def truncated(self, reports: Iterable[str]) -> int:
        """How many reports have more tokens than ``max_length`` leaves room for."""
        return sum(len(self._encoded(report)) > self.options.max_length for report in reports)

    def save_assets(self, folder: Path) -> None:
        """Write the tokenizer and language_model.json."""
        self.language_model.save(folder)

    @classmethod
    def load_assets(cls, options: Any, folder: Path) -> Self:
        """The language model is read, the encoder is untrained; saved weights will replace the latter's."""
        language_model = restore_language_model(options.language_model, folder)
        return cls(options, build_encoder(options.encoder.untrained()), language_model)

    def _pieces(self, batch: Batch, seen: Seen) -> tuple[list[Part], list[Tensor], list[Tensor]]:
        """The parts of the whole prompt, each as embeddings (B, N, D) and with the mask (B, N) of them."""
        studies, device = len(batch), seen.tokens.device
        parts, bos = self.prompt_parts(batch, seen), self._begin()
        if bos is not None:
            begin = self.language_model.embed(torch.tensor([[bos]], device=device))
            parts = [Part(embeddings=begin, begin=True), *parts]
        pieces = []
        for part in parts:
            if part.embeddings is None:
                pieces.append(self.embed_text(part.text).unsqueeze(0))
            else:
                pieces.append(part.embeddings)
        pieces = [piece.to(self.language_model.dtype).expand(studies, -1, -1) for piece in pieces]
        masks = [
            piece.new_ones(piece.shape[:2], dtype=torch.bool) if part.mask is None else part.mask
            for piece, part in zip(pieces, parts, strict=True)
        ]
        return parts, pieces, masks

    def _begin(self) -> int | None:
        bos = self.language_model.bos
        return 0 if bos is None and self.options.published else bos

    def _encoded(self, report: str) -> list[int]:
        if self.options.published:
            return self.language_model.tokens(report + END)
        return [*self.language_model.tokens(report), self._end()]

    def _end(self) -> int:
        eos = self.language_model.eos
        assert eos is not None  # checked when it was built
        return eos

    def _view_vectors(self, views: int) -> Tensor:
        if views > self.options.most_views:
            raise UserError(
                f"A study has {views} views, and model.most_views is {self.options.most_views}; lower"
                " data.max_views."
            )
        return self.view_embeddings[:views]

    def _padded(self, written: list[list[int]]) -> tuple[Tensor, Tensor]:
        longest = max(len(ids) for ids in written)
        device = self.norm.weight.device
        rows = [ids + [self.language_model.pad] * (longest - len(ids)) for ids in written]
        mask = [[place < len(ids) for place in range(longest)] for ids in written]
        return torch.tensor(rows, device=device), torch.tensor(mask, device=device)

    def _logprobs(self, prefix: Prefix, ids: Tensor, mask: Tensor, cache: Any = None) -> Tensor:
        """Log-probabilities (B, T) of ids (B, T) after `prefix`, of which `cache` may be the beginning."""
        words = self.language_model.embed(ids)
        logits = read_after(self.language_model, prefix, words, mask, cache).float()
        return logits.gather(2, ids.unsqueeze(2)).squeeze(2) - logits.logsumexp(dim=2)

    def _draft(self, ids: list[int], logprobs: tuple[float, ...], seconds: float) -> Draft:
        text, whole = self.language_model.text(ids), ids[-1] == self.language_model.eos
        if self.options.published:
            whole = whole or END in text
            text = text.split(END)[0].strip()
        return Draft(text, logprobs, seconds, self._token_ends(ids, text), finished=whole)

    def _token_ends(self, ids: list[int], text: str) -> tuple[int, ...]:
        """How many characters of `text` stand once each of `ids` is written."""
        ends = []
        for count in range(1, len(ids) + 1):
            begun = self.language_model.text(ids[:count]).removesuffix("\N{REPLACEMENT CHARACTER}")
            ends.append(min(len(begun), len(text)))
        return tuple(ends)

    def _until_end(self, ids: list[int]) -> list[int]:
        """The ids up to a written-out ``</s>``, as R2GenGPT cuts its texts."""
        for count in range(1, len(ids) + 1):
            if END in self.language_model.tokenizer.decode(ids[:count]):
                return ids[:count]
        return ids

    def _check_window(self, prompt: int, image: int = 0, report: int = 0) -> None:
        window = self.language_model.window
        if window is None or prompt + report <= window:
            return
        name = f"the {window} of the language model's context window"
        if image > window:
            raise UserError(
                f"The image takes {image} tokens, more than {name}; use an encoder with larger patches,"
                " smaller images (data.image_size), or model.views: mean."
            )
        if report:
            raise UserError(
                f"The prompt takes {prompt} tokens and a report up to {report}, together more than {name};"
                " lower model.max_length and decoding.max_length, or shorten the prompt."
            )
        raise UserError(
            f"The prompt takes {prompt} tokens, {image} of them image, more than {name}; shorten it."
        )

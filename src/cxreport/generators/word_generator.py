"""Generators of an image encoder, an encoder-decoder and a word tokenizer: what R2Gen and R2GenCMN share."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxreport.data.words import END, WordTokenizer, word_ends
from cxreport.encoders import Encoder, build_encoder
from cxreport.errors import UserError
from cxreport.generators.base import Generator, TrainStudies
from cxreport.generators.decoding import Guide, Hypothesis, beam_search, greedy_search, refuse_unheeded
from cxreport.generators.encoder_decoder import POSITIONS, EncoderDecoder
from cxreport.generators.evidence import ScoredText, TokenMaps
from cxreport.generators.finding_loss import FindingHead
from cxreport.generators.image_dropout import ImageDropout
from cxreport.generators.transformer import Places
from cxreport.generators.views import mean_of_views, spread
from cxreport.model_options import EncoderDecoderOptions
from cxreport.options import DecodingOptions
from cxreport.study import Draft

if TYPE_CHECKING:
    from cxreport.data.batch import Batch

TOKENIZER = "tokenizer.json"


class WordGenerator(Generator):
    """Image encoder, encoder-decoder and word tokenizer.

    The patches of a study's views stand one after another; those of absent views are hidden. A study without
    an image, for ``image_dropout`` and ``decoding.guidance``, has patches of zeros.
    """

    def __init__(self, options: EncoderDecoderOptions, encoder: Encoder, tokenizer: WordTokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.encoder = encoder
        self.options = options
        self.network = self.build_network(len(tokenizer), encoder.width)
        self.image_dropout = ImageDropout(options.image_dropout)
        if options.finding_loss:
            self.finding_head = FindingHead(encoder.width)

    @abstractmethod
    def build_network(self, words: int, feature_width: int) -> EncoderDecoder:
        """The untrained encoder-decoder of ``self.options`` for this vocabulary and width of a patch."""

    def patch_positions(self, grid: tuple[int, int], views: int) -> Tensor | None:
        """Positions (V*N, D) to add to the patches of V = `views` views of a `grid` each; here none."""
        return None

    @classmethod
    def build(cls, options: EncoderDecoderOptions, train: TrainStudies) -> Self:
        """Make the vocabulary from the train split's cleaned reports, then the weights."""
        tokenizer = WordTokenizer.train(train.reports, options.vocabulary_threshold)
        return cls(options, build_encoder(options.encoder), tokenizer)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Mean negative log-likelihood over all words and ends of the batch, and their number.

        With ``finding_loss`` its weighted part is added and also given as ``finding_loss``.
        """
        ids, target = self._padded(batch, batch.reports, self.options.max_length)
        features, grid = self._features(batch)
        hidden = self.image_dropout(batch.view_mask)
        shown = features if hidden is None else features.masked_fill(hidden[:, None, None], 0)
        context, mask = self._context(shown, grid, batch.view_mask)
        decoded = self.network.decode(context, mask, ids[:, :-1], Places(target))
        loss = functional.cross_entropy(self.network.head(decoded), ids[:, 1:][target])
        parts = {"loss": loss, "tokens": target.sum()}
        if self.options.finding_loss:
            found = self.finding_head.loss(features, batch.view_mask, batch.findings)
            parts["finding_loss"] = self.options.finding_loss * found
            parts["loss"] = loss + parts["finding_loss"]
        return parts

    def score(self, batch: Batch, texts: Sequence[str]) -> list[ScoredText]:
        """The log-probability of every word of `texts` and of their ends, teacher forced, differentiable."""
        ids, target = self._padded(batch, texts)
        context, mask = self._context(*self._features(batch), batch.view_mask)
        logprobs = self.network.log_probabilities(self.network.decode(context, mask, ids[:, :-1]))
        taken = logprobs.gather(2, ids[:, 1:, None]).squeeze(2)
        return [
            ScoredText(row[real], word_ends(text))
            for row, real, text in zip(taken, target, texts, strict=True)
        ]

    def attention(self, batch: Batch, texts: Sequence[str]) -> list[TokenMaps]:
        """What the decoder's cross-attention gives every patch, averaged over heads and layers."""
        ids, target = self._padded(batch, texts)
        features, grid = self._features(batch)
        context, mask = self._context(features, grid, batch.view_mask)
        weights = self.network.cross_attention(context, mask, ids[:, :-1])
        weights = weights.unflatten(2, (batch.view_mask.shape[1], *grid))
        return [
            TokenMaps(row[real], word_ends(text))
            for row, real, text in zip(weights, target, texts, strict=True)
        ]

    def generate(self, batch: Batch, decoding: DecodingOptions) -> list[Draft]:
        """Search one draft per study; ``seconds`` is an equal share of the batch's time."""
        refuse_unheeded(decoding, self.options)
        if decoding.max_length > POSITIONS:
            raise UserError(f"decoding.max_length must be at most {POSITIONS} (got {decoding.max_length}).")
        start = time.perf_counter()
        training = self.training
        self.eval()
        with torch.inference_mode():
            texts = self._search(batch, decoding)
        self.train(training)
        seconds = (time.perf_counter() - start) / len(texts)
        return [self._draft(text, seconds) for text in texts]

    def features(self, batch: Batch) -> Tensor:
        """Pooled encoder features (B, D), averaged over the views that are present."""
        pooled = self.encoder(batch.images[batch.view_mask]).pooled
        return mean_of_views(spread(pooled, batch.view_mask), batch.view_mask)

    def encoder_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters of the image encoder."""
        return self.encoder.parameters()

    def truncated(self, reports: Iterable[str]) -> int:
        """How many reports have more words than ``max_length`` leaves room for."""
        return sum(len(self.tokenizer.encode(report)) > self.options.max_length for report in reports)

    def save_assets(self, folder: Path) -> None:
        """Write tokenizer.json."""
        self.tokenizer.save(folder / TOKENIZER)

    @classmethod
    def load_assets(cls, options: EncoderDecoderOptions, folder: Path) -> Self:
        """Read tokenizer.json; published encoder weights are not looked for, saved ones will replace them."""
        encoder = build_encoder(options.encoder.untrained())
        return cls(options, encoder, WordTokenizer.load(folder / TOKENIZER))

    def _padded(
        self, batch: Batch, texts: Sequence[str], max_length: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Ids (B, 1 + T), at most `max_length` of each text, and which (B, T) of the later are the texts'."""
        ids = [self.tokenizer.encode(text, max_length) for text in texts]
        lengths = torch.tensor([len(row) for row in ids])
        padded = torch.full((len(ids), int(lengths.max())), END)
        for row, values in zip(padded, ids, strict=True):
            row[: len(values)] = torch.tensor(values)
        target = torch.arange(1, padded.shape[1]) < lengths.unsqueeze(1)
        return padded.to(batch.images.device), target.to(batch.images.device)

    def _draft(self, written: Hypothesis, seconds: float) -> Draft:
        text = self.tokenizer.decode(written.ids)
        ends = word_ends(text)[: len(written.logprobs)]
        return Draft(text, written.logprobs, seconds, ends, finished=written.ids[-1:] == (END,))

    def _search(self, batch: Batch, decoding: DecodingOptions) -> list[Hypothesis]:
        features, grid = self._features(batch)
        context, mask = self._context(features, grid, batch.view_mask)
        stepper = self.network.stepper(context, mask)
        studies, device, guide = context.shape[0], context.device, None
        if decoding.guidance:
            blind = self._context(torch.zeros_like(features), grid, batch.view_mask)
            guide = Guide(self.network.stepper(*blind), decoding.guidance)
        if decoding.method == "greedy":
            length = decoding.max_length
            return greedy_search(stepper, studies, length, device, decoding.block_trigrams, guide)
        found = beam_search(stepper, studies, decoding.beam_size, decoding.max_length, device)
        return [best for best, *_ in found]

    def _features(self, batch: Batch) -> tuple[Tensor, tuple[int, int]]:
        """Patch features of all views (B, V*N, F), zero where a view is absent, and the grid of one view."""
        tokens = self.encoder(batch.images[batch.view_mask])
        return spread(tokens.patches, batch.view_mask).flatten(1, 2), tokens.grid

    def _context(
        self, features: Tensor, grid: tuple[int, int], view_mask: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Encoded patches (B, V*N, D) and, where views are absent, their mask (B, 1, 1, V*N)."""
        positions = self.patch_positions(grid, view_mask.shape[1])
        if positions is not None:
            positions = positions.to(features)
        mask = None
        if not view_mask.all():
            mask = view_mask.repeat_interleave(grid[0] * grid[1], dim=1)[:, None, None, :]
        return self.network.encode(features, mask, positions), mask

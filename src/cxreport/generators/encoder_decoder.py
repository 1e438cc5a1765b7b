"""The encoder-decoder under R2Gen and R2GenCMN: patch features to words; each adds its memory.

Source: Chen et al., EMNLP 2020 and ACL 2021; published ``modules/encoder_decoder.py`` and
``modules/base_cmn.py``. B studies, N patches, T words, K beams, D the model width, V words.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxreport.generators.transformer import (
    Ancestry,
    Conditions,
    DecoderLayer,
    EncoderLayer,
    KeyValueCache,
    Places,
    position_table,
)
from cxreport.generators.word_dropout import WordDropout
from cxreport.memories.layers import Dropout, UnbiasedLayerNorm
from cxreport.model_options import EncoderDecoderOptions

POSITIONS = 5000
"""Rows of the position table, as published; no text can be longer."""


class EncoderDecoder(nn.Module, ABC):
    """Transformer over patch features that writes words.

    `words` counts the vocabulary, so the output has ``words + 1`` rows; `feature_width` is that of a patch.
    `memory` makes the memory and `norm` every norm of the decoder's layers.
    """

    def __init__(
        self,
        words: int,
        feature_width: int,
        options: EncoderDecoderOptions,
        memory: Callable[[], nn.Module],
        norm: Callable[[], nn.Module],
    ) -> None:
        super().__init__()
        width, dropout = options.width, options.dropout
        shape = (width, options.feed_forward, options.heads, dropout)
        self.encoder_layers = nn.ModuleList(EncoderLayer(*shape) for _ in range(options.layers))
        self.encoder_norm = UnbiasedLayerNorm(width)
        self.embedding = nn.Embedding(words + 1, width)
        self.memory = memory()
        self.decoder_layers = nn.ModuleList(DecoderLayer(*shape, norm) for _ in range(options.layers))
        self.decoder_norm = UnbiasedLayerNorm(width)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        self.patch_projection = nn.Linear(feature_width, width)
        self.head = nn.Linear(width, words + 1)
        self.feature_dropout = Dropout(options.feature_dropout)
        self.embedding_dropout = Dropout(dropout)
        self.word_dropout = WordDropout(options.word_dropout)
        self.positions: Tensor
        self.register_buffer("positions", position_table(POSITIONS, width), persistent=False)

    @property
    def decoder(self) -> list[DecoderLayer]:
        """The decoder's layers, first to last."""
        return cast(list[DecoderLayer], list(self.decoder_layers))

    @abstractmethod
    def remember(self, x: Tensor, places: Places | None) -> tuple[Tensor, Conditions]:
        """What the memory makes of embedded ids x (B, T, D): the decoder's input and its norms' conditions.

        With `places` both as rows.
        """

    @abstractmethod
    def stepper(self, context: Tensor, context_mask: Tensor | None) -> EncoderDecoderStepper:
        """A search over `context` (B, N, D), which starts with nothing written."""

    def project(self, features: Tensor) -> Tensor:
        """Patch features (B, N, F) in the model's width: (B, N, D)."""
        return functional.relu(self.patch_projection(features))

    def enrich(self, patches: Tensor) -> Tensor:
        """Projected patches (B, N, D) to what enters the encoder (B, N, D); here as they are."""
        return patches

    def encode(self, features: Tensor, mask: Tensor | None = None, positions: Tensor | None = None) -> Tensor:
        """Patch features (B, N, F) to context (B, N, D); `mask` (B, 1, 1, N) is True at real patches.

        `positions` (N, D) are added to the patches.
        """
        x = self.enrich(self.feature_dropout(self.project(features)))
        if positions is not None:
            x = x + positions
        for layer in self.encoder_layers:
            x = layer(x, mask)
        context: Tensor = self.encoder_norm(x)
        return context

    def embed(self, ids: Tensor, start: int = 0) -> Tensor:
        """Ids (B, T) at positions start, start + 1, ... to (B, T, D)."""
        words = self.word_dropout(self.embedding(ids)) * self.embedding.embedding_dim**0.5
        embedded: Tensor = self.embedding_dropout(words + self.positions[start : start + ids.shape[1]])
        return embedded

    def decode(
        self, context: Tensor, context_mask: Tensor | None, ids: Tensor, places: Places | None = None
    ) -> Tensor:
        """Decoder output (B, T, D) after each of the ids (B, T), teacher forced; hides id 0 but the first.

        With `places`, which must hold every id that another one there looks at, only their rows (R, D).
        """
        x, conditions = self.remember(self.embed(ids), places)
        visible = _visible(ids)
        for layer in self.decoder:
            x = layer(
                x, conditions, visible, layer.cross_attention.keys_values(context), context_mask, places
            )
        decoded: Tensor = self.decoder_norm(x)
        return decoded

    def cross_attention(self, context: Tensor, context_mask: Tensor | None, ids: Tensor) -> Tensor:
        """How much each of the ids (B, T), teacher forced, attends to each patch, (B, T, N).

        The mean over the layers and their heads, so every row sums to 1.
        """
        queries: list[Tensor] = []
        handles = [
            layer.cross_attention_norm.register_forward_hook(
                lambda norm, inputs, normal: queries.append(normal)
            )
            for layer in self.decoder
        ]
        try:
            self.decode(context, context_mask, ids)
        finally:
            for handle in handles:
                handle.remove()
        weights = [
            layer.cross_attention.weights(x, context, context_mask)
            for layer, x in zip(self.decoder, queries, strict=True)
        ]
        return torch.stack(weights).mean(dim=0)

    def log_probabilities(self, decoded: Tensor) -> Tensor:
        """Decoder output (..., D) to log-probabilities (..., V + 1)."""
        return functional.log_softmax(self.head(decoded), dim=-1)


class EncoderDecoderStepper(ABC):
    """A :class:`cxreport.generators.decoding.Stepper` that keeps keys and values of what it wrote."""

    def __init__(self, network: EncoderDecoder, context: Tensor, context_mask: Tensor | None) -> None:
        self._network = network
        self._context = [layer.cross_attention.keys_values(context) for layer in network.decoder]
        self._context_mask = context_mask
        self._caches = [KeyValueCache() for _ in network.decoder]
        self._ancestry = Ancestry(context.shape[0], context.device)
        self._written = 0

    @abstractmethod
    def remember(self, x: Tensor) -> tuple[Tensor, Conditions]:
        """As :meth:`EncoderDecoder.remember`, for the newest word of every beam: x (B, K, D)."""

    def step(self, tokens: Tensor) -> Tensor:
        """Write tokens (B, K) and return the log-probabilities (B, K, V + 1) of the next ones."""
        network = self._network
        # beams of a study stand side by side where training has the words of a report
        x = network.embed(tokens.reshape(-1, 1), start=self._written).reshape(*tokens.shape, -1)
        x, conditions = self.remember(x)
        visible = self._ancestry.extend(tokens.shape[1])
        for layer, context, cache in zip(network.decoder, self._context, self._caches, strict=True):
            x = layer(x, conditions, visible, context, self._context_mask, cache=cache)
        self._written += 1
        return network.log_probabilities(network.decoder_norm(x))

    def reorder(self, beams: Tensor) -> None:
        """Beam k of study b continues what beam ``beams[b, k]`` (B, K) has written."""
        self._ancestry.reorder(beams)


def _visible(ids: Tensor) -> Tensor:
    """Which ids (B, T) each position may look at: (B, 1, T, T)."""
    real = ids > 0
    real[:, 0] = True
    causal = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool, device=ids.device).tril()
    return (real.unsqueeze(1) & causal).unsqueeze(1)

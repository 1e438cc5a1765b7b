"""R2Gen's encoder-decoder: patch features to words, with a relational memory over what is being written.

Source: Chen et al., EMNLP 2020; published ``modules/encoder_decoder.py``. B studies, N patches, T words,
D the model width, S memory slots, V words.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxreport.generators.transformer import (
    Ancestry,
    Attention,
    EncoderLayer,
    FeedForward,
    KeyValueCache,
    Places,
    position_table,
    take_beams,
)
from cxreport.memories.layers import Dropout, UnbiasedLayerNorm
from cxreport.memories.relational import ConditionalLayerNorm, RelationalMemory
from cxreport.recipe import R2GenOptions

POSITIONS = 5000
"""Rows of the position table, as published; no text can be longer."""

KeysValues = tuple[Tensor, Tensor]


class MemoryDecoderLayer(nn.Module):
    """Self-attention, cross-attention and feed-forward, each behind a norm that the memory conditions."""

    def __init__(self, options: R2GenOptions) -> None:
        super().__init__()
        width, memory_width = options.width, options.memory_slots * options.width
        self.self_attention = Attention(width, options.heads, options.dropout)
        self.cross_attention = Attention(width, options.heads, options.dropout)
        self.feed_forward = FeedForward(width, options.feed_forward, options.dropout)
        self.self_attention_norm = ConditionalLayerNorm(width, memory_width)
        self.cross_attention_norm = ConditionalLayerNorm(width, memory_width)
        self.feed_forward_norm = ConditionalLayerNorm(width, memory_width)
        self.dropout = Dropout(options.dropout)

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        visible: Tensor,
        context: KeysValues,
        context_mask: Tensor | None,
        places: Places | None = None,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """One layer over x (B, T, D) under memory (B, T, S*D), or over their rows at `places`.

        `visible` masks self-attention, `context` are the cross-attention's keys and values. With a `cache`, x
        is one step of T beams whose keys and values join those of earlier steps.
        """
        normal = self.self_attention_norm(x, memory)
        own = self.self_attention.keys_values(normal, places)
        if cache is not None:
            own = cache.extend(*own)
        x = x + self.dropout(self.self_attention.attend(normal, *own, visible, places))
        normal = self.cross_attention_norm(x, memory)
        x = x + self.dropout(self.cross_attention.attend(normal, *context, context_mask, places))
        layer: Tensor = x + self.dropout(self.feed_forward(self.feed_forward_norm(x, memory)))
        return layer


class MemoryTransformer(nn.Module):
    """Transformer over patch features; its decoder is driven by a relational memory.

    `words` counts the vocabulary, so the output has ``words + 1`` rows; `feature_width` is that of a patch.
    """

    def __init__(self, words: int, feature_width: int, options: R2GenOptions) -> None:
        super().__init__()
        width, dropout = options.width, options.dropout
        self.encoder_layers = nn.ModuleList(
            EncoderLayer(width, options.feed_forward, options.heads, dropout) for _ in range(options.layers)
        )
        self.encoder_norm = UnbiasedLayerNorm(width)
        self.embedding = nn.Embedding(words + 1, width)
        self.memory = RelationalMemory(width, options.memory_slots, options.memory_heads, dropout)
        self.decoder_layers = nn.ModuleList(MemoryDecoderLayer(options) for _ in range(options.layers))
        self.decoder_norm = UnbiasedLayerNorm(width)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        self.patch_projection = nn.Linear(feature_width, width)
        self.head = nn.Linear(width, words + 1)
        self.feature_dropout = Dropout(options.feature_dropout)
        self.embedding_dropout = Dropout(dropout)
        self.positions: Tensor
        self.register_buffer("positions", position_table(POSITIONS, width), persistent=False)

    @property
    def decoder(self) -> list[MemoryDecoderLayer]:
        """The decoder's layers, first to last."""
        return cast(list[MemoryDecoderLayer], list(self.decoder_layers))

    def project(self, features: Tensor) -> Tensor:
        """Patch features (B, N, F) in the model's width: (B, N, D). Patches get no position."""
        return functional.relu(self.patch_projection(features))

    def encode(self, features: Tensor, mask: Tensor | None = None, positions: Tensor | None = None) -> Tensor:
        """Patch features (B, N, F) to context (B, N, D); `mask` (B, 1, 1, N) is True at real patches.

        `positions` (N, D) are added to the projected patches.
        """
        x = self.feature_dropout(self.project(features))
        if positions is not None:
            x = x + positions
        for layer in self.encoder_layers:
            x = layer(x, mask)
        context: Tensor = self.encoder_norm(x)
        return context

    def embed(self, ids: Tensor, start: int = 0) -> Tensor:
        """Ids (B, T) at positions start, start + 1, ... to (B, T, D)."""
        words = self.embedding(ids) * self.embedding.embedding_dim**0.5
        embedded: Tensor = self.embedding_dropout(words + self.positions[start : start + ids.shape[1]])
        return embedded

    def decode(
        self, context: Tensor, context_mask: Tensor | None, ids: Tensor, places: Places | None = None
    ) -> Tensor:
        """Decoder output (B, T, D) after each of the ids (B, T), teacher forced; hides id 0 but the first.

        With `places`, which must hold every id that another one there looks at, only their rows (R, D).
        """
        x = self.embed(ids)
        memory = self.memory(x)
        visible = _visible(ids)
        if places is not None:
            x, memory = places.rows(x), places.rows(memory)
        for layer in self.decoder:
            x = layer(x, memory, visible, layer.cross_attention.keys_values(context), context_mask, places)
        decoded: Tensor = self.decoder_norm(x)
        return decoded

    def log_probabilities(self, decoded: Tensor) -> Tensor:
        """Decoder output (..., D) to log-probabilities (..., V + 1)."""
        return functional.log_softmax(self.head(decoded), dim=-1)


class MemoryStepper:
    """A :class:`cxreport.generators.decoding.Stepper` that keeps keys, values and memory of what it wrote."""

    def __init__(self, network: MemoryTransformer, context: Tensor, context_mask: Tensor | None) -> None:
        self._network = network
        self._context = [layer.cross_attention.keys_values(context) for layer in network.decoder]
        self._context_mask = context_mask
        self._caches = [KeyValueCache() for _ in network.decoder]
        self._ancestry = Ancestry(context.shape[0], context.device)
        self._memory = network.memory.initial(context.shape[0]).unsqueeze(1)
        self._written = 0

    def step(self, tokens: Tensor) -> Tensor:
        """Write tokens (B, K) and return the log-probabilities (B, K, V + 1) of the next ones."""
        network = self._network
        # beams of a study stand side by side where training has the words of a report
        x = network.embed(tokens.reshape(-1, 1), start=self._written).reshape(*tokens.shape, -1)
        memory = network.memory.step(self._memory.flatten(0, 1), x.flatten(0, 1))
        self._memory = memory.unflatten(0, tokens.shape)
        visible = self._ancestry.extend(tokens.shape[1])
        flat = self._memory.flatten(2)
        for layer, context, cache in zip(network.decoder, self._context, self._caches, strict=True):
            x = layer(x, flat, visible, context, self._context_mask, cache=cache)
        self._written += 1
        return network.log_probabilities(network.decoder_norm(x))

    def reorder(self, beams: Tensor) -> None:
        """Beam k of study b continues what beam ``beams[b, k]`` (B, K) has written."""
        self._memory = take_beams(self._memory, beams)
        self._ancestry.reorder(beams)


def _visible(ids: Tensor) -> Tensor:
    """Which ids (B, T) each position may look at: (B, 1, T, T)."""
    real = ids > 0
    real[:, 0] = True
    causal = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool, device=ids.device).tril()
    return (real.unsqueeze(1) & causal).unsqueeze(1)

"""Disease queries: one learnt token per disease that reads an image (AM-MRG, IEEE TMI 2025, stage 1).

The layers are those of BLIP-2's Q-Former (Li et al., ICML 2023) without its text half, which AM-MRG
removes: BERT layers with the norm after each part, and cross-attention to the image in every second one.
Written from the facts of ``AM_MRG/models/Qformer.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxreport.study import LABELS

_EPSILON = 1e-12


@dataclass(frozen=True, slots=True)
class DiseaseQueriesOptions:
    """Sizes of the queries' layers; the defaults are those of AM-MRG, BERT-base's."""

    width: int = 768
    layers: int = 12
    heads: int = 12
    feed_forward: int = 3072
    image_width: int | None = None
    """Width that the image's tokens are projected to first; None reads them as they are."""
    cross_attention_every: int = 2
    """Layers 0, 2, 4, ... read the image."""
    queries: int = len(LABELS)
    dropout: float = 0.1


class PostNormAttention(nn.Module):
    """LN(x + Attention(x, memory)); the queries, keys and values have the width of `x`."""

    def __init__(self, width: int, memory_width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key, self.value = nn.Linear(memory_width, width), nn.Linear(memory_width, width)
        self.output = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=_EPSILON)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x (B, Q, D) that reads memory (B, N, M); `mask` (B, N) bool, True where it may look.

        Returns tokens (B, Q, D) and the attention (B, heads, Q, N).
        """
        queries, keys, values = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in (self.query(x), self.key(memory), self.value(memory))
        )
        scores = queries @ keys.transpose(2, 3) / queries.shape[-1] ** 0.5
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, None], torch.finfo(scores.dtype).min)
        attention = scores.softmax(dim=3)
        read = (self.dropout(attention) @ values).transpose(1, 2).flatten(2)
        return self.norm(x + self.dropout(self.output(read))), attention


class QueryLayer(nn.Module):
    """Self-attention of the queries, in some layers cross-attention to the image, and a feed-forward part."""

    def __init__(self, options: DiseaseQueriesOptions, image_width: int, *, reads: bool) -> None:
        super().__init__()
        width, dropout = options.width, options.dropout
        self.self_attention = PostNormAttention(width, width, options.heads, dropout)
        self.cross_attention = (
            PostNormAttention(width, image_width, options.heads, dropout) if reads else None
        )
        self.expand = nn.Linear(width, options.feed_forward)
        self.contract = nn.Linear(options.feed_forward, width)
        self.norm = nn.LayerNorm(width, eps=_EPSILON)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, image: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Queries (B, Q, D), and where this layer reads the image its attention (B, heads, Q, N)."""
        x, _ = self.self_attention(x, x)
        attention = None
        if self.cross_attention is not None:
            x, attention = self.cross_attention(x, image, mask)
        inner = self.contract(functional.gelu(self.expand(x)))
        return self.norm(x + self.dropout(inner)), attention


class DiseaseQueries(nn.Module):
    """Learnt queries through layers that read an image's tokens."""

    def __init__(self, token_width: int, options: DiseaseQueriesOptions) -> None:
        super().__init__()
        image_width = options.image_width or token_width
        self.projection = nn.Linear(token_width, image_width) if options.image_width else nn.Identity()
        self.queries = nn.Parameter(torch.empty(1, options.queries, options.width))
        nn.init.normal_(self.queries, std=0.02)
        self.norm = nn.LayerNorm(options.width, eps=_EPSILON)
        self.dropout = nn.Dropout(options.dropout)
        self.layers = nn.ModuleList(
            QueryLayer(options, image_width, reads=layer % options.cross_attention_every == 0)
            for layer in range(options.layers)
        )

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What each query found in tokens (B, N, D): states (B, Q, W) and attention (B, Q, N).

        The attention is the mean over the heads and over the layers that read the image; `mask` (B, N) bool
        is True where they may look.
        """
        image = self.projection(tokens)
        x = self.dropout(self.norm(self.queries)).expand(len(tokens), -1, -1)
        looks = []
        for layer in self.layers:
            x, attention = layer(x, image, mask)
            if attention is not None:
                looks.append(attention.mean(dim=1))
        return x, torch.stack(looks).mean(dim=0)

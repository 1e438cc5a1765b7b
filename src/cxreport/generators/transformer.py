"""Transformer parts that the encoder-decoder generators share.

Source: published R2Gen ``modules/encoder_decoder.py``: pre-norm layers, attention with four projections.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxreport.memories.layers import Dropout, UnbiasedLayerNorm, dropout

KeysValues = tuple[Tensor, Tensor]
Conditions = tuple[Tensor, ...]
"""What a decoder layer's norms take besides their input, (B, T, ...) each; plain norms take nothing."""


class Places:
    """Where the R rows of a ragged batch stand in its padded grid (B, T).

    Layers that treat every position alone work on rows and so spend nothing on padding.
    """

    def __init__(self, real: Tensor) -> None:
        """`real` (B, T) is True at the positions that have a row; rows go study by study."""
        self._shape = real.shape
        self._index = real.flatten().nonzero().squeeze(1)

    def rows(self, grid: Tensor) -> Tensor:
        """Grid (B, T, D) to rows (R, D)."""
        return grid.flatten(0, 1).index_select(0, self._index)

    def grid(self, rows: Tensor) -> Tensor:
        """Rows (R, D) to grid (B, T, D), zero at padding."""
        flat = rows.new_zeros(self._shape.numel(), rows.shape[1])
        return flat.index_copy(0, self._index, rows).unflatten(0, self._shape)


class Attention(nn.Module):
    """Multi-head attention; `heads` divides `width`. B studies, Q queries, K keys.

    With `places` the input comes, and the output goes, as rows (R, D) instead of (B, Q, D).
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)

    def keys_values(self, context: Tensor, places: Places | None = None) -> tuple[Tensor, Tensor]:
        """Keys and values (B, heads, K, D / heads) of context (B, K, D)."""
        return self._split(self.key(context), places), self._split(self.value(context), places)

    def attend(
        self,
        x: Tensor,
        keys: Tensor,
        values: Tensor,
        mask: Tensor | None = None,
        places: Places | None = None,
    ) -> Tensor:
        """Queries from x (B, Q, D) to keys and values (B, heads, K, D / heads).

        `mask` is boolean, broadcasts to (B, heads, Q, K), and is True where a query may look.
        """
        queries = self._split(self.query(x), places)
        if self.training and self.dropout > 0:
            attended = _attention_with_dropout(queries, keys, values, mask, self.dropout)
        else:
            attended = functional.scaled_dot_product_attention(queries, keys, values, mask)
        joined = attended.transpose(1, 2).flatten(2)
        found: Tensor = self.output(joined if places is None else places.rows(joined))
        return found

    def weights(self, x: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        """How much each query of x (B, Q, D) looks at each of context (B, K, D), mean of heads: (B, Q, K)."""
        keys = self._split(self.key(context), None)
        scores = self._split(self.query(x), None) @ keys.transpose(2, 3) / keys.shape[-1] ** 0.5
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        return scores.softmax(dim=-1).mean(dim=1)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        """Queries from x (B, Q, D), keys and values from context (B, K, D)."""
        return self.attend(x, *self.keys_values(context), mask)

    def _split(self, x: Tensor, places: Places | None) -> Tensor:
        grid = x if places is None else places.grid(x)
        return grid.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class FeedForward(nn.Sequential):
    """Linear, ReLU, dropout, Linear."""

    def __init__(self, width: int, inner: int, dropout: float) -> None:
        super().__init__(nn.Linear(width, inner), nn.ReLU(), Dropout(dropout), nn.Linear(inner, width))


class EncoderLayer(nn.Module):
    """x + attention(norm(x)), then x + feed-forward(norm(x))."""

    def __init__(self, width: int, inner: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, heads, dropout)
        self.feed_forward = FeedForward(width, inner, dropout)
        self.attention_norm = UnbiasedLayerNorm(width)
        self.feed_forward_norm = UnbiasedLayerNorm(width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x (B, N, D); `mask` as in :meth:`Attention.attend`."""
        normal = self.attention_norm(x)
        x = x + self.dropout(self.attention(normal, normal, mask))
        layer: Tensor = x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        return layer


class DecoderLayer(nn.Module):
    """Self-attention, cross-attention and feed-forward, each behind a norm that `norm` makes."""

    def __init__(
        self, width: int, inner: int, heads: int, dropout: float, norm: Callable[[], nn.Module]
    ) -> None:
        super().__init__()
        self.self_attention = Attention(width, heads, dropout)
        self.cross_attention = Attention(width, heads, dropout)
        self.feed_forward = FeedForward(width, inner, dropout)
        self.self_attention_norm = norm()
        self.cross_attention_norm = norm()
        self.feed_forward_norm = norm()
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        conditions: Conditions,
        visible: Tensor,
        context: KeysValues,
        context_mask: Tensor | None,
        places: Places | None = None,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """One layer over x (B, T, D) with `conditions` for its norms, or over their rows at `places`.

        `visible` masks self-attention, `context` are the cross-attention's keys and values. With a `cache`, x
        is one step of T beams whose keys and values join those of earlier steps.
        """
        normal = self.self_attention_norm(x, *conditions)
        own = self.self_attention.keys_values(normal, places)
        if cache is not None:
            own = cache.extend(*own)
        x = x + self.dropout(self.self_attention.attend(normal, *own, visible, places))
        normal = self.cross_attention_norm(x, *conditions)
        x = x + self.dropout(self.cross_attention.attend(normal, *context, context_mask, places))
        layer: Tensor = x + self.dropout(self.feed_forward(self.feed_forward_norm(x, *conditions)))
        return layer


class KeyValueCache:
    """Keys and values of earlier steps, grown in place; K slots are added at a time."""

    def __init__(self) -> None:
        self._length = 0
        self._keys = self._values = torch.empty(0)

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add keys and values (B, heads, K, d) and return all, oldest first: (B, heads, S, d)."""
        start, self._length = self._length, self._length + keys.shape[2]
        if start == 0:
            self._keys, self._values = _grown(keys), _grown(values)
        elif self._length > self._keys.shape[2]:
            self._keys, self._values = _grown(self._keys), _grown(self._values)
        self._keys[:, :, start : self._length] = keys
        self._values[:, :, start : self._length] = values
        return self._keys[:, :, : self._length], self._values[:, :, : self._length]


class Ancestry:
    """Which cache slots the beams of a study descend from.

    All beams of a study share one cache to which each step adds a slot per beam. Reordering beams moves
    this small table and none of the cached keys and values.
    """

    def __init__(self, studies: int, device: torch.device) -> None:
        self._slots = torch.zeros(studies, 1, 0, dtype=torch.bool, device=device)

    def extend(self, beams: int) -> Tensor:
        """Add a slot per beam; the mask (B, 1, beams, S) of what each beam may look at."""
        studies = self._slots.shape[0]
        own = torch.eye(beams, dtype=torch.bool, device=self._slots.device).expand(studies, -1, -1)
        self._slots = torch.cat([self._slots, own], dim=2)
        return self._slots.unsqueeze(1)

    def reorder(self, beams: Tensor) -> None:
        """Beam k of study b goes on where beam ``beams[b, k]`` (B, K) was."""
        self._slots = take_beams(self._slots, beams)


def take_beams(x: Tensor, beams: Tensor) -> Tensor:
    """x (B, J, ...) to (B, K, ...): row k of study b is row ``beams[b, k]`` (B, K) of x."""
    index = beams.reshape(*beams.shape, *(1 for _ in x.shape[2:])).expand(-1, -1, *x.shape[2:])
    return x.gather(1, index)


def position_table(length: int, width: int) -> Tensor:
    """Sine and cosine positions (length, width), interleaved (Vaswani et al., NeurIPS 2017, section 3.5)."""
    position = torch.arange(length, dtype=torch.float32).unsqueeze(1)
    rate = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * -(math.log(10000.0) / width))
    angle = position * rate
    return torch.stack([torch.sin(angle), torch.cos(angle)], dim=-1).flatten(1)[:, :width].contiguous()


def grid_position_table(height: int, width: int, channels: int) -> Tensor:
    """Positions (height * width, channels) of a grid: half the channels tell the row, half the column."""
    rows = position_table(height, channels // 2).repeat_interleave(width, dim=0)
    columns = position_table(width, channels - channels // 2).repeat(height, 1)
    return torch.cat([rows, columns], dim=1)


def _attention_with_dropout(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, rate: float
) -> Tensor:
    """Scaled dot-product attention with dropout on its weights."""
    if queries.device.type != "cpu":
        return functional.scaled_dot_product_attention(queries, keys, values, mask, rate)
    scores = (queries / queries.shape[-1] ** 0.5) @ keys.transpose(2, 3)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return dropout(torch.softmax(scores, dim=-1), rate) @ values


def _grown(x: Tensor) -> Tensor:
    """x with at least 16 and otherwise as many empty slots again behind its own."""
    studies, heads, slots, width = x.shape
    room = x.new_empty(studies, heads, slots + max(slots, 16), width)
    room[:, :, :slots] = x
    return room

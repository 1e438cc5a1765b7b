"""Hopfield memory: states look up stored patterns, at once or over several update steps.

Source: Ramsauer et al., "Hopfield Networks is All You Need", ICLR 2021; ``HopfieldLayer`` of
``ml-jku/hopfield-layers`` as AM-MRG (IEEE TMI 2025) configures it, with all three norms. B samples, L states,
Q patterns, W width, H heads, d width of a head, P width of a head's value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

STOP = 1e-4
"""A head's updates end when its association changes by no more than this, as published."""


@dataclass(frozen=True, slots=True)
class HopfieldOptions:
    """Sizes of a memory; the defaults are AM-MRG's."""

    width: int = 768
    """Of the states and of the patterns."""
    head_width: int = 1024
    """Of the space that each head associates in."""
    value_width: int = 768
    """Of what each head reads from a pattern."""
    output_width: int = 768
    heads: int = 6
    scaling: float = 4.0
    """Inverse temperature beta of the association."""
    steps: int | None = 0
    """Most updates of the states before they read; None goes on until every head has settled."""
    dropout: float = 0.1
    """On the association, in training."""


class Lookup(NamedTuple):
    """What the states read (B, L, output width), and with which weights of the patterns (B, H, L, Q)."""

    output: Tensor
    association: Tensor


class HopfieldMemory(nn.Module):
    """Patterns, stored, learnt or given, and the spaces in which states find them.

    Per head q = LN(x) W_q, K = LN(Y) W_k, V = LN(Y) W_v, each norm its own. An update takes q to
    softmax(beta q K^T) K; the output is softmax(beta q K^T) V, heads side by side, through W_o.
    """

    patterns: Tensor

    def __init__(self, patterns: int | Tensor | None, options: HopfieldOptions) -> None:
        """`patterns` (Q, W) are stored and not trained; a number makes as many that are learnt.

        Without any, :meth:`project` is given them.
        """
        super().__init__()
        self.options = options
        width, heads = options.width, options.heads
        if isinstance(patterns, int):
            self.patterns = nn.Parameter(torch.empty(1, patterns, width))
            nn.init.normal_(self.patterns, std=0.02)
        elif patterns is not None:
            self.register_buffer("patterns", patterns.unsqueeze(0))
        self.state_norm = nn.LayerNorm(width)
        self.pattern_norm = nn.LayerNorm(width)
        self.value_norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, heads * options.head_width)
        self.key = nn.Linear(width, heads * options.head_width)
        self.value = nn.Linear(width, heads * options.value_width)
        self.output = nn.Linear(heads * options.value_width, options.output_width)
        self.dropout = nn.Dropout(options.dropout)

    def project(self, patterns: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Keys (H, Q, d) and values (H, Q, P) of the patterns or of given ones (Q, W); no state changes them.

        Where weights stay as they are, keep the result and give it to :meth:`forward`.
        """
        patterns = self.patterns[0] if patterns is None else patterns
        keys = self._heads(self.key(self.pattern_norm(patterns)))
        return keys, self._heads(self.value(self.value_norm(patterns)))

    def forward(
        self, states: Tensor, projected: tuple[Tensor, Tensor] | None = None, hidden: Tensor | None = None
    ) -> Lookup:
        """Look up states (B, L, W); `projected` is what :meth:`project` returned.

        A sample does not see the patterns where `hidden` (B, Q) is True; it must see at least one.

        After the first update the samples of a batch may influence each other: the published rule stops a
        head for the whole batch, when no sample of it changes any more.
        """
        keys, values = projected or self.project()
        queries = self._heads(self.query(self.state_norm(states)))
        association = self.settle(queries, keys, hidden)
        read = self.dropout(association) @ values
        return Lookup(self.output(read.transpose(1, 2).flatten(2)), association)

    def settle(self, queries: Tensor, keys: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Update queries (B, H, L, d) among keys (H, Q, d); the association (B, H, L, Q) of the last ones.

        A head stops when its association's change (Frobenius norm over L and Q, the largest of the batch) is
        not above :data:`STOP`, and all stop after ``steps`` updates.
        """
        limit = self.options.steps
        association = self._associate(queries, keys, hidden)
        done = 0
        active = torch.ones(len(keys), dtype=torch.bool, device=keys.device)
        while active.any() and (limit is None or done < limit):
            queries = torch.where(active[:, None, None], association @ keys, queries)
            renewed = self._associate(queries, keys, hidden)
            change = torch.linalg.matrix_norm((renewed - association).detach()).amax(dim=0)
            active = active & (change > STOP)
            association = renewed
            done += 1
        return association

    def _associate(self, queries: Tensor, keys: Tensor, hidden: Tensor | None = None) -> Tensor:
        scores = self.options.scaling * queries @ keys.transpose(1, 2)
        if hidden is not None:
            scores = scores.masked_fill(hidden[:, None, None], -torch.inf)
        return torch.softmax(scores, dim=-1)

    def _heads(self, x: Tensor) -> Tensor:
        """x (..., M, H*d) to (..., H, M, d)."""
        return x.unflatten(-1, (self.options.heads, -1)).transpose(-3, -2)

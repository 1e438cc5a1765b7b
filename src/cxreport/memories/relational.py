"""R2Gen's relational memory and memory-driven conditional layer normalisation.

Source: Chen et al., EMNLP 2020, sections 2.3 and 2.4; published ``modules/encoder_decoder.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxreport.memories.layers import dropout_factors, standardize


class ConditionalLayerNorm(nn.Module):
    """MCLN: layer normalisation whose gain and offset are shifted by the memory m.

    gamma' = gamma + MLP_gamma(m), beta' = beta + MLP_beta(m); each MLP is Linear(S*D, D), ReLU, Linear(D, D).
    """

    def __init__(self, width: int, memory_width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))
        self.beta = nn.Parameter(torch.zeros(width))
        self.gamma_shift = _shift(width, memory_width)
        self.beta_shift = _shift(width, memory_width)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """Normalise the last axis of x (..., D) under memory (..., S*D)."""
        gamma = self.gamma + self.gamma_shift(memory)
        beta = self.beta + self.beta_shift(memory)
        return torch.addcmul(beta, gamma, standardize(x))


class _TokenTerms(NamedTuple):
    """What one token adds to a step; none of it depends on the memory."""

    key: Tensor
    value: Tensor
    gate: Tensor


class RelationalMemory(nn.Module):
    """RM: S slots that attend to themselves and to each token y, and are rewritten through gates.

    Q = M W_q, K = [M; y] W_k, V = [M; y] W_v, Z = M + attention(Q, K, V), M~ = Z + MLP(Z),
    (G_i, G_f) = y W_g + tanh(M) U_g, M <- sigmoid(G_f) * M + sigmoid(G_i) * tanh(M~).
    """

    def __init__(self, width: int, slots: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.slots = slots
        self.heads = heads
        self.dropout = dropout
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.token_gate = nn.Linear(width, 2 * width)
        self.memory_gate = nn.Linear(width, 2 * width)

    def initial(self, batch: int) -> Tensor:
        """The first memory (batch, S, D): the identity, padded with zero columns."""
        weight = self.query.weight
        slots = torch.eye(self.slots, weight.shape[1], dtype=weight.dtype, device=weight.device)
        return slots.expand(batch, -1, -1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Memory after each of the tokens (B, T, D), flattened: (B, T, S*D)."""
        batch, length, _ = tokens.shape
        terms = self._token_terms(tokens)
        projection = self._memory_projection()
        kept: Sequence[Tensor | None] = [None] * length
        if self.training and self.dropout > 0:
            shape = (length, batch, self.slots, self.slots + 1, self.heads, 1)
            kept = dropout_factors(shape, self.dropout, tokens).unbind(0)
        memory = self.initial(batch)
        history = []
        # unbind: indexing inside the loop would make every backward step write a gradient of full length
        for key, value, gate, factors in zip(*(term.unbind(1) for term in terms), kept, strict=True):
            memory = self._advance(memory, _TokenTerms(key, value, gate), projection, factors)
            history.append(memory)
        return torch.stack(history, dim=1).flatten(2)

    def step(self, memory: Tensor, token: Tensor) -> Tensor:
        """The memory (B, S, D) after one more token (B, D), without dropout."""
        return self._advance(memory, self._token_terms(token), self._memory_projection())

    def _token_terms(self, tokens: Tensor) -> _TokenTerms:
        key, value = self._heads(self.key(tokens)), self._heads(self.value(tokens))
        return _TokenTerms(key, value, self.token_gate(tokens))

    def _memory_projection(self) -> tuple[Tensor, Tensor]:
        """Queries, keys and values of the memory as one matrix product."""
        layers = (self.query, self.key, self.value)
        return torch.cat([layer.weight for layer in layers]), torch.cat([layer.bias for layer in layers])

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1))

    def _advance(
        self,
        memory: Tensor,
        token: _TokenTerms,
        projection: tuple[Tensor, Tensor],
        kept: Tensor | None = None,
    ) -> Tensor:
        """One step; attention is spelt out, for S x (S + 1) weights are too few for matrix products."""
        query, key, value = (self._heads(x) for x in functional.linear(memory, *projection).chunk(3, dim=-1))
        key = torch.cat([key, token.key.unsqueeze(1)], dim=1)
        value = torch.cat([value, token.value.unsqueeze(1)], dim=1)
        scores = (query.unsqueeze(2) * key.unsqueeze(1)).sum(dim=-1, keepdim=True)  # (B, S, S + 1, heads, 1)
        weights = torch.softmax(scores / key.shape[-1] ** 0.5, dim=2)
        if kept is not None:
            weights = weights * kept
        attended = (weights * value.unsqueeze(1)).sum(dim=2).flatten(2)
        renewed = memory + self.output(attended)
        renewed = renewed + self.mlp(renewed)
        gates = torch.sigmoid(token.gate.unsqueeze(1) + self.memory_gate(torch.tanh(memory)))
        enter, keep = gates.chunk(2, dim=-1)
        return torch.addcmul(keep * memory, enter, torch.tanh(renewed))


def _shift(width: int, memory_width: int) -> nn.Sequential:
    first, second = nn.Linear(memory_width, width), nn.Linear(width, width)
    for layer in (first, second):
        nn.init.constant_(layer.bias, 0.1)
    return nn.Sequential(first, nn.ReLU(), second)

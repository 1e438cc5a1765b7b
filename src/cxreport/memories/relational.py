"""R2Gen's relational memory and memory-driven conditional layer normalisation.

Source: Chen et al., EMNLP 2020, sections 2.3 and 2.4; published ``modules/encoder_decoder.py``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class UnbiasedLayerNorm(nn.Module):
    """gamma * (x - mean) / (std + 1e-6) + beta with the unbiased std, unlike ``nn.LayerNorm``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))
        self.beta = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis of x (..., D)."""
        return torch.addcmul(self.beta, self.gamma, standardize(x))


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
        terms = self._token_terms(tokens)
        projection = self._memory_projection()
        memory = self.initial(tokens.shape[0])
        history = []
        # unbind: indexing inside the loop would make every backward step write a gradient of full length
        for step in zip(*(term.unbind(1) for term in terms), strict=True):
            memory = self._advance(memory, _TokenTerms(*step), projection)
            history.append(memory)
        return torch.stack(history, dim=1).flatten(2)

    def step(self, memory: Tensor, token: Tensor) -> Tensor:
        """The memory (B, S, D) after one more token (B, D)."""
        return self._advance(memory, self._token_terms(token), self._memory_projection())

    def _token_terms(self, tokens: Tensor) -> _TokenTerms:
        return _TokenTerms(self.key(tokens), self.value(tokens), self.token_gate(tokens))

    def _memory_projection(self) -> tuple[Tensor, Tensor]:
        """Queries, keys and values of the memory as one matrix product."""
        layers = (self.query, self.key, self.value)
        return torch.cat([layer.weight for layer in layers]), torch.cat([layer.bias for layer in layers])

    def _advance(self, memory: Tensor, token: _TokenTerms, projection: tuple[Tensor, Tensor]) -> Tensor:
        batch, slots, width = memory.shape
        query, key, value = F.linear(memory, *projection).chunk(3, dim=-1)
        key = torch.cat([key, token.key.unsqueeze(1)], dim=1)
        value = torch.cat([value, token.value.unsqueeze(1)], dim=1)
        split = (batch, -1, self.heads, width // self.heads)
        query, key, value = (x.reshape(split).transpose(1, 2) for x in (query, key, value))
        weights = torch.softmax(query @ key.transpose(2, 3) / (width // self.heads) ** 0.5, dim=-1)
        weights = F.dropout(weights, self.dropout, self.training)
        attended = (weights @ value).transpose(1, 2).reshape(batch, slots, width)
        renewed = memory + self.output(attended)
        renewed = renewed + self.mlp(renewed)
        gates = token.gate.unsqueeze(1) + self.memory_gate(torch.tanh(memory))
        enter, keep = torch.sigmoid(gates).chunk(2, dim=-1)
        return enter * torch.tanh(renewed) + keep * memory


def standardize(x: Tensor) -> Tensor:
    """(x - mean) / (std + 1e-6) over the last axis, with the unbiased std."""
    std, mean = torch.std_mean(x, dim=-1, keepdim=True)
    return (x - mean) / (std + 1e-6)


def _shift(width: int, memory_width: int) -> nn.Sequential:
    mlp = nn.Sequential(nn.Linear(memory_width, width), nn.ReLU(), nn.Linear(width, width))
    nn.init.constant_(mlp[0].bias, 0.1)
    nn.init.constant_(mlp[2].bias, 0.1)
    return mlp

"""R2GenCMN's cross-modal memory: one matrix that patches and words both read.

Source: Chen et al., "Cross-modal Memory Networks for Radiology Report Generation", ACL 2021, section 2.2;
published ``modules/base_cmn.py``. S memory rows, D the model width, H heads, k selected rows.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from cxreport.memories.layers import dropout


class Reading(NamedTuple):
    """What was read (..., D); weights and numbers of the rows it came from (..., H, k), best first."""

    response: Tensor
    weights: Tensor
    rows: Tensor


class CrossModalMemory(nn.Module):
    """Every head reads the `top` rows of the matrix that fit an input best.

    With q = x W_q, K = M W_k, V = M W_v per head: scores q K^T / sqrt(D / H), the `top` highest through a
    softmax, the weighted sum of their rows of V, heads side by side through W_o.
    """

    def __init__(self, width: int, rows: int, heads: int, top: int, dropout: float) -> None:
        """`heads` divides `width`; `top` is at most `rows`."""
        super().__init__()
        self.heads = heads
        self.top = top
        self.dropout = dropout
        self.matrix = nn.Parameter(torch.empty(rows, width))
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.reset_matrix()

    def reset_matrix(self) -> None:
        """Draw the matrix anew: mean 0, standard deviation 1 / D, as published."""
        nn.init.normal_(self.matrix, std=1 / self.matrix.shape[1])

    def keys_values(self) -> tuple[Tensor, Tensor]:
        """The projected rows, keys and values (H, S, D / H); they do not depend on what reads them."""
        return self._heads(self.key(self.matrix)), self._heads(self.value(self.matrix))

    def forward(self, x: Tensor, keys_values: tuple[Tensor, Tensor] | None = None) -> Reading:
        """Read for x (..., D); `keys_values` may come from an earlier call of :meth:`keys_values`."""
        keys, values = keys_values or self.keys_values()
        queries = self._heads(self.query(x.flatten(0, -2)))
        scores = queries @ keys.transpose(1, 2) / queries.shape[-1] ** 0.5
        best, rows = scores.topk(self.top, dim=-1)
        weights = torch.softmax(best, dim=-1)
        kept = dropout(weights, self.dropout) if self.training else weights
        # weights of all rows, zero where not selected: a product of matrices, not k copied rows per head
        read = torch.zeros_like(scores).scatter(-1, rows, kept) @ values
        response = self.output(read.transpose(0, 1).flatten(1))
        weights, rows = (part.transpose(0, 1).unflatten(0, x.shape[:-1]) for part in (weights, rows))
        return Reading(response.unflatten(0, x.shape[:-1]), weights, rows)

    def _heads(self, x: Tensor) -> Tensor:
        """x (M, D) to (H, M, D / H)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(0, 1)

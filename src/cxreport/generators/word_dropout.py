"""Words that a generator cannot lean on while it learns, so that it has to look at the image."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class WordDropout(nn.Module):
    """In training, a share `rate` of the words that were written before has no embedding.

    Source: Bowman et al., "Generating Sentences from a Continuous Space", CoNLL 2016, section 3.1.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, words: Tensor) -> Tensor:
        """Embeddings (B, T, D), in training with some of them zero; those left are not scaled."""
        if not self.training or self.rate == 0:
            return words
        hidden = torch.rand(words.shape[:2], device=words.device) < self.rate
        return words.masked_fill(hidden.unsqueeze(2), 0.0)

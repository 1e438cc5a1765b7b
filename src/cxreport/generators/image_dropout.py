"""Studies whose image is hidden while a generator learns, so that it also knows what is written without."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ImageDropout(nn.Module):
    """In training, a share `rate` of the studies has no image.

    Source: Ho and Salimans, "Classifier-Free Diffusion Guidance", 2022, algorithm 1.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, view_mask: Tensor) -> Tensor | None:
        """Which of the studies with views `view_mask` (B, V) are hidden (B,); None where none can be."""
        if not self.training or self.rate == 0:
            return None
        return torch.rand(len(view_mask), device=view_mask.device) < self.rate

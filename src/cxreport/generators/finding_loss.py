"""A second loss for generators: the true findings of a phantom, predicted from its patches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxreport.phantom.kinds import SIDED_KINDS
from cxreport.study import SidedKind


class FindingHead(nn.Linear):
    """A linear layer from the mean and maximum of a study's patches to every kind and side of finding."""

    def __init__(self, width: int) -> None:
        super().__init__(2 * width, len(SIDED_KINDS))

    def loss(
        self, patches: Tensor, view_mask: Tensor, findings: Sequence[frozenset[SidedKind] | None]
    ) -> Tensor:
        """Mean binary cross-entropy, a scalar, of the studies whose findings are known; 0 without any.

        `patches` (B, V*N, D) list the views one after another; those where `view_mask` (B, V) is False do
        not count.
        """
        known = [row for row, pairs in enumerate(findings) if pairs is not None]
        absent = ~view_mask.repeat_interleave(patches.shape[1] // view_mask.shape[1], dim=1).unsqueeze(2)
        mean = patches.masked_fill(absent, 0).sum(dim=1) / (~absent).sum(dim=1)
        highest = patches.masked_fill(absent, float("-inf")).amax(dim=1)
        logits = self(torch.cat([mean, highest], dim=1))[known]
        truth = [[pair in (findings[row] or ()) for pair in SIDED_KINDS] for row in known]
        present = torch.tensor(truth, device=logits.device).to(logits)
        summed = functional.binary_cross_entropy_with_logits(logits, present.view_as(logits), reduction="sum")
        return summed / max(logits.numel(), 1)

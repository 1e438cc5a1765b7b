"""The images of a batch as samples of their own, and the noise that is drawn for each."""

from __future__ import annotations

import torch
from torch import Tensor

from cxreport.data.batch import Batch


def images_of(batch: Batch) -> Tensor:
    """All views that are present, study by study: (M, 3, H, W)."""
    return batch.images[batch.view_mask]


def keys_of(batch: Batch) -> list[tuple[str, int]]:
    """Study id and number of the view of every image of :func:`images_of`."""
    places = batch.view_mask.nonzero().tolist()
    return [(batch.study_ids[study], view) for study, view in places]


def noise_of(batch: Batch, patches: int) -> Tensor | None:
    """Uniform noise (M, N) from the batch's draws: it depends on epoch and study, not on device or batch.

    None where the batch has no draws.
    """
    if not batch.draws:
        return None
    rows = []
    for study, view in batch.view_mask.nonzero().tolist():
        generator = torch.Generator().manual_seed(batch.draws[study] + view)
        rows.append(torch.rand(patches, generator=generator))
    return torch.stack(rows).to(batch.images.device)

"""Several views of a study, of which some may be absent."""

from __future__ import annotations

from torch import Tensor


def spread(present: Tensor, view_mask: Tensor) -> Tensor:
    """Rows of the present views (P, ...) at their places in (B, V, ...); zero where a view is absent."""
    places = present.new_zeros(*view_mask.shape, *present.shape[1:])
    places[view_mask] = present
    return places


def mean_of_views(spread_out: Tensor, view_mask: Tensor) -> Tensor:
    """The mean (B, ...) of the present views of (B, V, ...), which is zero where a view is absent."""
    counts = view_mask.sum(dim=1).view(-1, *[1] * (spread_out.ndim - 2))
    return spread_out.sum(dim=1) / counts

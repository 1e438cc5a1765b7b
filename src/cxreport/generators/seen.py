"""What an encoder saw in a batch of studies."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cxreport.errors import UserError
from cxreport.generators.views import mean_of_views


@dataclass(frozen=True, slots=True)
class Seen:
    """What the encoder saw in a batch.

    ``tokens`` (B, V, N, E) and ``pooled`` (B, V, E), both zero where ``view_mask`` (B, V) is False; ``grid``
    is that of a view's patches; at ``class_place`` of the tokens there is none.
    """

    tokens: Tensor
    pooled: Tensor
    view_mask: Tensor
    grid: tuple[int, int]
    class_place: int | None = None

    def global_vector(self) -> Tensor:
        """The mean (B, E) of the pooled present views."""
        return mean_of_views(self.pooled, self.view_mask)

    def merged(self, side: int) -> Seen:
        """With one token, the mean, for every square of `side` x `side` patches.

        A class token stays, at the place among fewer that it had among many. UserError where the grid does
        not divide into such squares.
        """
        if side == 1:
            return self
        height, width = self.grid
        if height % side or width % side:
            raise UserError(
                f"model.merge_patches ({side}) must divide the patches of a view, {height} x {width}; choose"
                " another one or another data.image_size."
            )
        patches, place = self.tokens, self.class_place
        if place is not None:
            patches = torch.cat([patches[:, :, :place], patches[:, :, place + 1 :]], dim=2)
        squares = patches.unflatten(2, (height // side, side, width // side, side))
        merged = squares.mean(dim=(3, 5)).flatten(2, 3)
        if place is not None:
            own = self.tokens[:, :, place : place + 1]
            place //= side * side
            merged = torch.cat([merged[:, :, :place], own, merged[:, :, place:]], dim=2)
        return replace(self, tokens=merged, grid=(height // side, width // side), class_place=place)

"""The chest of every image on the grid of patches, found once and remembered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cxreport.data.batch import Batch
from cxreport.encoders.contour import find_contour, on_grid, published_box
from cxreport.objectives.images import keys_of


class Chests:
    """Contours on a grid of `rows` x `columns` patches, kept by study and view.

    The published rectangle stands in where no contour is found, or `fits` refuses its number of patches;
    ``counts`` says how often. Images must not be augmented.
    """

    _known: dict[tuple[str, int], Tensor]
    _rectangles: set[tuple[str, int]]

    def __init__(self, rows: int, columns: int, fits: Callable[[int], bool]) -> None:
        self._grid, self._fits = (rows, columns), fits
        self._known, self._rectangles = {}, set()

    @property
    def counts(self) -> dict[str, int]:
        """Images seen so far, and those of them that have the rectangle."""
        return {"images": len(self._known), "rectangle": len(self._rectangles)}

    def of(self, batch: Batch, images: Tensor) -> Tensor:
        """The chest (M, N) bool of the batch's `images` (M, C, H, W)."""
        keys = keys_of(batch)
        for key, image in zip(keys, images, strict=True):
            if key not in self._known:
                self._known[key], stands_in = self._find(image[0])
                if stands_in:
                    self._rectangles.add(key)
        return torch.stack([self._known[key] for key in keys]).to(images.device)

    def share(self) -> None:
        """Give every process what each of them found; all have to call it."""
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return
        everywhere: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(everywhere, (self._known, self._rectangles))
        for known, rectangles in everywhere:
            self._known |= known
            self._rectangles |= rectangles

    def remembered(self) -> dict[str, Any]:
        """All chests, for :meth:`recall`: nested lists, and one tensor (images, N)."""
        if not self._known:
            return {}
        keys = [[study, view, (study, view) in self._rectangles] for study, view in self._known]
        return {"keys": keys, "chests": torch.stack(list(self._known.values()))}

    def recall(self, remembered: dict[str, Any]) -> None:
        """Take back what :meth:`remembered` gave."""
        for (study, view, stands_in), chest in zip(
            remembered.get("keys", ()), remembered.get("chests", ()), strict=True
        ):
            self._known[study, view] = chest
            if stands_in:
                self._rectangles.add((study, view))

    def _find(self, grey: Tensor) -> tuple[Tensor, bool]:
        """The chest (N,), and whether it is the rectangle."""
        contour = find_contour(grey.float().cpu().numpy())
        inside = on_grid(contour.hull, *self._grid)
        stands_in = not contour.found or not self._fits(int(inside.sum()))
        if stands_in:
            inside = published_box(*self._grid)
        return torch.from_numpy(inside.copy()).flatten(), stands_in

"""The chest of every image on the grid of patches, found once and remembered."""

from __future__ import annotations

from collections.abc import Callable

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

    def __init__(self, rows: int, columns: int, fits: Callable[[int], bool]) -> None:
        self._grid, self._fits = (rows, columns), fits
        self._known: dict[tuple[str, int], Tensor] = {}
        self._rectangles = 0

    @property
    def counts(self) -> dict[str, int]:
        """Images seen by this process, and those of them that have the rectangle."""
        return {"images": len(self._known), "rectangle": self._rectangles}

    def of(self, batch: Batch, images: Tensor) -> Tensor:
        """The chest (M, N) bool of the batch's `images` (M, C, H, W)."""
        keys = keys_of(batch)
        for key, image in zip(keys, images, strict=True):
            if key not in self._known:
                self._known[key] = self._find(image[0])
        return torch.stack([self._known[key] for key in keys]).to(images.device)

    def _find(self, grey: Tensor) -> Tensor:
        contour = find_contour(grey.float().cpu().numpy())
        inside = on_grid(contour.hull, *self._grid)
        if not contour.found or not self._fits(int(inside.sum())):
            self._rectangles += 1
            inside = published_box(*self._grid)
        return torch.from_numpy(inside.copy()).flatten()

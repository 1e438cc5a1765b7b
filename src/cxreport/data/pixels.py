"""What holds for pixels of any origin: how many are read, and how values become 8-bit grey."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxreport.errors import UserError

MAX_PIXELS = 80_000_000
"""Images that declare more pixels are refused undecoded. A large detector has 20 million."""

_BLOCK = 2**19


def stretched(values: NDArray[np.generic], low: float, high: float, name: str) -> NDArray[np.uint8]:
    """Map `values` linearly so that `low` becomes 0 and `high` 255, clipped and rounded.

    Raises UserError, naming `name`, when a value is NaN or infinite, or `high` is not above `low`.
    """
    if not high > low:
        raise UserError(f"{name} shows one single grey; it is not a radiograph.")
    grey = np.empty(values.shape, np.uint8)
    for rows in row_blocks(values):
        floats = values[rows].astype(np.float64)
        if not np.isfinite(floats).all():
            raise UserError(f"{name} holds pixels that are not numbers (NaN or infinite); export it again.")
        floats -= low
        floats *= 255 / (high - low)
        grey[rows] = np.rint(np.clip(floats, 0, 255, out=floats))
    return grey


def row_blocks(image: NDArray[np.generic]) -> Iterator[slice]:
    """Slices of rows of about half a million pixels, so that temporary arrays stay small next to `image`."""
    height = max(1, _BLOCK // max(1, image[:1].size))
    for top in range(0, len(image), height):
        yield slice(top, top + height)


def check_size(width: int, height: int, name: Path | str) -> None:
    """UserError when an image of `width` x `height` pixels is empty or larger than :data:`MAX_PIXELS`."""
    if width < 1 or height < 1:
        raise UserError(f"{name} declares an image of {width} x {height} pixels; export it again.")
    if width * height > MAX_PIXELS:
        raise UserError(
            f"{name} declares {width} x {height} pixels, more than the {MAX_PIXELS // 10**6} million that "
            "are read; shrink it first."
        )

"""A contact sheet of contours: the hull yellow, the lungs green, a rectangle that stands in red."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from cxreport.encoders.contour import Mask, find_contour

CELL = 256
"""Side of one image on the sheet, in pixels."""
_YELLOW, _GREEN, _RED = (255, 212, 59), (105, 219, 124), (255, 107, 107)


def contour_sheet(pictures: Iterable[npt.NDArray[np.uint8]], out: Path, columns: int = 6) -> tuple[int, int]:
    """Write grey `pictures` (H, W) with their contours as one PNG; how many there are, and without contour.

    Raises OSError when `out` cannot be written.
    """
    cells, failures = [], 0
    for grey in pictures:
        square = np.asarray(Image.fromarray(grey).resize((CELL, CELL), Image.Resampling.BILINEAR))
        contour = find_contour(square)
        failures += not contour.found
        cell = np.repeat(square[:, :, None], 3, axis=2)
        cell[_edge(contour.lungs)] = _GREEN
        cell[_edge(contour.hull)] = _YELLOW if contour.found else _RED
        cells.append(cell)
    columns = min(columns, max(len(cells), 1))
    rows = max(1, -(-len(cells) // columns))
    sheet = np.zeros((rows * CELL, columns * CELL, 3), dtype=np.uint8)
    for place, cell in enumerate(cells):
        top, left = place // columns * CELL, place % columns * CELL
        sheet[top : top + CELL, left : left + CELL] = cell
    Image.fromarray(sheet).save(out, "PNG")
    return len(cells), failures


def _edge(mask: Mask) -> Mask:
    edge: Mask = mask & ~ndimage.binary_erosion(mask, iterations=2)
    return edge

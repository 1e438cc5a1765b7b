"""A contact sheet of maps: each image with a map in colour over it, the true boxes and a caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from cxreport.encoders import with_channels
from cxreport.objectives.maps import enlarged
from cxreport.study import Box

MAPS = "maps.png"
CELL = 256
"""Side of one image on the sheet, in pixels."""
_CAPTION = 16
_BOX = "#69db7c"
_STRENGTH = 0.6
_HOT = torch.tensor([1.0, 0.35, 0.1])


@dataclass(frozen=True, slots=True)
class Cell:
    """``image`` (3 or 1, H, W) as encoders take it, its map (h, w), and the true boxes."""

    image: Tensor
    map: Tensor
    caption: str
    boxes: tuple[Box, ...] = ()
    shift: float = 0.0
    """As :func:`cxreport.objectives.maps.enlarged` takes it."""


def map_sheet(cells: Sequence[Cell], out: Path, columns: int = 6) -> int:
    """Write `cells`, `columns` a row, as one PNG; returns how many. Raises OSError where `out` cannot be."""
    columns = min(columns, max(len(cells), 1))
    rows = max(1, -(-len(cells) // columns))
    height = CELL + _CAPTION
    sheet = Image.new("RGB", (columns * CELL, rows * height), "black")
    draw = ImageDraw.Draw(sheet)
    for place, cell in enumerate(cells):
        left, top = place % columns * CELL, place // columns * height
        sheet.paste(Image.fromarray(_coloured(cell).numpy()), (left, top))
        for box in cell.boxes:
            edges = [start + edge * (CELL - 1) for start, edge in zip((left, top) * 2, box, strict=True)]
            draw.rectangle(edges, outline=_BOX, width=2)
        draw.text((left + 3, top + CELL + 1), cell.caption, fill="#dee2e6")
    sheet.save(out, "PNG")
    return len(cells)


def _coloured(cell: Cell) -> Tensor:
    """The image with the map over it, (CELL, CELL, 3) bytes."""
    image = with_channels(cell.image.detach().float().cpu()[None], 1)
    grey = ((enlarged(image, CELL)[0, 0] + 1) / 2).clamp(0, 1)
    heat = enlarged(cell.map.detach().float().cpu()[None, None], CELL, cell.shift)[0, 0].clamp(min=0)
    strength = _STRENGTH * (heat / heat.max().clamp(min=1e-12)).unsqueeze(2)
    mixed = (1 - strength) * grey.unsqueeze(2) + strength * _HOT
    return mixed.mul(255).round().to(torch.uint8)

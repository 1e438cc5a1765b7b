"""A contact sheet of studies: their views side by side, with the true boxes."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

from PIL import Image, ImageDraw

from cxreport.study import Finding, Study, View

CELL = 320
"""Side of one view on the sheet, in pixels."""
_LINE = 15
_COLOURS = ("#ff6b6b", "#4dabf7", "#ffd43b", "#69db7c", "#da77f2")


def contact_sheet(studies: Iterable[Study], out: Path, columns: int = 4) -> int:
    """Write the views of `studies`, `columns` studies a row, as one PNG; returns how many studies it shows.

    Raises OSError when `out` cannot be written.
    """
    cells = [_cell(study) for study in studies]
    width = max((cell.width for cell in cells), default=1)
    height = max((cell.height for cell in cells), default=1)
    rows = -(-len(cells) // columns)
    sheet = Image.new("RGB", (width * min(columns, max(len(cells), 1)), height * max(rows, 1)), "black")
    for place, cell in enumerate(cells):
        sheet.paste(cell, (place % columns * width, place // columns * height))
    sheet.save(out, "PNG")
    return len(cells)


def marked_view(view: View, findings: Iterable[Finding], side: int = CELL) -> Image.Image:
    """The view, `side` pixels square, with a coloured box for each finding that has one in it."""
    picture = (
        Image.open(io.BytesIO(view.image)).convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
    )
    draw = ImageDraw.Draw(picture)
    for place, finding in enumerate(findings):
        box = finding.boxes.get(view.projection or "")
        if box is not None:
            draw.rectangle([edge * (side - 1) for edge in box], outline=colour(place), width=2)
    return picture


def colour(place: int) -> str:
    """The colour of a study's finding number `place`."""
    return _COLOURS[place % len(_COLOURS)]


def caption(finding: Finding) -> str:
    """A finding in a few words: ``moderate left pleural effusion``."""
    words = (finding.severity, finding.side, finding.zone, finding.kind.replace("_", " "))
    return " ".join(word for word in words if word)


def _cell(study: Study) -> Image.Image:
    findings = study.findings or ()
    cell = Image.new("RGB", (CELL * len(study.views) + 6, CELL + 6 * _LINE + 6), "black")
    for place, view in enumerate(study.views):
        cell.paste(marked_view(view, findings), (place * CELL, 0))
    draw = ImageDraw.Draw(cell)
    truth = "no finding" if study.findings == () else ""
    draw.text((4, CELL + 2), f"{study.study_id} {study.split or ''} {truth}", fill="#adb5bd")
    for place, finding in enumerate(findings):
        draw.text((4, CELL + 2 + _LINE * (place + 1)), caption(finding), fill=colour(place))
    return cell

"""The contact sheet shows the views and the boxes where they are."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from cxreport.phantom.sheet import CELL, caption, contact_sheet, marked_view
from cxreport.study import Finding, Study, View


def black_view() -> View:
    buffer = io.BytesIO()
    Image.new("L", (40, 40)).save(buffer, "PNG")
    return View(buffer.getvalue(), 40, 40, "frontal")


def test_box_lies_where_the_finding_says() -> None:
    finding = Finding("mass", "left", "upper", boxes={"frontal": (0.5, 0.25, 0.75, 0.5)})
    coloured = np.asarray(marked_view(black_view(), [finding], 101)).max(axis=2) > 0
    rows, columns = np.nonzero(coloured)
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (50, 75, 25, 50)
    assert not coloured[30:45, 56:70].any()


def test_sheet_has_a_cell_for_every_study(tmp_path: Path) -> None:
    studies = [
        Study(f"s{i}", f"p{i}", (black_view(),), findings=(Finding("mass", "left"),)) for i in range(5)
    ]
    assert contact_sheet(studies, tmp_path / "sheet.png", columns=2) == 5
    sheet = Image.open(tmp_path / "sheet.png")
    assert sheet.width >= 2 * CELL
    assert sheet.height >= 3 * CELL


def test_caption_is_words() -> None:
    assert caption(Finding("pleural_effusion", "left", None, "moderate")) == "moderate left pleural effusion"

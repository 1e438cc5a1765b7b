"""``cxreport contour show``: counts, colours, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from cxreport.cli import app
from cxreport.phantom.make import render_study


def test_a_sheet_of_a_chest_and_of_none(tmp_path: Path) -> None:
    views, _, _ = render_study((), 192, np.random.default_rng(5))
    (tmp_path / "a.png").write_bytes(views[0].image)
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "b.png")
    Image.fromarray(np.full((64, 64), 9, dtype=np.uint8)).save(tmp_path / "c.png")
    done = CliRunner().invoke(
        app, ["contour", "show", str(tmp_path), "--out", str(tmp_path / "out" / "s.png")]
    )
    assert done.exit_code == 0, done.output
    assert "Left out: " in done.output
    assert "2 images, 1 without a contour" in done.output
    sheet = np.asarray(Image.open(tmp_path / "out" / "s.png"))
    assert sheet.shape == (256, 512, 3)
    chest, none = sheet[:, :256].reshape(-1, 3).tolist(), sheet[:, 256:].reshape(-1, 3).tolist()
    assert [255, 212, 59] in chest
    assert [105, 219, 124] in chest
    assert [255, 107, 107] not in chest
    assert [255, 107, 107] in none


def test_a_folder_that_is_absent_is_told(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["contour", "show", str(tmp_path / "no"), "--out", str(tmp_path / "s.png")]
    )
    assert done.exit_code == 1
    assert "neither a prepared dataset nor a folder" in done.output


def test_a_draw_by_seed_is_the_same_twice_and_counts_for_each_folder(tmp_path: Path) -> None:
    for folder, first in (("a", 0), ("b", 10)):
        (tmp_path / folder).mkdir()
        for number in range(first, first + 5):
            grey = np.random.default_rng(number).integers(0, 255, (48, 48), dtype=np.uint8)
            Image.fromarray(grey).save(tmp_path / folder / f"{number:02}.png")
    folders = [str(tmp_path / "a"), str(tmp_path / "b")]

    def sheet(*options: str) -> np.ndarray:
        out = tmp_path / "s.png"
        done = CliRunner().invoke(
            app, ["contour", "show", *folders, "--out", str(out), "--images", "2", *options]
        )
        assert done.exit_code == 0, done.output
        assert "4 images" in done.output
        return np.asarray(Image.open(out))

    assert np.array_equal(sheet("--seed", "1"), sheet("--seed", "1"))
    assert not np.array_equal(sheet("--seed", "1"), sheet())

"""Small studies and picture files that the tests of the data room share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxreport.data.images import view_of
from cxreport.study import Projection, Report, Study


@pytest.fixture
def make_study() -> Callable[..., Study]:
    """``make_study(3, split="val", projections=("frontal",), report=...)``; pixels depend on the number."""

    def make(
        number: int,
        *,
        split: str | None = "train",
        patient: str | None = None,
        projections: tuple[Projection | None, ...] = ("frontal",),
        report: str = "The heart is normal.",
        size: int = 32,
    ) -> Study:
        rng = np.random.default_rng(number)
        views = tuple(
            view_of(rng.integers(0, 256, (size, size), dtype=np.uint8), name) for name in projections
        )
        return Study(f"s{number}", patient or f"p{number}", views, Report(findings=report), split)

    return make


@pytest.fixture
def gradient() -> np.ndarray:
    """(48, 64) uint8, dark on the left, bright on the right, a black corner at the top left."""
    picture = np.tile(np.linspace(0, 255, 64).round().astype(np.uint8), (48, 1))
    picture[:8, :8] = 0
    picture[:8, -8:] = 200
    return picture


@pytest.fixture
def png(tmp_path: Path, gradient: np.ndarray) -> Path:
    """The gradient as an 8-bit grey PNG."""
    path = tmp_path / "gradient.png"
    Image.fromarray(gradient).save(path)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a test writes its DICOM file."""
    return tmp_path / "scan.dcm"

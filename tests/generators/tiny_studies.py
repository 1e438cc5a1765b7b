"""Train studies of a few pixels, for generators that look at more than texts."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from tiny_language import REPORTS

from cxreport.generators.base import TrainStudies
from cxreport.options import DataOptions
from cxreport.study import Report, Study, View

SIDE = 32
DATA = DataOptions(image_size=SIDE, augment=False)


def png(seed: int) -> bytes:
    """A picture of its own for every seed: noise over a slope."""
    rng = np.random.default_rng(seed)
    grey = np.clip(rng.integers(0, 90, (SIDE, SIDE)) + np.linspace(0, 150, SIDE) * rng.random(), 0, 255)
    file = io.BytesIO()
    Image.fromarray(grey.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def study(number: int, text: str, *, normal: bool | None, patient: str = "") -> Study:
    """A train study with one view; `normal` decides its label, None gives it none."""
    labels = {} if normal is None else {"No Finding": 1} if normal else {"Lung Opacity": 1}
    view = View(png(number), SIDE, SIDE, "frontal")
    return Study(f"s{number}", patient or f"p{number}", (view,), Report(text), "train", labels)


def train_studies(texts: list[str] | None = None) -> TrainStudies:
    """A study for each text, every other one normal."""
    texts = texts or REPORTS
    studies = [study(number, text, normal=number % 2 == 0) for number, text in enumerate(texts)]
    val = [study(100 + number, "", normal=number % 2 == 0) for number in range(6)]
    return TrainStudies(texts, studies, DATA, 1, {"source": "tiny", "sha256": "0" * 64}, val)

"""What a classifier of diseases says of the studies of a split, and where it looks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from cxreport.data.batch import StudyImages, chosen_views, loader
from cxreport.objectives.disease import DiseaseClassification
from cxreport.objectives.map_sheet import Cell
from cxreport.objectives.maps import peaks, points_into
from cxreport.objectives.targets import Targets
from cxreport.options import DataOptions
from cxreport.study import Box, Study

TOLERANCE = 15 / 224
"""The 15 px of the published pointing game, on an image of 224 px."""

MapKind = Literal["saliency", "grad-cam", "attention"]

Progress = Callable[[int, int], None]
"""How many studies are done, and how many there are."""


@dataclass(frozen=True, slots=True)
class LabelPredictions:
    """Log-odds and truth (N, L) of N studies; truth is 1, 0, or NaN where it is not known or uncertain."""

    names: tuple[str, ...]
    study_ids: list[str]
    patient_ids: list[str]
    logits: np.ndarray
    truth: np.ndarray

    @property
    def labelled(self) -> bool:
        """Whether any truth is known."""
        return not np.isnan(self.truth).all()


@dataclass(frozen=True, slots=True)
class Pointing:
    """An output that is truly there and has boxes in the study's first view, and its map's highest place.

    ``hit``: it lies in a box; ``near``: or at most :data:`TOLERANCE` beside one. ``chance`` is the share of
    the view that the boxes cover: how often a place drawn at random hits.
    """

    study_id: str
    patient_id: str
    name: str
    hit: bool
    near: bool
    chance: float


@torch.no_grad()
def predict(
    classifier: DiseaseClassification,
    studies: Sequence[Study],
    data: DataOptions,
    *,
    batch_size: int = 32,
    progress: Progress = lambda done, total: None,
) -> LabelPredictions:
    """The log-odds of `studies`, whose images are prepared as `data` says; UserError where there is none."""
    classifier.eval()
    device = next(classifier.parameters()).device
    targets = Targets(classifier.options.model_copy(update={"uncertain": "ignore"}))
    ids: list[str] = []
    patients: list[str] = []
    logits: list[Tensor] = []
    truth: list[Tensor] = []
    for batch in loader(studies, data, batch_size=batch_size, train=False, seed=0):
        logits.append(classifier.study_logits(batch.to(device)).float().cpu())
        truth.append(targets.truth(batch.labels, batch.findings))
        ids += batch.study_ids
        patients += batch.patient_ids
        progress(len(ids), len(studies))
    return LabelPredictions(
        classifier.names,
        ids,
        patients,
        torch.cat(logits).numpy().astype(np.float64),
        torch.cat(truth).numpy(),
    )


def point(
    classifier: DiseaseClassification,
    studies: Sequence[Study],
    data: DataOptions,
    kind: MapKind,
    *,
    progress: Progress = lambda done, total: None,
) -> list[Pointing]:
    """The pointing game of that kind of map; empty where no finding has a box.

    Several boxes of one output count once: its map may point at any of them.
    """
    played = []
    for study, image, boxes in _boxed(classifier, studies, data, progress):
        maps, shift = maps_of(classifier, image, list(boxes), kind)
        for (x, y), (place, own) in zip(peaks(maps, shift)[0].tolist(), boxes.items(), strict=True):
            near = points_into((x, y), own, TOLERANCE)
            ids = (study.study_id, study.patient_id, classifier.names[place])
            played.append(Pointing(*ids, points_into((x, y), own), near, covered(own)))
    return played


def maps_of(
    classifier: DiseaseClassification, image: Tensor, places: Sequence[int], kind: MapKind
) -> tuple[Tensor, float]:
    """Maps (1, P, h, w) of the outputs at `places` for an image (1, C, H, W), and their shift."""
    if kind == "saliency":
        return classifier.saliency(image, places), 0.0
    maps = classifier.query_maps(image) if kind == "attention" else classifier.class_maps(image)
    return maps[:, places], classifier.shift_of(image)


def cells(
    classifier: DiseaseClassification, studies: Sequence[Study], data: DataOptions, kind: MapKind, count: int
) -> list[Cell]:
    """Maps of `count` outputs that have boxes, one a study, each time of the one shown least so far."""
    shown: Counter[int] = Counter()
    found: list[Cell] = []
    for study, image, boxes in _boxed(classifier, studies, data):
        if len(found) == count:
            break
        place = min(boxes, key=lambda each: shown[each])
        shown[place] += 1
        chance = classifier.logits(image)[0, place].sigmoid().item()
        caption = f"{study.study_id[:14]} {classifier.names[place]} {chance:.2f}"
        maps, shift = maps_of(classifier, image, [place], kind)
        found.append(Cell(image[0], maps[0, 0].detach(), caption, tuple(boxes[place]), shift))
    return found


def covered(boxes: Sequence[Box], side: int = 256) -> float:
    """The share of a view that `boxes` cover together."""
    centres = (np.arange(side) + 0.5) / side
    inside = np.zeros((side, side), dtype=bool)
    for left, top, right, bottom in boxes:
        rows, columns = (centres >= top) & (centres <= bottom), (centres >= left) & (centres <= right)
        inside |= rows[:, None] & columns
    return float(inside.mean())


def _boxed(
    classifier: DiseaseClassification,
    studies: Sequence[Study],
    data: DataOptions,
    progress: Progress = lambda done, total: None,
) -> Iterator[tuple[Study, Tensor, dict[int, list[Box]]]]:
    """Studies with boxes in their first view: the study, that image (1, 3, H, W), the boxes by output."""
    classifier.eval()
    device = next(classifier.parameters()).device
    for place in range(len(studies)):
        study = studies[place]
        views = chosen_views(study, data)
        projection = (views[0].projection or "frontal") if views else "frontal"
        boxes = classifier.targets.boxes(study.findings or (), projection)
        if boxes:
            image = StudyImages([study], data, augment=False, seed=0)[0].images[:1]
            yield study, image.to(device), boxes
        progress(place + 1, len(studies))

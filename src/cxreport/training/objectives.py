"""Objectives as subjects of a run: pre-training on one or several datasets, with or without reports."""

from __future__ import annotations

import hashlib
import json
import logging
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any, overload

from cxreport.data.batch import StudyImages, collate
from cxreport.data.store import PreparedDataset, Studies
from cxreport.data.subsets import train_part
from cxreport.encoders import build_encoder, entry_of
from cxreport.errors import UserError
from cxreport.objectives import build_objective
from cxreport.objectives.base import TrainFacts
from cxreport.objectives.folder import load_objective, save_objective
from cxreport.options import EncoderOptions
from cxreport.pretraining import PretrainRecipe
from cxreport.study import SidedKind, Study
from cxreport.training.batches import RunStudies
from cxreport.training.provenance import dataset_facts
from cxreport.training.run import run
from cxreport.training.subject import Built, Subject
from cxreport.training.task import seed_everything

SHOWN = 6
"""Images of the validation split in the pictures."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Weighted:
    """A dataset with its weight; None takes every image once an epoch."""

    dataset: PreparedDataset
    weight: float | None = None

    @classmethod
    def open(cls, text: str) -> Weighted:
        """``DIR`` or ``DIR=weight``; UserError for a weight that is not above 0 and for no dataset."""
        path, equals, weight = text.rpartition("=")
        if not equals or Path(text).exists():
            return cls(PreparedDataset.open(text))
        try:
            value = float(weight)
        except ValueError:
            value = 0.0
        if not 0 < value < float("inf"):
            raise UserError(f"--data {text}: the weight must be a number above 0, not {weight!r}.")
        return cls(PreparedDataset.open(path), value)


class Joined(Sequence[Study]):
    """Studies of several datasets one after another; their ids get the dataset's number, so none is twice."""

    def __init__(self, parts: Sequence[Studies]) -> None:
        self._parts = parts
        self._ends = list(accumulate(map(len, parts)))

    @property
    def labels(self) -> list[dict[str, int]]:
        """All labels, without reading an image."""
        return [labels for part in self._parts for labels in part.labels]

    @property
    def sided_kinds(self) -> list[frozenset[SidedKind] | None]:
        """What every study has, without reading an image."""
        return [kinds for part in self._parts for kinds in part.sided_kinds]

    def __len__(self) -> int:
        return self._ends[-1]

    @overload
    def __getitem__(self, index: int) -> Study: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Study]: ...
    def __getitem__(self, index: int | slice) -> Study | Sequence[Study]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(f"study {index} of {len(self)}")
        part = bisect_right(self._ends, index)
        study = self._parts[part][index - (self._ends[part - 1] if part else 0)]
        if len(self._parts) == 1:
            return study
        study_id, patient_id = f"{part + 1}:{study.study_id}", f"{part + 1}:{study.patient_id}"
        return replace(study, study_id=study_id, patient_id=patient_id)


def pretrain(
    recipe: PretrainRecipe,
    data: Sequence[Weighted],
    out: Path,
    *,
    resume: bool = False,
    devices: int | str = "auto",
) -> Path:
    """Pre-train the recipe's encoder; return the encoder folder. See :func:`cxreport.training.run.run`."""
    return run(objective_subject(recipe, data), out, resume=resume, devices=devices)


def objective_subject(recipe: PretrainRecipe, data: Sequence[Weighted]) -> Subject:
    """The recipe's objective, to be trained on the images of the train splits of `data`."""

    def build() -> Built:
        studies = _studies(recipe, data)
        seed_everything(recipe.seed)
        options = encoder_options(recipe)
        objective = build_objective(build_encoder(options), recipe.objective)
        objective.prepare(TrainFacts(names, studies.labels, studies.findings, studies.reports))

        def save(folder: Path, provenance: dict[str, Any]) -> None:
            save_objective(folder, objective, options, recipe, provenance)

        def finish(out: Path) -> None:
            images = StudyImages(
                studies.val[: min(SHOWN, len(studies.val))], recipe.data, augment=False, seed=recipe.seed
            )
            batch = collate([images[place] for place in range(len(images))])
            load_objective(out / "model").show(batch, out)

        return Built(
            objective,
            objective.encoder.parameters(),
            studies,
            studies.counts,
            save,
            finish,
            objective.measured,
            throughput=True,
        )

    names = ", ".join(str(each.dataset.path) for each in data)
    return Subject(recipe, _facts(data), names, recipe.encoder.init, build)


def encoder_options(recipe: PretrainRecipe) -> EncoderOptions:
    """The encoder for images of ``data.image_size``, where the recipe leaves its size out."""
    options = recipe.encoder
    if options.image_size is None and "image_size" in entry_of(options.name).options:
        return options.model_copy(update={"image_size": recipe.data.image_size})
    return options


def _studies(recipe: PretrainRecipe, data: Sequence[Weighted]) -> RunStudies:
    for each in data:
        each.dataset.need_images()
    train = [train_part(each.dataset, recipe.data) for each in data]
    val = [each.dataset.split("val") for each in data if "val" in each.dataset.splits]
    if not val:
        raise UserError(
            f"None of the datasets ({data[0].dataset.path}) has a val split, which chooses the epoch."
        )
    weighted = any(each.weight is not None for each in data)
    parts = [(len(own), each.weight or 1.0) for own, each in zip(train, data, strict=True)]
    joined, batch = Joined(train), recipe.training.batch_size
    if batch > len(joined):
        logger.warning(
            "training.batch_size (%d) is more than the %d training studies; every epoch is a single step.",
            batch,
            len(joined),
        )
    checked = Joined(val)
    counts = {"train": len(joined), "val": len(checked)}
    return RunStudies(
        joined,
        checked,
        [],
        counts,
        tuple(parts) if weighted else (),
        labels=joined.labels,
        findings=joined.sided_kinds,
    )


def _facts(data: Sequence[Weighted]) -> dict[str, Any]:
    """What identifies the data; one dataset without weight as in any other run."""
    parts: list[dict[str, Any]] = [{**dataset_facts(each.dataset), "weight": each.weight} for each in data]
    if len(parts) == 1:
        return dataset_facts(data[0].dataset)
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return {"source": " + ".join(part["source"] for part in parts), "sha256": digest, "parts": parts}

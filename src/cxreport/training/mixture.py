"""The data of pre-training: one or several datasets, with weights, with or without reports."""

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

from cxreport.data.batch import usable
from cxreport.data.store import PreparedDataset, Studies
from cxreport.data.subsets import train_part
from cxreport.data.text import target_text
from cxreport.errors import UserError
from cxreport.pretraining import PretrainRecipe
from cxreport.study import Report, SidedKind, Study
from cxreport.training.batches import RunStudies
from cxreport.training.provenance import dataset_facts

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

    @property
    def labels(self) -> list[dict[str, int]]:
        """All labels, without reading an image."""
        return [labels for part in self._parts for labels in part.labels]

    @property
    def sided_kinds(self) -> list[frozenset[SidedKind] | None]:
        """What every study has, without reading an image."""
        return [kinds for part in self._parts for kinds in part.sided_kinds]

    @property
    def reports(self) -> list[Report]:
        """All reports, without reading an image."""
        return [report for part in self._parts for report in part.reports]


def mixed_studies(recipe: PretrainRecipe, data: Sequence[Weighted]) -> RunStudies:
    """The train and val studies of `data`; only those with a report where the objective reads reports.

    What is left out is counted and logged. Raises UserError where images or the reports are missing, and
    where no dataset has a val split.
    """
    if recipe.reads_images:
        for each in data:
            each.dataset.need_images()
    counts: dict[str, int] = {}
    train = [_chosen(recipe, each.dataset, "train", counts) for each in data]
    val = [_chosen(recipe, each.dataset, "val", counts) for each in data if "val" in each.dataset.splits]
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
    texts = [target_text(report, recipe.data) for report in joined.reports] if recipe.reads_reports else []
    return RunStudies(
        joined,
        Joined(val),
        texts,
        counts,
        tuple(parts) if weighted else (),
        images=recipe.reads_images,
        labels=joined.labels,
        findings=joined.sided_kinds,
    )


def _chosen(recipe: PretrainRecipe, dataset: PreparedDataset, split: str, counts: dict[str, int]) -> Studies:
    """A split's studies, added to `counts`."""
    studies = train_part(dataset, recipe.data) if split == "train" else dataset.split(split)
    if recipe.reads_reports:
        kept, exclusions = usable(studies, recipe.data)
        if not kept:
            raise UserError(
                f"No study of the {split} split of {dataset.path} has a text in the section "
                f"{recipe.data.section}; set data.section to another one."
            )
        if len(exclusions):
            logger.warning("%s split, %d studies: %s.", split, len(studies), exclusions.summary())
        studies = studies.select(kept)
        without = f"{split}_without_report"
        counts[without] = counts.get(without, 0) + len(exclusions)
    counts[split] = counts.get(split, 0) + len(studies)
    return studies


def mixture_facts(data: Sequence[Weighted]) -> dict[str, Any]:
    """What identifies the data; one dataset without weight as in any other run."""
    parts: list[dict[str, Any]] = [{**dataset_facts(each.dataset), "weight": each.weight} for each in data]
    if len(parts) == 1:
        return dataset_facts(data[0].dataset)
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return {"source": " + ".join(part["source"] for part in parts), "sha256": digest, "parts": parts}

"""Drafts of a whole split, with the controls that every table shows, or of image files."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cxreport import DISCLAIMER
from cxreport.data.batch import loader, usable
from cxreport.data.exclusions import Exclusions
from cxreport.data.images import inspect
from cxreport.data.store import PreparedDataset
from cxreport.data.text import target_text
from cxreport.errors import UserError
from cxreport.generators.base import Generator
from cxreport.generators.baselines import most_frequent, nearest_neighbour, other_studies, random_train
from cxreport.recipe import DataOptions, Recipe
from cxreport.study import Study

Record = dict[str, Any]
Progress = Callable[[str, int, int], None]
"""Called with the name of a step, how much of it is done, and how much there is."""


@dataclass(frozen=True, slots=True)
class DraftingSummary:
    """What :func:`draft_split` did.

    ``resumed`` of the ``studies`` were taken over from an interrupted run; ``seconds_per_study`` is the
    mean over all of them, encoder included; ``notes`` are sentences for the user.
    """

    path: Path
    studies: int
    resumed: int
    seconds_per_study: float
    controls: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FileDrafts:
    """Drafts of image files, every file a study of its own.

    ``paths`` maps a study id to its file: names of files may name patients, so records do not hold them.
    ``warnings`` maps a study id to sentences on why its image may be unfit; ``exclusions`` lists the files
    that could not be read.
    """

    records: list[Record]
    paths: dict[str, Path]
    warnings: dict[str, tuple[str, ...]] = field(default_factory=dict)
    exclusions: Exclusions = field(default_factory=Exclusions)


def protocol_id(options: DataOptions) -> str:
    """What a draft is scored against: the section, whole and untruncated, and its cleaner."""
    return f"{options.section}.full.{options.cleaner}"


def draft_split(
    generator: Generator,
    recipe: Recipe,
    dataset: PreparedDataset,
    split: str,
    out: Path,
    *,
    controls: bool = True,
    progress: Progress | None = None,
) -> DraftingSummary:
    """Write a draft for every study of `split` into the predictions file `out`.

    With `controls` every line also has the image-blind and retrieval baselines made from the train split,
    and what the model wrote for another study of the split. The file appears when it is complete; until
    then finished drafts stand in ``<out>.part``, and the same call goes on from there after an
    interruption. Raises UserError for an absent split, an unwritable `out`, or a model whose
    probabilities are not numbers.
    """
    studies = dataset.split(split)
    report = progress or _no_progress
    part = _Part(out, _fingerprint(generator, recipe, dataset, split))
    with _writing(out):
        records = part.open(studies.study_ids)
    resumed = len(records)
    report("drafts", resumed, len(studies))
    for drafts in _drafts(generator, recipe, studies[resumed:]):
        new = [
            _record(studies[len(records) + place], draft, recipe.data, dataset)
            for place, draft in enumerate(drafts)
        ]
        with _writing(out):
            part.append(new)
        records += new
        report("drafts", len(records), len(studies))
    notes = list(part.notes)
    texts: dict[str, list[str]] = {}
    if controls:
        texts, control_notes = _controls(generator, recipe, dataset, split, records, report)
        notes += control_notes
        for place, record in enumerate(records):
            record["controls"] = {name: column[place] for name, column in texts.items()}
    write_predictions(records, out)
    part.remove()
    seconds = sum(record["seconds"] for record in records) / len(records)
    return DraftingSummary(out, len(records), resumed, seconds, tuple(texts), tuple(notes))


def draft_files(
    generator: Generator, recipe: Recipe, paths: Sequence[Path], *, progress: Progress | None = None
) -> FileDrafts:
    """Draft for PNG, JPEG or DICOM files, and for all files in the folders among `paths`.

    Study ids are ``input-<position>-<start of the SHA-256 of the file>``. An image of unknown projection
    counts as frontal. A file that cannot be read is left out and listed; UserError when none can.
    """
    files = [file for path in paths for file in _files_in(path)]
    result = FileDrafts([], {})
    report = progress or _no_progress
    size = recipe.decoding.batch_size
    for start in range(0, len(files), size):
        batch = list(_readable(files[start : start + size], start, result))
        for drafts in _drafts(generator, recipe, batch) if batch else ():
            result.records.extend(
                _record(study, draft, recipe.data, None) for study, draft in zip(batch, drafts, strict=True)
            )
        report("drafts", min(start + size, len(files)), len(files))
    if not result.records:
        first = result.exclusions.items[0].detail
        raise UserError(first if len(files) == 1 else f"None of the {len(files)} files can be read; {first}")
    return result


def write_predictions(records: Iterable[Record], out: Path) -> None:
    """Write `records` as a predictions file in one step; UserError where `out` cannot be written."""
    complete = out.with_name(out.name + ".tmp")
    with _writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with complete.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(_line(record) for record in records)
            file.flush()
            os.fsync(file.fileno())
        os.replace(complete, out)


@dataclass(frozen=True, slots=True)
class _TimedDraft:
    text: str
    mean_logprob: float
    seconds: float


def _drafts(generator: Generator, recipe: Recipe, studies: Sequence[Study]) -> Iterator[list[_TimedDraft]]:
    """Drafts of `studies` in order, batch by batch; the seconds are an equal share of the batch's."""
    if not len(studies):
        return
    device = _device(generator)
    batches = loader(
        studies, recipe.data, batch_size=recipe.decoding.batch_size, train=False, seed=recipe.seed
    )
    for batch in batches:
        start = time.perf_counter()
        drafts = generator.generate(batch.to(device), recipe.decoding)
        seconds = (time.perf_counter() - start) / len(drafts)
        if not all(math.isfinite(draft.mean_logprob) for draft in drafts):
            raise UserError(
                "The model writes with probabilities that are not numbers, so its training diverged;"
                " train it again with a lower training.learning_rate."
            )
        yield [_TimedDraft(draft.text, draft.mean_logprob, seconds) for draft in drafts]


def _record(
    study: Study, draft: _TimedDraft, options: DataOptions, dataset: PreparedDataset | None
) -> Record:
    return {
        "study_id": study.study_id,
        "split": study.split,
        "hypothesis": draft.text,
        "reference": target_text(study.report, options),
        "protocol": protocol_id(options),
        "seconds": round(draft.seconds, 6),
        "mean_logprob": draft.mean_logprob,
        "evidence": [],
        "truth": _known_findings(study),
        "language": dataset.info["options"].get("language") if dataset is not None else None,
        "disclaimer": DISCLAIMER,
    }


def _known_findings(study: Study) -> list[list[str | None]] | None:
    """(kind, side) pairs, sorted, with both sides for a bilateral finding; None where no truth is known."""
    if study.findings is None:
        return None
    items: set[tuple[str, str | None]] = set()
    for finding in study.findings:
        sides = ("left", "right") if finding.side == "bilateral" else (finding.side,)
        items.update((finding.kind, side) for side in sides)
    return [[kind, side] for kind, side in sorted(items, key=lambda item: (item[0], item[1] or ""))]


def _controls(
    generator: Generator,
    recipe: Recipe,
    dataset: PreparedDataset,
    split: str,
    records: Sequence[Record],
    report: Progress,
) -> tuple[dict[str, list[str]], list[str]]:
    """The texts of every control in the order of `records`, and why one is missing."""
    texts: dict[str, list[str]] = {}
    notes: list[str] = []
    train = dataset.split("train") if "train" in dataset.splits else None
    kept = usable(train, recipe.data)[0] if train is not None else []
    if train is None or split == "train" or not kept:
        notes.append("No baselines from training reports: they need a train split with reports beside this one.")
    else:
        train = train.select(kept)
        reports = [target_text(entry, recipe.data) for entry in train.reports]
        texts["most_frequent"] = [most_frequent(reports)] * len(records)
        texts["random_train"] = random_train(reports, len(records), recipe.seed)
        texts["nearest_neighbour"] = nearest_neighbour(
            _features(generator, recipe, train, "features of train", report),
            reports,
            _features(generator, recipe, dataset.split(split), f"features of {split}", report),
        )
    if len(records) < 2:
        notes.append("No shuffled images: a single study has no other study.")
    else:
        partners = other_studies([_truth_key(record) for record in records], recipe.seed)
        texts["shuffled_images"] = [records[partner]["hypothesis"] for partner in partners]
    return texts, notes


def _truth_key(record: Record) -> Hashable:
    return json.dumps(record["truth"]) if record["truth"] is not None else record["reference"]


def _features(
    generator: Generator, recipe: Recipe, studies: Sequence[Study], step: str, report: Progress
) -> np.ndarray:
    """Pooled encoder features (N, D) float32 of `studies`."""
    device = _device(generator)
    generator.eval()
    rows: list[np.ndarray] = []
    done = 0
    with torch.inference_mode():
        for batch in loader(
            studies, recipe.data, batch_size=recipe.decoding.batch_size, train=False, seed=recipe.seed
        ):
            rows.append(generator.features(batch.to(device)).float().cpu().numpy())
            done += len(batch)
            report(step, done, len(studies))
    return np.concatenate(rows)

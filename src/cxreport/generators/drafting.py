"""Drafts of a whole split, with the controls that every table shows, or of image files."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from cxreport import DISCLAIMER
from cxreport.data.batch import loader
from cxreport.data.exclusions import Exclusions
from cxreport.data.isolation import IsolatedReader
from cxreport.data.store import PreparedDataset
from cxreport.data.subsets import train_part
from cxreport.data.text import target_text
from cxreport.errors import UserError
from cxreport.generators.base import Generator
from cxreport.generators.baselines import most_frequent, nearest_neighbour, other_studies, random_train
from cxreport.generators.evidence import EvidenceKind, evidence_tree
from cxreport.generators.prediction_file import Record, UnfinishedFile, write_predictions
from cxreport.memories.leaks import refuse_leaks
from cxreport.options import DataOptions
from cxreport.recipe import Recipe
from cxreport.study import Draft, Study, sided_kinds
from cxreport.weights.folder import weights_sha256

SUBGROUP_FACTS = ("sex", "age", "view")
"""Metadata of a study that stands in its line, for tables of subgroups."""

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
    """What a draft is scored against: the section, whole and untruncated, its cleaner, and marks not kept."""
    marks = "" if options.marks == "keep" else f".marks-{options.marks}"
    return f"{options.section}.full.{options.cleaner}{marks}"


def draft_split(
    generator: Generator,
    recipe: Recipe,
    dataset: PreparedDataset,
    split: str,
    out: Path,
    *,
    controls: bool = True,
    evidence: EvidenceKind | None = None,
    progress: Progress | None = None,
) -> DraftingSummary:
    """Write a draft for every study of `split` into the predictions file `out`.

    With `controls` every line also has the image-blind and retrieval baselines made from the train split,
    and what the model wrote for another study of the split; with `evidence` what each sentence of a draft
    rests on, which takes time and room. The file appears when it is complete; until
    then finished drafts stand in ``<out>.part``, and the same call goes on from there after an
    interruption. Raises UserError for an absent split, an unwritable `out`, a memory bank that holds val or
    test studies of `dataset`, or a model whose probabilities are not numbers.
    """
    dataset.need_images()
    studies = dataset.split(split)
    progress = progress or _no_progress
    refuse_leaks(generator.banks(), dataset, progress)
    unfinished = UnfinishedFile(out, _fingerprint(generator, recipe, dataset, split, evidence))
    records = unfinished.resume(studies.study_ids)
    resumed = len(records)
    progress("drafts", resumed, len(studies))
    for drafts in _drafts(generator, recipe, studies[resumed:], evidence):
        new = [
            _record(study, draft, recipe.data) | _facts(study, dataset)
            for study, draft in ((studies[len(records) + place], draft) for place, draft in enumerate(drafts))
        ]
        unfinished.append(new)
        records += new
        progress("drafts", len(records), len(studies))
    notes = list(unfinished.notes)
    if cut := sum(not record.get("finished", True) for record in records):
        notes.append(
            f"{cut} of {len(records)} drafts were cut at decoding.max_length ({recipe.decoding.max_length})."
        )
    texts: dict[str, list[str]] = {}
    if controls:
        texts, control_notes = _controls(generator, recipe, dataset, split, records, progress)
        notes += control_notes
        for place, record in enumerate(records):
            record["controls"] = {name: column[place] for name, column in texts.items()}
    write_predictions(records, out)
    unfinished.remove()
    seconds = sum(record["seconds"] for record in records) / len(records)
    return DraftingSummary(out, len(records), resumed, seconds, tuple(texts), tuple(notes))


def draft_files(
    generator: Generator,
    recipe: Recipe,
    paths: Sequence[Path],
    *,
    evidence: EvidenceKind | None = None,
    progress: Progress | None = None,
) -> FileDrafts:
    """Draft for PNG, JPEG or DICOM files, and for all files in the folders among `paths`.

    Study ids are ``input-<position>-<start of the SHA-256 of the file>``. An image of unknown projection
    counts as frontal. Files are decoded in a process of their own, for they may come from anybody. A file
    that cannot be read is left out and listed; UserError when none can.
    """
    files = [file for path in paths for file in _files_in(path)]
    data = recipe.data.model_copy(update={"workers": 0})  # a batch at a time is too little to share out
    recipe = recipe.model_copy(update={"data": data})
    result = FileDrafts([], {})
    progress = progress or _no_progress
    size = recipe.decoding.batch_size
    with IsolatedReader() as reader:
        for start in range(0, len(files), size):
            batch = list(_readable(reader, files[start : start + size], start, result))
            for drafts in _drafts(generator, recipe, batch, evidence):
                result.records.extend(
                    _record(study, draft, recipe.data) for study, draft in zip(batch, drafts, strict=True)
                )
            progress("drafts", min(start + size, len(files)), len(files))
    if not result.records:
        first = result.exclusions.items[0].detail
        raise UserError(first if len(files) == 1 else f"None of the {len(files)} files can be read; {first}")
    return result


def _drafts(
    generator: Generator, recipe: Recipe, studies: Sequence[Study], evidence: EvidenceKind | None
) -> Iterator[list[Draft]]:
    """Drafts of `studies` in order, batch by batch; the seconds are an equal share of the batch's.

    What evidence takes is not in them.
    """
    if not len(studies):
        return
    device = _device(generator)
    batches = loader(
        studies, recipe.data, batch_size=recipe.decoding.batch_size, train=False, seed=recipe.seed
    )
    for batch in batches:
        start = time.perf_counter()
        batch = batch.to(device)
        drafts = generator.generate(batch, recipe.decoding)
        seconds = (time.perf_counter() - start) / len(drafts)
        if not all(math.isfinite(draft.mean_logprob) for draft in drafts):
            raise UserError(
                "The model writes with probabilities that are not numbers, so its training diverged;"
                " train it again with a lower training.learning_rate."
            )
        drafts = [replace(draft, seconds=seconds) for draft in drafts]
        if evidence is not None:
            found = generator.evidence(batch, drafts, evidence)
            drafts = [replace(draft, sentences=each) for draft, each in zip(drafts, found, strict=True)]
        yield drafts


def _record(study: Study, draft: Draft, options: DataOptions) -> Record:
    return {
        "study_id": study.study_id,
        "split": study.split,
        "hypothesis": draft.text,
        "reference": target_text(study.report, options),
        "protocol": protocol_id(options),
        "seconds": round(draft.seconds, 6),
        "mean_logprob": draft.mean_logprob,
        "finished": draft.finished,
        "evidence": evidence_tree(draft, study, options),
        "truth": _known_findings(study),
        "language": study.metadata.get("language"),
        "disclaimer": DISCLAIMER,
    }


def _facts(study: Study, dataset: PreparedDataset) -> Record:
    """Whose study it is, for intervals by patient, and what tables of subgroups need.

    The patient is a hash that is the same within the dataset and differs between datasets.
    """
    name = hashlib.sha256(f"{dataset.sha256} {study.patient_id}".encode()).hexdigest()[:16]
    facts = {key: study.metadata[key] for key in SUBGROUP_FACTS if study.metadata.get(key) is not None}
    projections = sorted({view.projection or "unknown" for view in study.views})
    return {"patient_id": name, "facts": facts | {"projection": "+".join(projections)}}


def _known_findings(study: Study) -> list[list[str | None]] | None:
    """(kind, side) pairs, sorted, with both sides for a bilateral finding; None where no truth is known."""
    if study.findings is None:
        return None
    known = sorted(sided_kinds(study.findings), key=lambda item: (item[0], item[1] or ""))
    return [[kind, side] for kind, side in known]


def _controls(
    generator: Generator,
    recipe: Recipe,
    dataset: PreparedDataset,
    split: str,
    records: Sequence[Record],
    progress: Progress,
) -> tuple[dict[str, list[str]], list[str]]:
    """The texts of every control in the order of `records`, and why one is missing."""
    texts: dict[str, list[str]] = {}
    notes: list[str] = []
    train = train_part(dataset, recipe.data) if "train" in dataset.splits else None
    reports = [target_text(entry, recipe.data) for entry in train.reports] if train is not None else []
    if train is None or split == "train" or not any(reports):
        notes.append(
            "No baselines from training reports: they need a train split with reports beside this one."
        )
    else:
        train = train.select(place for place, text in enumerate(reports) if text)
        reports = [text for text in reports if text]
        texts["most_frequent"] = [most_frequent(reports)] * len(records)
        texts["random_train"] = random_train(reports, len(records), recipe.seed)
        if generator.sees_images:
            texts["nearest_neighbour"] = nearest_neighbour(
                _features(generator, recipe, train, "features of train", progress),
                reports,
                _features(generator, recipe, dataset.split(split), f"features of {split}", progress),
            )
        else:
            notes.append("No nearest neighbour: this generator looks at no image.")
    if len(records) < 2:
        notes.append("No shuffled images: a single study has no other study.")
    else:
        partners = other_studies([_truth_key(record) for record in records], recipe.seed)
        texts["shuffled_images"] = [records[partner]["hypothesis"] for partner in partners]
    return texts, notes


def _truth_key(record: Record) -> Hashable:
    return json.dumps(record["truth"]) if record["truth"] is not None else record["reference"]


def _features(
    generator: Generator, recipe: Recipe, studies: Sequence[Study], step: str, progress: Progress
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
            progress(step, done, len(studies))
    return np.concatenate(rows)


def _files_in(path: Path) -> list[Path]:
    """`path`, or all files below it by name; UserError for a folder without files."""
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.rglob("*") if file.is_file())
    if not files:
        raise UserError(f"The folder {path} holds no file; name image files or a folder of them.")
    return files


def _readable(
    reader: IsolatedReader, files: Sequence[Path], before: int, result: FileDrafts
) -> Iterator[Study]:
    """The files as studies of one view; those that cannot be read go to ``result.exclusions``."""
    for position, file in enumerate(files, start=before + 1):
        try:
            image = reader.inspect(file)
        except UserError as error:
            result.exclusions.add(str(file), "unreadable image", str(error))
            continue
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        study_id = f"input-{position}-{digest[:8]}"
        result.paths[study_id] = file
        if image.warnings:
            result.warnings[study_id] = image.warnings
        view = replace(image.view, projection=image.view.projection or "frontal")
        yield Study(study_id, study_id, (view,))


def _fingerprint(
    generator: Generator, recipe: Recipe, dataset: PreparedDataset, split: str, evidence: EvidenceKind | None
) -> str:
    """SHA-256 over all that decides what the lines are: weights, banks, recipe, dataset, split, evidence."""
    banks = [bank.sha256 for bank in generator.banks()]
    facts = [weights_sha256(generator), recipe.dump(), dataset.sha256, split, evidence, banks]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _device(generator: Generator) -> torch.device:
    return next(chain(generator.parameters(), generator.buffers())).device


def _no_progress(step: str, done: int, total: int) -> None:
    """Nobody watches."""

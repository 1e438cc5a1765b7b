"""A bank from the train split of a dataset: the pooled features of every study, batch by batch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cxreport.data.batch import Batch, loader
from cxreport.data.shards import write_json
from cxreport.data.store import PreparedDataset
from cxreport.data.subsets import train_part
from cxreport.data.text import target_text
from cxreport.errors import UserError
from cxreport.memories.bank import NAME, Bank, Entry, Origin
from cxreport.memories.leaks import picture_hashes
from cxreport.options import DataOptions
from cxreport.study import Study

Features = Callable[[Batch], Tensor]
"""Pooled features (B, D) of a batch."""
Progress = Callable[[str, int, int], None]
_PART, _PART_FACTS = "vectors.part", "vectors.part.json"


def make_bank(
    dataset: PreparedDataset,
    features: Features,
    encoder: Mapping[str, str],
    data: DataOptions,
    out: Path,
    *,
    split: str = "train",
    batch_size: int = 32,
    progress: Progress | None = None,
) -> Bank:
    """Write the bank of `dataset` into the folder `out`, one entry a study of the train split.

    `features` makes the vectors, with the weights that `encoder` names by their ``sha256``; `data` says what
    images and which text an entry has. Finished vectors are kept in `out`, and the same call goes on from
    there after an interruption.

    Raises UserError for another split than train, a folder `out` that holds something else, and what cannot
    be read or written.
    """
    if split != "train":
        raise UserError(f"A bank is made from the train split only, not from {split}.")
    dataset.need_images()
    studies = train_part(dataset, data)
    origin = origin_of(dataset, encoder, data, "cxreport bank make")
    if (out / f"{NAME}.json").is_file():
        raise UserError(f"There is a bank in {out} already; choose another --out.")
    part = _Part(
        out,
        {"dataset": dataset.sha256, "encoder": dict(encoder), "data": data.model_dump_json()},
        batch_size,
    )
    for vectors in study_vectors(studies, features, data, batch_size, part.rows, progress):
        part.append(vectors)
    entries = study_entries(studies, [target_text(report, data) for report in studies.reports], progress)
    bank = Bank(part.vectors(len(studies)), entries, origin)
    bank.save(out)
    part.remove()
    return bank


def origin_of(dataset: PreparedDataset, encoder: Mapping[str, str], data: DataOptions, made: str) -> Origin:
    """What a bank of the train split of `dataset` is made from."""
    facts = {name: str(dataset.info[name]) for name in ("source", "source_version")}
    return Origin(facts | {"sha256": dataset.sha256}, dict(encoder), data, made)


def free_folder(out: Path) -> None:
    """UserError unless `out` is absent or empty."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is not empty; choose another --out.")


def study_vectors(
    studies: Sequence[Study],
    features: Features,
    data: DataOptions,
    batch_size: int = 32,
    skip: int = 0,
    progress: Progress | None = None,
) -> Iterator[Tensor]:
    """Pooled features (B, D) of the studies after the first `skip`, without augmentation and gradients."""
    left = studies[skip:]
    if not len(left):
        return
    done = skip
    for batch in loader(left, data, batch_size=batch_size, train=False, seed=0):
        with torch.no_grad():
            yield features(batch).float().cpu()
        done += len(batch)
        if progress is not None:
            progress("vectors", done, len(studies))


def study_entries(
    studies: Sequence[Study], texts: Sequence[str], progress: Progress | None = None
) -> list[Entry]:
    """An entry of kind ``study`` for each of `studies`, with the hashes of its views."""
    kept: list[tuple[str, str, dict[str, int]]] = []

    def watched() -> Iterator[Study]:
        for place in range(len(studies)):
            study = studies[place]
            kept.append((study.study_id, study.patient_id, study.labels))
            yield study

    pictures = picture_hashes(watched(), len(studies), progress)
    return [
        Entry(study_id, patient_id, text=text, labels=labels, pictures=hashes)
        for (study_id, patient_id, labels), text, hashes in zip(kept, texts, pictures, strict=True)
    ]


class _Part:
    """Finished vectors in a file of raw numbers, beside a file that says of what.

    ``rows`` of them are taken up again, whole batches: those that follow are what they would have been.
    """

    def __init__(self, folder: Path, facts: Mapping[str, object], batch_size: int) -> None:
        self._folder = folder
        self._batch_size = batch_size
        self._file, self._description = folder / _PART, folder / _PART_FACTS
        self._facts = dict(facts)
        self._width = 0
        self.rows = 0
        if folder.is_dir() and any(folder.iterdir()):
            self._resume()

    def _resume(self) -> None:
        told = {}
        with suppress(OSError, ValueError):
            told = json.loads(self._description.read_text(encoding="utf-8"))
        if told.get("facts") != self._facts or not self._file.is_file():
            raise UserError(
                f"{self._folder} is not empty and is not the begun bank of this dataset and encoder; choose"
                " another --out."
            )
        self._width = told["width"]
        whole = self._file.stat().st_size // (4 * self._width)
        self.rows = whole - whole % self._batch_size

    def append(self, vectors: Tensor) -> None:
        """Keep (B, D) more."""
        if not self._width:
            self._width = vectors.shape[1]
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._file.touch()
                write_json(self._description, {"facts": self._facts, "width": self._width})
            except OSError as error:
                raise UserError(f"Cannot write the bank to {self._folder}: {error.strerror}.") from None
        with self._file.open("r+b") as file:
            file.seek(4 * self._width * self.rows)
            file.write(np.ascontiguousarray(vectors.numpy(), dtype="<f4").tobytes())
        self.rows += len(vectors)

    def vectors(self, count: int) -> Tensor:
        """All of them (N, D); UserError when there are not `count`."""
        if not self.rows:
            raise UserError("The train split is empty; there is nothing to make a bank of.")
        kept = torch.from_numpy(np.fromfile(self._file, dtype="<f4").copy())[: count * self._width]
        return kept.view(count, self._width)

    def remove(self) -> None:
        """The bank is written; what was kept on the way is not needed."""
        self._file.unlink(missing_ok=True)
        self._description.unlink(missing_ok=True)

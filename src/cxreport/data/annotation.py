"""Annotation files in R2Gen's form: one JSON with the lists ``train``, ``val`` and ``test``.

IU X-ray, R2Gen's MIMIC-CXR, the re-split of CXPMRG-Bench, AM-MRG's file with labels and the Chinese sets
all use it. A record has ``id``, ``report``, ``image_path`` (a list) and, it may be, ``split``, ``label``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cxreport.data.exclusions import Exclusions
from cxreport.data.tables import read_json
from cxreport.errors import UserError
from cxreport.study import LABELS, Split

_SPLITS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validate": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}


class Sample(NamedTuple):
    """A record of an annotation file; ``fields`` is all that it holds."""

    study_id: str
    split: Split | None
    images: tuple[str, ...]
    fields: Mapping[str, Any]


def split_named(word: str) -> Split | None:
    """The split that a word of a release names (``valid``, ``validate``); None where it names none."""
    return _SPLITS.get(word.strip().lower())


def read_annotation(path: Path, left_out: Exclusions, warnings: list[str]) -> Iterator[Sample]:
    """The records of an annotation file in its order.

    Odd copies are taken: a blank key stands for the one split that is missing, and a bare list gives
    records that name their split themselves. A record that is none is counted in `left_out`.
    """
    tree = read_json(path)
    lists = {"": tree} if isinstance(tree, list) else tree
    if not isinstance(lists, dict) or not all(isinstance(records, list) for records in lists.values()):
        raise UserError(f'{path} is not an annotation file: it needs the lists "train", "val" and "test".')
    split_of = {key: split_named(key) for key in lists}
    blank = [key for key in lists if not key.strip()]
    absent = [split for split in ("train", "val", "test") if split not in split_of.values()]
    if isinstance(tree, dict) and len(blank) == len(absent) == 1:
        split_of[blank[0]] = split_named(absent[0])
        warnings.append(
            f"{path.name} names its {absent[0]} split with a blank key; it was taken as {absent[0]}."
        )
    unknown = [key for key in lists if split_of[key] is None and isinstance(tree, dict)]
    if unknown:
        raise UserError(f'{path} has the list {unknown[0]!r}; it may have "train", "val" and "test".')
    return _samples(path.name, lists, split_of, left_out)


def annotated_labels(fields: Mapping[str, Any]) -> dict[str, int]:
    """The 14 numbers of AM-MRG's ``label`` as labels; empty where there are none."""
    numbers = fields.get("label")
    if not isinstance(numbers, list) or len(numbers) != len(LABELS):
        return {}
    return {name: int(number) for name, number in zip(LABELS, numbers, strict=True) if number in (-1, 0, 1)}


def _samples(
    file: str, lists: Mapping[str, list[Any]], split_of: Mapping[str, Split | None], left_out: Exclusions
) -> Iterator[Sample]:
    for key, records in lists.items():
        for place, record in enumerate(records, start=1):
            where = f"record {place} of {split_of[key] or file}"
            if not isinstance(record, dict) or not isinstance(record.get("id"), str | int):
                left_out.add(where, "not a record with an id")
                continue
            images = record.get("image_path")
            images = [images] if isinstance(images, str) else images
            if not isinstance(images, list) or not all(isinstance(name, str) for name in images):
                left_out.add(str(record["id"]), "no list of image paths")
                continue
            split = split_of[key] or split_named(str(record.get("split", "")))
            yield Sample(str(record["id"]), split, tuple(images), record)

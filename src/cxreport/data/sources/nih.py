"""NIH ChestX-ray14: images with text-mined labels, and boxes that radiologists drew for some of them."""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cxreport.data.exclusions import Exclusions
from cxreport.data.files import first_file, inside_or_count, needed_file, release_folder
from cxreport.data.labels import NIH_WORDS, nih_labels
from cxreport.data.projection import projection_of
from cxreport.data.sources import ImageFile, Release, StudyRecord
from cxreport.data.splits import by_patient
from cxreport.data.tables import read_csv, read_text
from cxreport.study import Box, Finding, Split

VERSION = "1"
TABLES = ("Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv")
BOXES = "BBox_List_2017.csv"
LISTS = ("train_val_list.txt", "test_list.txt")
SMALL_TABLE = "labels.csv"
VAL_SHARE, VAL_SEED = 0.1, 9223

_GET = "download ChestX-ray14 from the NIH and put its tables, its lists and the folders of its images there"
_SIDE = 1024
"""Boxes are in pixels of images of this side, whatever side the images have now."""
_OLDEST = 120
_LARGEST_LIST = 16 << 20

_COLUMNS = (
    "Image Index",
    "Finding Labels",
    "Patient ID",
    "Patient Age",
    "Patient Gender",
    "View Position",
)
_SMALL_COLUMNS = ("image", "labels", "patient_id", "age", "sex", "view")

_Boxes = Mapping[str, list[tuple[str, Box]]]


class _Row(NamedTuple):
    """An image of either table; ``words`` are labels joined by bars."""

    where: str
    image: str
    words: str
    patient: str
    age: str
    sex: str
    view: str


def nih(root: Path) -> Release:
    """The images of ``Data_Entry_2017.csv``, a study each, without reports.

    Images lie in ``images`` or in ``images_001/images`` to ``images_012/images``. The official lists name
    train-and-val and test; a tenth of the patients of the first becomes val. Findings have ChestX-ray14's
    own words as kinds, and a box in the frontal view where one was drawn. A folder with ``labels.csv``
    (image, labels, patient_id, age, sex, view, boxes_1024) in place of the table is taken too.
    """
    left_out, warnings = Exclusions(), list[str]()
    small = None if first_file(release_folder(root), *TABLES) else first_file(root, SMALL_TABLE)
    table = small or needed_file(root, *TABLES, get=_GET)
    splits: dict[str, Split] = {}
    if small is not None:
        boxes = _small_boxes(small, left_out)
    else:
        boxes = _boxes(root, left_out, warnings)
        splits = _splits(root, {row.image: row.patient for row in _rows(table, Exclusions())}, warnings)
    options = {
        "table": table.name,
        "labels": "text-mined by the NIH",
        "official_split": f"{LISTS[0]} and {LISTS[1]}" if splits else None,
        "val": f"{VAL_SHARE:g} of the patients of {LISTS[0]}, seed {VAL_SEED}" if splits else None,
    }
    records = _records(root, table, splits, boxes, left_out, warnings)
    return Release("nih", VERSION, records, options, left_out, warnings)


def _rows(table: Path, left_out: Exclusions) -> Iterator[_Row]:
    columns = _SMALL_COLUMNS if table.name == SMALL_TABLE else _COLUMNS
    for name, row in read_csv(table, columns, left_out):
        yield _Row(name, *(row[column] for column in columns))


def _records(
    root: Path,
    table: Path,
    splits: Mapping[str, Split],
    boxes: _Boxes,
    left_out: Exclusions,
    warnings: list[str],
) -> Iterator[StudyRecord]:
    folders = _folders(root)
    odd_ages = 0
    for row in _rows(table, left_out):
        if not row.image or not row.patient:
            left_out.add(row.image or row.where, "no patient id" if row.image else "no image name")
            continue
        words = [word.strip() for word in row.words.split("|") if word.strip()]
        unknown = [word for word in words if word not in NIH_WORDS and word != "No Finding"]
        if unknown or not words:
            left_out.add(row.image, "unknown label" if unknown else "no label")
            continue
        path = inside_or_count(folders.get(row.image, root / "images"), row.image, left_out)
        if path is None:
            continue
        age = _age(row.age)
        odd_ages += age is None
        yield StudyRecord(
            study_id=Path(row.image).stem,
            patient_id=row.patient,
            images=(ImageFile(path, row.image, projection_of(row.view) or "frontal"),),
            split=splits.get(row.image),
            labels=nih_labels(words),
            findings=_findings(words, boxes.get(row.image, ())),
            metadata={"age": age, "sex": row.sex, "view": row.view},
        )
    if odd_ages:
        warnings.append(f"{odd_ages} images have no age between 0 and {_OLDEST}; it was left out.")


def _findings(words: Iterable[str], boxes: Iterable[tuple[str, Box]]) -> tuple[Finding, ...]:
    """A finding for every word, or one for every box of it; none for ``No Finding``."""
    boxed = [Finding(word, boxes={"frontal": box}) for word, box in boxes]
    seen = {finding.kind for finding in boxed} | {"No Finding"}
    return (*boxed, *(Finding(word) for word in words if word not in seen))


def _age(text: str) -> int | None:
    """Years; older tables write ``058Y``, and a few ages are beyond any life."""
    digits = text.strip().upper().removesuffix("Y")
    age = int(digits) if re.fullmatch(r"[0-9]{1,3}", digits) else _OLDEST + 1
    return age if age <= _OLDEST else None


def _folders(root: Path) -> dict[str, Path]:
    """The folder of every image outside of ``images``: that of its part of the release."""
    parts = sorted(part for part in root.glob("images_[0-9][0-9][0-9]") if part.is_dir())
    inner = [part / "images" if (part / "images").is_dir() else part for part in parts]
    return {entry.name: folder for folder in inner for entry in os.scandir(folder)}


def _splits(root: Path, patients: Mapping[str, str], warnings: list[str]) -> dict[str, Split]:
    lists = [first_file(root, name) for name in LISTS]
    if None in lists:
        warnings.append(f"{' or '.join(LISTS)} is absent, so there is no official split.")
        return {}
    train_val, test = (
        set(read_text(path, _LARGEST_LIST).split()) & patients.keys() for path in lists if path is not None
    )
    splits = by_patient(
        {image: patients[image] for image in sorted(train_val)}, VAL_SEED, (1 - VAL_SHARE, VAL_SHARE, 0)
    )
    return {**splits, **dict.fromkeys(test, "test")}


def _boxes(root: Path, left_out: Exclusions, warnings: list[str]) -> _Boxes:
    """The boxes of ``BBox_List_2017.csv``, whose header is ``Bbox [x,y,w,h],,,``."""
    table = first_file(root, BOXES)
    if table is None:
        warnings.append(f"There is no {BOXES}, so no finding has a box.")
        return {}
    boxes: dict[str, list[tuple[str, Box]]] = defaultdict(list)
    columns = ("Image Index", "Finding Label", "Bbox [x", "y", "w", "h]")
    for name, row in read_csv(table, columns, left_out):
        image, word, *numbers = (row[column] for column in columns)
        _add_box(boxes[image], word, numbers, f"{name} of {BOXES}", left_out)
    return boxes


def _small_boxes(table: Path, left_out: Exclusions) -> _Boxes:
    """The boxes of the column ``boxes_1024``: JSON such as ``[["Pneumonia", x, y, width, height]]``."""
    boxes: dict[str, list[tuple[str, Box]]] = defaultdict(list)
    for name, row in read_csv(table, ("image",), Exclusions(), optional=("boxes_1024",)):
        try:
            entries = json.loads(row["boxes_1024"] or "[]")
            entries = [(str(word), numbers) for word, *numbers in entries]
        except (TypeError, ValueError, RecursionError):
            left_out.add(f"{row['image']} ({name})", "unreadable box")
            continue
        for word, numbers in entries:
            _add_box(boxes[row["image"]], word, numbers, row["image"], left_out)
    return boxes


def _add_box(
    boxes: list[tuple[str, Box]], word: str, numbers: Iterable[Any], where: str, left_out: Exclusions
) -> None:
    """Add a box as fractions of the image, cut at its edges; the box table says Infiltrate."""
    try:
        x, y, width, height = (float(number) / _SIDE for number in numbers)
    except (TypeError, ValueError):
        left_out.add(where, "unreadable box")
        return
    left, top, right, bottom = (min(max(edge, 0.0), 1.0) for edge in (x, y, x + width, y + height))
    if not (left < right and top < bottom):
        left_out.add(where, "box outside of the image")
        return
    boxes.append((word.replace("Infiltrate", "Infiltration"), (left, top, right, bottom)))

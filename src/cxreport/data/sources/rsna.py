"""RSNA Pneumonia Detection Challenge: DICOM images with boxes, and the list files of HD-MAE's benchmark."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cxreport.data.exclusions import Exclusions
from cxreport.data.files import first_file, inside, needed_file, release_folder
from cxreport.data.sources import ImageFile, Release, StudyRecord
from cxreport.data.tables import read_csv, read_json, read_text
from cxreport.errors import UserError
from cxreport.study import Box, Finding, Split

VERSION = "1"
BOXES = "stage_2_train_labels.csv"
CLASSES = "stage_2_detailed_class_info.csv"
IMAGES = "stage_2_train_images"
MAPPING = "pneumonia-challenge-dataset-mappings_2018.json"
Share = Literal[1, 10, 100]
SHARES: dict[str, Share] = {"1": 1, "10": 10, "100": 100}
TRAIN_LISTS: dict[int, tuple[str, ...]] = {
    1: ("train_1.txt",),
    10: ("train_10.txt",),
    100: ("train_list.txt", "train.txt"),
}
VAL_LISTS = ("val_list.txt", "val.txt")
TEST_LISTS = ("test_list.txt", "test.txt")

_GET = "download the RSNA Pneumonia Detection Challenge from Kaggle and unpack its tables and folders there"
_SIDE = 1024
_KIND = "Lung Opacity"
_LARGEST_LIST = 16 << 20


@dataclass(slots=True)
class _Case:
    """The rows of one image: ``target`` is 1 where a radiologist suspected a pneumonia."""

    target: str
    boxes: list[Box] = field(default_factory=list)
    kind: str = ""


def rsna(root: Path, *, lists: Path | None = None, share: Share = 100) -> Release:
    """The images of ``stage_2_train_labels.csv``, a study each, without reports.

    ``Target`` becomes the label Pneumonia; every box is a finding ``Lung Opacity`` of the frontal view. An
    image of the class Normal is known to have none, and one that is neither has unknown findings. Patients
    are those of ChestX-ray14, from which the images were taken, where the mapping file lies in `root`; else
    every image is a patient of its own.

    Args:
        lists: folder with HD-MAE's list files (``stage_2_train_images/ID.dcm 1`` a line), which become the
            official split; images in none have no split.
        share: percent of the train list to use: ``train_1.txt``, ``train_10.txt``, or all.
    """
    left_out, warnings = Exclusions(), list[str]()
    cases = _cases(needed_file(release_folder(root), BOXES, get=_GET), left_out)
    table = first_file(root, CLASSES)
    if table is None:
        warnings.append(f"There is no {CLASSES}, so no image is known to be normal.")
    else:
        for _, row in read_csv(table, ("patientId", "class"), left_out):
            if row["patientId"] in cases:
                cases[row["patientId"]].kind = row["class"]
    patients = _patients(root, warnings)
    splits = _splits(lists, share, left_out) if lists is not None else {}
    options = {"lists": "HD-MAE" if lists else None, "train_share_percent": share if lists else None}
    records = _records(root, cases, patients, splits, left_out)
    return Release("rsna", VERSION, records, options, left_out, warnings)


def _cases(table: Path, left_out: Exclusions) -> dict[str, _Case]:
    cases: dict[str, _Case] = {}
    columns = ("patientId", "x", "y", "width", "height", "Target")
    for name, row in read_csv(table, columns, left_out):
        if not row["patientId"] or row["Target"] not in ("0", "1"):
            left_out.add(row["patientId"] or name, "no target" if row["patientId"] else "no image id")
            continue
        case = cases.setdefault(row["patientId"], _Case(row["Target"]))
        if case.target != row["Target"]:
            case.target = ""
        if row["Target"] == "1":
            box = _box(*(row[column] for column in columns[1:5]))
            if box is None:
                left_out.add(f"{row['patientId']} ({name})", "unreadable box")
            else:
                case.boxes.append(box)
    return cases


def _box(*numbers: str) -> Box | None:
    try:
        x, y, width, height = (float(number) / _SIDE for number in numbers)
    except ValueError:
        return None
    box = (max(x, 0.0), max(y, 0.0), min(x + width, 1.0), min(y + height, 1.0))
    return box if box[0] < box[2] and box[1] < box[3] else None


def _records(
    root: Path,
    cases: dict[str, _Case],
    patients: dict[str, str],
    splits: dict[str, Split],
    left_out: Exclusions,
) -> Iterator[StudyRecord]:
    for name, case in cases.items():
        path = inside(root / IMAGES, f"{name}.dcm")
        if path is None or not case.target:
            left_out.add(name, "rows disagree on the target" if path else "image path leaves the folder")
            continue
        findings = tuple(Finding(_KIND, boxes={"frontal": box}) for box in case.boxes)
        labels = {"Pneumonia": int(case.target)}
        if case.kind:
            labels |= {"No Finding": int(case.kind == "Normal")}
        yield StudyRecord(
            name,
            patients.get(name, name),
            (ImageFile(path, path.name, "frontal"),),
            split=splits.get(name),
            labels=labels,
            findings=findings if findings or case.kind == "Normal" else None,
            metadata={"class": case.kind},
        )


def _patients(root: Path, warnings: list[str]) -> dict[str, str]:
    """Image id to the patient of ChestX-ray14, the start of its image name."""
    table = first_file(root, MAPPING)
    if table is None:
        warnings.append(
            f"There is no {MAPPING}, so every image counts as a patient of its own, "
            "though some patients have several; a split by patient needs it."
        )
        return {}
    tree = read_json(table)
    if not isinstance(tree, list):
        raise UserError(f"{table} is not the mapping of the challenge: it holds no list.")
    pairs = [(entry.get("subset_img_id"), entry.get("img_id")) for entry in tree if isinstance(entry, dict)]
    return {str(image): str(name).partition("_")[0] for image, name in pairs if image and name}


def _splits(lists: Path, share: Share, left_out: Exclusions) -> dict[str, Split]:
    get = "put the list files of HD-MAE's RSNA benchmark there"
    splits: dict[str, Split] = {}
    files: tuple[tuple[Split, tuple[str, ...]], ...] = (
        ("train", TRAIN_LISTS[share]),
        ("val", VAL_LISTS),
        ("test", TEST_LISTS),
    )
    for split, names in files:
        path = needed_file(lists, *names, get=get)
        for number, line in enumerate(read_text(path, _LARGEST_LIST).splitlines(), start=1):
            if not line.strip():
                continue
            name = Path(line.split()[0]).stem
            if splits.setdefault(name, split) != split:
                left_out.add(f"{name} (line {number} of {path.name})", "image in two lists")
    return splits

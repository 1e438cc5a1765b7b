"""RSNA Pneumonia Detection Challenge: DICOM images, boxes, classes, patients; HD-MAE's lists."""

from __future__ import annotations

import json
from pathlib import Path

from releases import write_dicom, write_table

IDS = tuple(f"{place:08x}-0000-4000-8000-00000000{place:04x}" for place in range(1, 5))
ROWS = (
    (IDS[0], "", "", "", "", 0),
    (IDS[1], 256.0, 512.0, 128.0, 256.0, 1),
    (IDS[1], 900.0, 0.0, 200.0, 102.4, 1),
    (IDS[2], "", "", "", "", 0),
    (IDS[3], 10.0, 10.0, 100.0, 100.0, 1),
)
CLASSES = ("Normal", "Lung Opacity", "No Lung Opacity / Not Normal", "Lung Opacity")


def make(folder: Path, *, classes: bool = True, mapping: bool = True) -> None:
    """The first two images belong to one patient of ChestX-ray14."""
    write_table(
        folder / "stage_2_train_labels.csv", ("patientId", "x", "y", "width", "height", "Target"), ROWS
    )
    if classes:
        rows = [(IDS[1], CLASSES[1]), *zip(IDS, CLASSES, strict=True)]
        write_table(folder / "stage_2_detailed_class_info.csv", ("patientId", "class"), rows)
    if mapping:
        names = ("90000001_000.png", "90000001_003.png", "90000002_000.png", "90000003_000.png")
        tree = [{"subset_img_id": one, "img_id": name} for one, name in zip(IDS, names, strict=True)]
        (folder / "pneumonia-challenge-dataset-mappings_2018.json").write_text(json.dumps(tree))
    for seed, name in enumerate(IDS):
        write_dicom(folder / "stage_2_train_images" / f"{name}.dcm", seed, ViewPosition="AP")


def make_lists(folder: Path) -> None:
    """HD-MAE's files: path and target, a blank between."""
    folder.mkdir(parents=True, exist_ok=True)
    lists = {
        "train_list": IDS[:2],
        "train_10": IDS[:1],
        "train_1": IDS[:1],
        "val_list": IDS[2:3],
        "test_list": IDS[3:],
    }
    for name, ids in lists.items():
        lines = [f"stage_2_train_images/{one}.dcm {int(one in (IDS[1], IDS[3]))}\n" for one in ids]
        (folder / f"{name}.txt").write_text("".join(lines))

"""ChestX-ray14 in its official layout, boxes and lists included."""

from __future__ import annotations

from pathlib import Path

from releases import write_picture

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)
"""As it is: two brackets hold a comma, and a comma ends it."""
ROWS = (
    ("90000001_000.png", "Cardiomegaly|Effusion", 0, 90000001, "058", "M", "PA"),
    ("90000001_001.png", "No Finding", 1, 90000001, "59", "M", "AP"),
    ("90000002_000.png", "Infiltration|Nodule", 0, 90000002, "414", "F", "PA"),
    ("90000003_000.png", "Hernia", 0, 90000003, "70", "F", "PA"),
)
TRAIN_VAL, TEST = ("90000001_000.png", "90000001_001.png", "90000002_000.png"), ("90000003_000.png",)


def make(folder: Path, *, boxes: bool = True, lists: bool = True) -> None:
    """The images are in two of the twelve folders."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [",".join(map(str, (*row, 2682, 2749, 0.143, 0.143, ""))) for row in ROWS]
    (folder / "Data_Entry_2017.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    for place, row in enumerate(ROWS):
        write_picture(folder / f"images_{1 + place // 2:03}" / "images" / row[0], place)
    if boxes:
        table = (
            "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
            "90000001_000.png,Effusion,256.0,512.0,128.0,256.0,,,\n"
            "90000002_000.png,Infiltrate,900.0,0.0,200.0,102.4,,,\n"
        )
        (folder / "BBox_List_2017.csv").write_text(table)
    if lists:
        (folder / "train_val_list.txt").write_text("\n".join(TRAIN_VAL))
        (folder / "test_list.txt").write_text("\r\n".join(TEST) + "\r\n")

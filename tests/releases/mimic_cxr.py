"""MIMIC-CXR-JPG with the reports of MIMIC-CXR, or ``mimic_cxr_sectioned.csv``, or R2Gen's annotation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from releases import write_picture, write_table

LABELS = (
    "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Enlarged Cardiomediastinum", "Fracture",
    "Lung Lesion", "Lung Opacity", "No Finding", "Pleural Effusion", "Pleural Other", "Pneumonia",
    "Pneumothorax", "Support Devices",
)  # fmt: skip
"""In the order of the official tables."""

BOTH = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)
 
 INDICATION:  ___-year-old with cough.  // pneumonia?
 
 COMPARISON:  ___.
 
 FINDINGS: 
 
 The lungs are clear.  A nodule of 1.5 cm
 is on the left.
 
 IMPRESSION: 
 
 No pneumonia.
"""
REPEATED = """                                 FINAL REPORT
 PORTABLE CHEST:
 
 FINDINGS:  First reading.
 
 REASON FOR EXAM:  Fever.
 
 FINDINGS:  Second reading, moderate edema.
 
"""
PARAGRAPH = """                                 FINAL REPORT
 HISTORY:  Fall.
 
 COMPARISON:  None.
 
 As compared to the radiograph of ___, the right lung is clear.
 
"""

STUDIES: dict[int, tuple[int, str, str | None]] = {
    90000001: (19000001, "train", BOTH),
    90000002: (19000001, "train", REPEATED),
    90000003: (19000002, "validate", PARAGRAPH),
    90000004: (19000003, "test", BOTH.replace("1.5", "2.5")),
    90000005: (19000004, "test", None),
    50798377: (19000005, "train", BOTH),
}
"""Study to subject, split and report; the last has the number of a study with a rule by hand."""
IMAGES = {
    90000001: (("aaaaaaaa-00000001", "PA"), ("aaaaaaaa-00000002", "LATERAL")),
    90000002: (("bbbbbbbb-00000001", "AP"),),
    90000003: (("cccccccc-00000001", ""),),
    90000004: (("dddddddd-00000001", "LL"), ("dddddddd-00000002", "PA"), ("dddddddd-00000003", "AP")),
    90000005: (("eeeeeeee-00000001", "PA"),),
    50798377: (("ffffffff-00000001", "PA"),),
}


def path_of(subject: int, study: int) -> str:
    """``p19/p19000001/s90000001``."""
    return f"p{subject // 1_000_000}/p{subject}/s{study}"


def make(
    folder: Path, *, reports: Literal["files", "sectioned", "none"] = "files", packed: bool = True
) -> None:
    """`packed` tables are ``.csv.gz``, as they come."""
    suffix = ".csv.gz" if packed else ".csv"
    rows = [
        (dicom, study, *STUDIES[study][:2], view)
        for study, images in IMAGES.items()
        for dicom, view in images
    ]
    write_table(
        folder / f"mimic-cxr-2.0.0-split{suffix}",
        ("dicom_id", "study_id", "subject_id", "split"),
        [row[:4] for row in rows],
    )
    columns = (
        "dicom_id", "subject_id", "study_id", "PerformedProcedureStepDescription", "ViewPosition", "Rows",
        "Columns", "StudyDate", "StudyTime", "ProcedureCodeSequence_CodeMeaning",
        "ViewCodeSequence_CodeMeaning", "PatientOrientationCodeSequence_CodeMeaning",
    )  # fmt: skip
    write_table(
        folder / f"mimic-cxr-2.0.0-metadata{suffix}",
        columns,
        [
            (d, p, s, "CHEST", view, 48, 40, 21800506, "213014.531", "CHEST", view, "Erect")
            for d, s, p, _, view in rows
        ],
    )
    for kind in ("chexpert", "negbio"):
        cells = {90000001: {"Lung Lesion": "1.0", "Pneumonia": "0.0"}, 90000002: {"Edema": "-1.0"}}
        if kind == "negbio":
            cells = {90000001: {"Pneumonia": "-1.0"}}
        write_table(
            folder / f"mimic-cxr-2.0.0-{kind}{suffix}",
            ("subject_id", "study_id", *LABELS),
            [
                (STUDIES[study][0], study, *(row.get(name, "") for name in LABELS))
                for study, row in cells.items()
            ],
        )
    for seed, (dicom, study, subject, *_) in enumerate(rows):
        write_picture(folder / "files" / path_of(subject, study) / f"{dicom}.jpg", seed)
    if reports == "files":
        for study, (subject, _, text) in STUDIES.items():
            if text is not None:
                (folder / "files" / f"{path_of(subject, study)}.txt").write_text(text)
    elif reports == "sectioned":
        header = ("study", "impression", "findings", "last_paragraph", "comparison")
        table = [
            ("s90000001", "No pneumonia.", "The lungs are clear.\n A nodule of 1.5 cm", "", "___."),
            ("s90000003", "", "", "The right lung is clear.", "None."),
            ("s90000009", "No images.", "", "", ""),
        ]
        write_table(folder / "mimic_cxr_sectioned.csv", header, table)


def make_annotation(folder: Path) -> Path:
    """R2Gen's annotation: a record an image; its images lie under ``images``."""
    tree: dict[str, list[object]] = {"train": [], "val": [], "test": []}
    for seed, (study, images) in enumerate(IMAGES.items()):
        subject, split, _ = STUDIES[study]
        for dicom, _ in images:
            path = f"{path_of(subject, study)}/{dicom}.jpg"
            record = {"id": dicom, "study_id": study, "subject_id": subject, "report": f"Findings {study}."}
            split = {"validate": "val"}.get(split, split)
            tree[split].append({**record, "image_path": [path], "split": split})
            write_picture(folder / "images" / path, seed)
    (folder / "annotation.json").write_text(json.dumps(tree))
    return folder / "annotation.json"

"""covid-chestxray-dataset: ``metadata.csv`` with all its columns and the folders images and volumes."""

from __future__ import annotations

from pathlib import Path

from releases import write_picture, write_table

COLUMNS = (
    "patientid", "offset", "sex", "age", "finding", "RT_PCR_positive", "survival", "intubated",
    "intubation_present", "went_icu", "in_icu", "needed_supplemental_O2", "extubated", "temperature",
    "pO2_saturation", "leukocyte_count", "neutrophil_count", "lymphocyte_count", "view", "modality", "date",
    "location", "folder", "filename", "doi", "url", "license", "clinical_notes", "other_notes", "",
)  # fmt: skip
COVID = "Pneumonia/Viral/COVID-19"
SHARED = "Four radiographs of one patient (a-d)."
ROWS = (
    ("1", "0", COVID, "PA", "X-ray", "January 22, 2020", "images", "a-PA.jpg", "Both lungs."),
    ("1", "0", COVID, "L", "X-ray", "January 22, 2020", "images", "a-L.jpg", "Both lungs."),
    ("2", "3", COVID, "AP Supine", "X-ray", "2020", "images", "b1.jpg", SHARED),
    ("2", "3", COVID, "AP Supine", "X-ray", "2020", "images", "b2.jpg", SHARED),
    ("3", "9", "No Finding", "PA", "X-ray", "2020", "images", "c.jpg", SHARED),
    ("4", "0", "Tuberculosis", "Axial", "CT", "2020", "volumes", "ct.nii.gz", "A slice."),
    ("5", "", "todo", "PA", "X-ray", "", "images", "b1.jpg", "Twice in the table."),
    ("5", "7", "todo", "PA", "X-ray", "", "images", "e.jpg", "Its patient has b1.jpg too."),
    ("6", "", "todo", "PA", "X-ray", "", "images", "d.jpg", ""),
)  # fmt: skip


def make(folder: Path) -> None:
    """The last column has no name."""
    names = (
        "patientid",
        "offset",
        "finding",
        "view",
        "modality",
        "date",
        "folder",
        "filename",
        "clinical_notes",
    )
    rows = [dict(zip(names, row, strict=True)) | {"license": "CC BY 4.0"} for row in ROWS]
    write_table(folder / "metadata.csv", COLUMNS, [[row.get(name, "") for name in COLUMNS] for row in rows])
    for seed, name in enumerate(dict.fromkeys(row[7] for row in ROWS if row[4] == "X-ray")):
        write_picture(folder / "images" / name, seed)

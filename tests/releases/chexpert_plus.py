"""CheXpert Plus: the table of 27 columns, the folder PNG, the CheXbert labels; CXPMRG-Bench's re-split."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from releases import write_picture, write_table

COLUMNS = (
    "path_to_image", "path_to_dcm", "frontal_lateral", "ap_pa", "deid_patient_id",
    "patient_report_date_order", "report", "section_narrative", "section_clinical_history",
    "section_history", "section_comparison", "section_technique", "section_procedure_comments",
    "section_findings", "section_impression", "section_end_of_impression", "section_summary",
    "section_accession_number", "age", "sex", "race", "ethnicity", "interpreter_needed",
    "insurance_type", "recent_bmi", "deceased", "split",
)  # fmt: skip
LABELS = (
    "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema", "Consolidation",
    "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture",
    "Support Devices", "No Finding",
)  # fmt: skip

ROWS: list[dict[str, str]] = [
    {
        "path_to_image": f"{split}/{patient}/study{study}/view{view}_{side}.jpg",
        "path_to_dcm": f"{split}/{patient}/study{study}/view{view}_{side}.dcm",
        "frontal_lateral": side.capitalize(),
        "ap_pa": "AP" if side == "frontal" else "",
        "deid_patient_id": patient,
        "patient_report_date_order": str(order),
        "report": f"NARRATIVE: Chest.\nIMPRESSION: {impression}",
        "section_history": "45 years of age, cough.",
        "section_findings": findings,
        "section_impression": impression,
        "age": "45.0",
        "split": split,
    }
    for split, patient, study, order, view, side, findings, impression in (
        ("train", "patient90001", 1, 1, 1, "frontal", "Clear lungs, \nno edema.", "Normal."),
        ("train", "patient90002", 1, 1, 1, "frontal", "", "Left effusion of 1.5 cm."),
        ("train", "patient90001", 1, 1, 2, "lateral", "Clear lungs, \nno edema.", "Normal."),
        ("train", "patient90001", 2, 2, 1, "frontal", "Edema.", "Edema is new."),
        ("train", "patient90003", 1, 1, 1, "frontal", "", ""),
        ("valid", "patient90004", 1, 1, 1, "frontal", "Pacemaker.", "Devices."),
    )
]  # fmt: skip
"""The rows of patient90001's first study are apart, and its lateral comes second."""


def make(folder: Path, more: Sequence[dict[str, str]] = ()) -> None:
    """Images are PNG although the table says ``.jpg``; one has its JPEG only. `more` rows end the table."""
    write_table(
        folder / "df_chexpert_plus_240401.csv",
        COLUMNS,
        [[row.get(name, "") for name in COLUMNS] for row in [*ROWS, *more]],
    )
    for seed, row in enumerate(ROWS):
        path = folder / "PNG" / row["path_to_image"]
        write_picture(path if row["split"] == "valid" else path.with_suffix(".png"), seed)
    for text, value in (("report", 1), ("impression", -1), ("findings", 0)):
        lines = [
            {"path_to_image": row["path_to_image"], **dict.fromkeys(LABELS), "Edema": value}
            for row in ROWS[:4]
        ]
        target = folder / "chexbert_labels" / f"{text}_fixed.json"
        target.parent.mkdir(exist_ok=True)
        target.write_text("".join(json.dumps(line).replace("null", "NaN", 1) + "\n" for line in lines))


def make_annotation(folder: Path) -> Path:
    """A re-split by study that puts patient90001 into train and test."""
    tree: dict[str, list[object]] = {"train": [], "val": [], "test": []}
    for split, row in (("train", ROWS[0]), ("test", ROWS[3]), ("val", ROWS[5])):
        study = row["path_to_image"].rpartition("/")[0]
        record = {"id": study.replace("/", "_"), "report": row["section_findings"], "split": split}
        tree[split].append({**record, "image_path": [row["path_to_image"]]})
    (folder / "annotation.json").write_text(json.dumps(tree))
    return folder / "annotation.json"

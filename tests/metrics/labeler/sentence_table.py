"""Reads the tables of hand-written sentences with the statuses that they must get."""

from __future__ import annotations

from pathlib import Path

LABELS = {
    "EC": "Enlarged Cardiomediastinum",
    "CM": "Cardiomegaly",
    "LO": "Lung Opacity",
    "LL": "Lung Lesion",
    "ED": "Edema",
    "CO": "Consolidation",
    "PN": "Pneumonia",
    "AT": "Atelectasis",
    "PX": "Pneumothorax",
    "PE": "Pleural Effusion",
    "PO": "Pleural Other",
    "FX": "Fracture",
    "SD": "Support Devices",
    "NF": "No Finding",
}
STATUSES = {"+": "positive", "-": "negative", "?": "uncertain", "": "absent"}


def read_table(name: str) -> list[tuple[str, dict[str, str]]]:
    """Sentences and expected statuses; a label that is not listed is absent, No Finding unchecked."""
    rows = []
    for line in (Path(__file__).parent / name).read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        sentence, _, listed = line.rpartition("|")
        marks = {word[:2]: word[2:] for word in listed.split()}
        assert marks.keys() <= LABELS.keys(), line
        expected = {
            label: STATUSES[marks.get(mark, "")]
            for mark, label in LABELS.items()
            if mark != "NF" or "NF" in marks
        }
        rows.append((sentence.strip(), expected))
    return rows

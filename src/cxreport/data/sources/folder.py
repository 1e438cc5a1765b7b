"""A folder of images (PNG, JPEG or DICOM) with a CSV that names ids, patients, images and reports."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cxreport.data.exclusions import Exclusions
from cxreport.data.files import inside_or_count, release_folder
from cxreport.data.projection import projection_of
from cxreport.data.sources import ImageFile, Release, StudyRecord
from cxreport.data.tables import read_csv
from cxreport.data.text import clean
from cxreport.study import Report

VERSION = "1"
SECTION = "findings"
"""The section of a report that the report column becomes."""


@dataclass(slots=True)
class _Entry:
    """The rows of one study: image names with the word of their projection column."""

    patient: str
    report: str
    images: dict[str, str] = field(default_factory=dict)
    conflict: str = ""


def folder(
    root: Path,
    csv: Path,
    *,
    id_column: str,
    image_column: str,
    report_column: str,
    patient_column: str,
    projection_column: str | None = None,
) -> Release:
    """The studies of the CSV in its order, none with a split; the report becomes the section `SECTION`.

    Rows with the same id are views of one study and must agree on patient and report. What cannot be used
    is counted once in the exclusions of the release.

    Args:
        root: the folder; image paths of the CSV are relative to it and may not leave it.
        csv: UTF-8, with a header.
        projection_column: values such as PA, AP, L, lateral; else the DICOM header decides.

    Raises:
        UserError: for a missing folder, a bad CSV or a missing column.
    """
    root, csv = release_folder(Path(root)), Path(csv)
    left_out = Exclusions()
    columns = {"id": id_column, "image": image_column, "report": report_column, "patient": patient_column}
    asked = [*columns.values(), *([projection_column] if projection_column else [])]
    entries: dict[str, _Entry] = {}
    for name, fields in read_csv(csv, asked, left_out):
        study_id, image, report, patient = (fields[column] for column in columns.values())
        projection = fields[projection_column] if projection_column else ""
        _enter(entries, name, study_id, image, report, patient, projection, left_out)
    options = {"columns": {**columns, "projection": projection_column}, "report_section": SECTION}
    return Release("folder", VERSION, _records(root, entries, left_out), options, left_out)


def _records(root: Path, entries: dict[str, _Entry], left_out: Exclusions) -> Iterator[StudyRecord]:
    for study_id, entry in entries.items():
        reason = entry.conflict or ("" if clean(entry.report) else "empty report")
        if reason:
            left_out.add(study_id, reason)
            continue
        images: list[ImageFile] = []
        notes: list[str] = []
        outside = Exclusions()
        for name, word in entry.images.items():
            path = inside_or_count(root, name, outside)
            if path is None:
                continue
            projection = projection_of(word) if word else None
            if word and projection is None:
                notes.append(f"{name}: the projection {word!r} is not known")
            images.append(ImageFile(path, name, projection))
        if not images:
            left_out.add(study_id, "no readable image", " ".join(detail for _, _, detail in outside))
            continue
        left_out.items += outside.items
        yield StudyRecord(
            study_id,
            entry.patient,
            tuple(images),
            Report(**{SECTION: entry.report}),
            metadata={"warnings": notes} if notes else {},
        )


def _enter(
    entries: dict[str, _Entry],
    row: str,
    study_id: str,
    image: str,
    report: str,
    patient: str,
    projection: str,
    left_out: Exclusions,
) -> None:
    """Add one row to its study, or count why not."""
    for value, what in ((study_id, "study id"), (image, "image name"), (patient, "patient id")):
        if not value:
            left_out.add(study_id or row, f"no {what}")
            return
    entry = entries.setdefault(study_id, _Entry(patient, report))
    if image in entry.images:
        left_out.add(f"{study_id} ({row})", "duplicate row")
        return
    entry.images[image] = projection
    if entry.patient != patient:
        entry.conflict = "rows disagree on the patient"
    elif entry.report.split() != report.split():
        entry.conflict = entry.conflict or "rows disagree on the report"

"""A folder of images (PNG, JPEG or DICOM) with a CSV that names ids, patients, images and reports."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cxreport.data.exclusions import Exclusions
from cxreport.data.files import inside_or_count, release_folder
from cxreport.data.images import inspect
from cxreport.data.projection import projection_of
from cxreport.data.splits import SHARES, by_patient
from cxreport.data.tables import read_csv
from cxreport.data.text import clean
from cxreport.errors import UserError
from cxreport.study import Report, Split, Study, View

SECTION = "findings"
"""The section of a report that the report column becomes."""


@dataclass(slots=True)
class _Entry:
    """The rows of one study: image names with the word of their projection column."""

    patient: str
    report: str
    images: dict[str, str] = field(default_factory=dict)
    conflict: str = ""


def folder_studies(
    source: Path,
    csv: Path,
    *,
    id_column: str,
    image_column: str,
    report_column: str,
    patient_column: str,
    projection_column: str | None = None,
    shares: Sequence[float] = SHARES,
    seed: int = 0,
    max_side: int | None = None,
    patient_salt: str | None = None,
    exclusions: Exclusions | None = None,
    warnings: list[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Study]:
    """Studies of the CSV in its order, with the split set; the report becomes the section `SECTION`.

    Rows with the same id are views of one study and must agree on patient and report. What cannot be used
    is counted once in `exclusions` and the run goes on: a bad image, or the study that has no other. Split by
    patient; studies that share a report text stay on one side. Patient ids leave as salted SHA-256; the
    salt is random unless `patient_salt` fixes it, and is not kept. Study ids are taken as they are.

    Args:
        source: the folder; image paths of the CSV are relative to it and may not leave it.
        csv: UTF-8, with a header.
        projection_column: values such as PA, AP, L, lateral; else the DICOM header decides.
        shares: of train, val and test.
        max_side: shrink larger images to this many pixels.
        warnings: grows by what is suspicious about images that are taken; a study keeps its own in
            ``metadata["warnings"]``.
        progress: called with the images read so far and their total.

    Raises:
        UserError: at once for a missing folder, a bad CSV or a missing column; at the end of the iteration
            when no study was left.
    """
    source, csv = release_folder(Path(source)), Path(csv)
    left_out = exclusions if exclusions is not None else Exclusions()
    warned = warnings if warnings is not None else []
    columns = [id_column, image_column, report_column, patient_column]
    columns += [projection_column] if projection_column else []
    entries: dict[str, _Entry] = {}
    for name, fields in read_csv(csv, columns, left_out):
        study_id, image, report, patient = (fields[column] for column in columns[:4])
        projection = fields[projection_column] if projection_column else ""
        _enter(entries, name, study_id, image, report, patient, projection, left_out)
    kept = {}
    for study_id, entry in entries.items():
        reason = entry.conflict or ("" if clean(entry.report) else "empty report")
        if reason:
            left_out.add(study_id, reason)
        else:
            kept[study_id] = entry
    splits = by_patient(
        {study_id: entry.patient for study_id, entry in kept.items()},
        seed,
        shares,
        notes={study_id: entry.report for study_id, entry in kept.items()},
    )
    salt = secrets.token_hex(16) if patient_salt is None else patient_salt
    return _studies(source, csv, kept, splits, salt, max_side, left_out, warned, progress)


def _studies(
    source: Path,
    csv: Path,
    entries: dict[str, _Entry],
    splits: dict[str, Split],
    salt: str,
    max_side: int | None,
    left_out: Exclusions,
    warnings: list[str],
    progress: Callable[[int, int], None] | None,
) -> Iterator[Study]:
    total = sum(len(entry.images) for entry in entries.values())
    done = given = 0
    for study_id, entry in entries.items():
        views: list[View] = []
        notes: list[str] = []
        bad = Exclusions()
        for name, projection in entry.images.items():
            view = _view(source, name, projection, max_side, bad, notes)
            views += [view] if view is not None else []
            done += 1
            if progress is not None:
                progress(done, total)
        if not views:
            left_out.add(study_id, "no readable image", " ".join(detail for _, _, detail in bad))
            continue
        left_out.items += bad
        warnings += notes
        given += 1
        yield Study(
            study_id,
            hashlib.sha256(f"{salt}:{entry.patient}".encode()).hexdigest()[:16],
            tuple(views),
            Report(**{SECTION: entry.report}),
            splits[study_id],
            metadata={"warnings": notes} if notes else {},
        )
    if not given:
        raise UserError(f"No study of {csv} can be used: {left_out.summary()}.")


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


def _view(
    source: Path, name: str, projection: str, max_side: int | None, left_out: Exclusions, notes: list[str]
) -> View | None:
    """The view in `name`; None, counted, when it lies outside of `source` or cannot be read."""
    path = inside_or_count(source, name, left_out)
    if path is None:
        return None
    try:
        picture = inspect(path, max_side=max_side)
    except UserError as error:
        left_out.add(name, "unreadable image", str(error).replace(str(path), name))
        return None
    view = picture.view
    notes += [f"{name}: {warning}" for warning in picture.warnings]
    if projection:
        known = projection_of(projection)
        if known is None:
            notes.append(f"{name}: the projection {projection!r} is not known")
        else:
            view = View(view.image, view.width, view.height, known)
    return view

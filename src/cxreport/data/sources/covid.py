"""covid-chestxray-dataset: X-rays from publications, with clinical notes as free text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cxreport.data.exclusions import Exclusions
from cxreport.data.files import inside_or_count, needed_file, release_folder
from cxreport.data.projection import projection_of
from cxreport.data.sources import ImageFile, Release, StudyRecord
from cxreport.data.splits import Groups
from cxreport.data.tables import header_of, read_csv
from cxreport.study import Report

VERSION = "1"
TABLE = "metadata.csv"

_GET = "clone github.com/ieee8023/covid-chestxray-dataset, which holds it beside the folder images"
_KEPT = ("finding", "view", "age", "sex", "offset", "license")
"""Columns that a study keeps as metadata; date, hospital and publication stay behind."""


class _Image(NamedTuple):
    """A row: an X-ray of a patient."""

    name: str
    patient: str
    folder: str
    fields: dict[str, str]

    @property
    def note(self) -> str:
        return self.fields["clinical_notes"]

    @property
    def exam(self) -> tuple[str, ...]:
        """What the images of one study share."""
        return (self.patient, self.note, self.fields["offset"], self.fields["date"])


def covid(root: Path) -> Release:
    """The X-rays of ``metadata.csv``; the clinical notes become the findings section.

    Images that share patient, note and day, and differ in their view, are one study. Patients who share a
    note or an image are one patient: the table lists some cases twice, and one note may stand at four
    images. CT slices are left out.
    """
    table = needed_file(release_folder(root), TABLE, get=_GET)
    left_out = Exclusions()
    images = list(_images(table, left_out))
    groups = Groups()
    for image in images:
        groups.join(("patient", image.patient), ("image", image.name))
        if image.note:
            groups.join(("patient", image.patient), ("note", " ".join(image.note.lower().split())))
    options = {"report_section": "findings", "patients": "joined where they share a note or an image"}
    return Release("covid", VERSION, _records(root, images, groups, left_out), options, left_out)


def _images(table: Path, left_out: Exclusions) -> Iterator[_Image]:
    name_column = "filename" if "filename" in header_of(table) else "image"
    columns = (name_column, "patientid", "offset", "finding", "view", "clinical_notes")
    for row_name, row in read_csv(table, columns, left_out, optional=("folder", "modality", "date", *_KEPT)):
        name = row[name_column]
        if not name or not row["patientid"]:
            left_out.add(name or row_name, "no patient id" if name else "no image name")
        elif row["modality"] not in ("", "X-ray"):
            left_out.add(name, "not an X-ray")
        else:
            yield _Image(name, row["patientid"], row["folder"] or "images", row)


def _records(root: Path, images: list[_Image], groups: Groups, left_out: Exclusions) -> Iterator[StudyRecord]:
    seen: set[str] = set()
    exams: dict[tuple[str, ...], list[_Image]] = defaultdict(list)
    smallest: dict[object, str] = {}
    for image in images:
        root_of = groups.find(("patient", image.patient))
        smallest[root_of] = min(image.patient, smallest.get(root_of, image.patient))
        if image.name in seen:
            left_out.add(image.name, "image comes again")
            continue
        seen.add(image.name)
        exams[image.exam].append(image)
    for exam in exams.values():
        views = [projection_of(image.fields["view"]) for image in exam]
        together = len(set(views)) == len(exam) and None not in views
        for study in [exam] if together else [[image] for image in exam]:
            files = [_file(root, image, left_out) for image in study]
            first = study[0]
            yield StudyRecord(
                study_id=Path(first.name).stem,
                patient_id=smallest[groups.find(("patient", first.patient))],
                images=tuple(file for file in files if file is not None),
                report=Report(findings=first.note),
                labels=_labels(first.fields["finding"]),
                metadata={column: first.fields[column] for column in _KEPT},
            )


def _file(root: Path, image: _Image, left_out: Exclusions) -> ImageFile | None:
    path = inside_or_count(root, f"{image.folder}/{image.name}", left_out)
    return None if path is None else ImageFile(path, image.name, projection_of(image.fields["view"]))


def _labels(finding: str) -> dict[str, int]:
    """What the cause of the illness asserts about the picture: little."""
    if finding == "No Finding":
        return {"No Finding": 1}
    return {"Pneumonia": 1} if "Pneumonia" in finding else {}

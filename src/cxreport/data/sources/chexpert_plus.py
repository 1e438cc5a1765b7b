"""CheXpert Plus: its table, its PNG images and its CheXbert labels; also the re-split of CXPMRG-Bench."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cxreport.data.annotation import annotated_labels, read_annotation, split_named
from cxreport.data.exclusions import Exclusions
from cxreport.data.files import first_file, inside_or_count, needed_file, release_folder
from cxreport.data.labels import chexpert_labels
from cxreport.data.projection import projection_of
from cxreport.data.sections import SectionPolicy, lacks
from cxreport.data.sources import ImageFile, Release, StudyRecord
from cxreport.data.tables import read_csv, read_json_lines, text_of
from cxreport.errors import UserError
from cxreport.study import Projection, Report, Split

VERSION = "1"
LabelledText = Literal["report", "findings", "impression", "none"]
TABLE = "df_chexpert_plus_240401.csv"

_GET = "download CheXpert Plus from Stanford AIMI and put the table, the folder PNG and chexbert_labels there"
_KEY = ("deid_patient_id", "patient_report_date_order")
_TEXTS = (
    "section_findings",
    "section_impression",
    "section_clinical_history",
    "section_history",
    "section_comparison",
)
_PATIENT = re.compile(r"patient\d+")


@dataclass(slots=True)
class _Study:
    """The rows of one study; of their texts only a digest stays in memory."""

    patient: str
    split: Split | None
    texts: int
    images: list[tuple[str, Projection | None]] = field(default_factory=list)
    conflict: str = ""


def chexpert_plus(root: Path, *, labels: LabelledText = "report", sections: SectionPolicy = "any") -> Release:
    """The studies of the table with its split, train and valid (the test set is not public).

    Rows of one patient and ``patient_report_date_order`` are views of one study. Study ids are those of
    :func:`study_id`, since the official paths name the patient. `labels` says from which text the CheXbert
    labels come.
    """
    table = needed_file(release_folder(root), TABLE, get=_GET)
    left_out = Exclusions()
    studies = _studies(table, left_out)
    known = _labels(root, labels, left_out)
    pictures = _picture_folder(root)
    options = {"sections": sections, "labels": f"CheXbert on the {labels}" if labels != "none" else "none"}
    records = _records(table, studies, pictures, known, sections, left_out)
    return Release("chexpert_plus", VERSION, records, options, left_out)


def chexpert_plus_annotation(root: Path, annotation: Path) -> Release:
    """The re-split of CXPMRG-Bench in R2Gen's form; patients are read from the image paths.

    It mixes the official train and valid and is not by patient: the import counts the patients who stand in
    more than one split and warns.
    """
    left_out = Exclusions()
    warnings = ["The re-split of CXPMRG-Bench is not the official split: it mixes official train and valid."]
    samples = read_annotation(annotation, left_out, warnings)
    pictures = _picture_folder(root)

    def records() -> Iterator[StudyRecord]:
        for sample in samples:
            patient = _PATIENT.search(" ".join((*sample.images, sample.study_id)))
            findings = text_of(sample.fields, "report")
            if patient is None or not findings:
                reason = "empty report" if patient else "no patient id"
                left_out.add(_PATIENT.sub("patient", sample.study_id), reason)
                continue
            name = study_id(patient[0], sample.study_id)
            images = _images(pictures, name, [(path, None) for path in sample.images], left_out)
            labels = annotated_labels(sample.fields)
            yield StudyRecord(name, patient[0], images, Report(findings=findings), sample.split, labels)

    options = {"annotation": annotation.name, "report_section": "findings"}
    return Release("chexpert_plus", VERSION, records(), options, left_out, warnings)


def study_id(patient: str, study: str) -> str:
    """``cxp-`` and 16 hex digits of the SHA-256 of ``patient00001/study``, which name no patient."""
    return f"cxp-{hashlib.sha256(f'{patient}/{study}'.encode()).hexdigest()[:16]}"


def _studies(table: Path, left_out: Exclusions) -> dict[tuple[str, str], _Study]:
    columns = (*_KEY, "path_to_image", "split", "frontal_lateral", "section_findings", "section_impression")
    studies: dict[tuple[str, str], _Study] = {}
    for name, row in read_csv(table, columns, left_out, optional=_TEXTS):
        absent = next((column for column in columns[:4] if not row[column]), None)
        if absent is not None:
            left_out.add(name, f"no {absent}")
            continue
        patient, order, path, split = (row[column] for column in (*_KEY, "path_to_image", "split"))
        texts = hash(tuple(row[text] for text in _TEXTS))
        study = studies.setdefault((patient, order), _Study(patient, split_named(split), texts))
        study.images.append((path, projection_of(row["frontal_lateral"])))
        if study.texts != texts:
            study.conflict = "rows disagree on the report"
        elif study.split != split_named(split):
            study.conflict = "rows disagree on the split"
    return studies


def _labels(root: Path, labels: LabelledText, left_out: Exclusions) -> dict[str, dict[str, int]]:
    """Labels by ``path_to_image`` without its suffix."""
    if labels == "none":
        return {}
    name = f"{labels}_fixed.json"
    table = first_file(root, f"chexbert_labels/{name}", name)
    if table is None:
        raise UserError(
            f"There is no file chexbert_labels/{name} in {root}; {_GET}, or leave the labels out with "
            "--labels none."
        )
    lines = read_json_lines(table, left_out)
    return {_stem(str(line.get("path_to_image", ""))): chexpert_labels(line) for line in lines}


def _records(
    table: Path,
    studies: Mapping[tuple[str, str], _Study],
    pictures: Path,
    known: Mapping[str, dict[str, int]],
    sections: SectionPolicy,
    left_out: Exclusions,
) -> Iterator[StudyRecord]:
    waiting = dict(studies)
    for _, row in read_csv(table, _KEY, Exclusions(), optional=_TEXTS):
        study = waiting.pop((row[_KEY[0]], row[_KEY[1]]), None)
        if study is None:
            continue
        name = study_id(study.patient, row[_KEY[1]])
        report = Report(
            row["section_findings"],
            row["section_impression"],
            row["section_clinical_history"] or row["section_history"],
            row["section_comparison"],
        )
        reason = study.conflict or lacks(report, sections)
        if reason:
            left_out.add(name, reason)
            continue
        labels = known.get(_stem(study.images[0][0]), {})
        images = _images(pictures, name, study.images, left_out)
        yield StudyRecord(name, study.patient, images, report, study.split, labels)


def _images(
    pictures: Path, study: str, images: list[tuple[str, Projection | None]], left_out: Exclusions
) -> tuple[ImageFile, ...]:
    """The PNG of every path of the table, which says ``.jpg``; the path as it is where only that is there."""
    files = []
    for path, projection in images:
        outside = Exclusions()
        found = inside_or_count(pictures, f"{_stem(path)}.png", outside)
        if found is None:
            left_out.add(f"{study}/{Path(path).name}", outside.items[0].reason)
            continue
        if not found.is_file() and found.with_suffix(Path(path).suffix).is_file():
            found = found.with_suffix(Path(path).suffix)
        word = projection or projection_of(found.stem.rpartition("_")[2])
        files.append(ImageFile(found, f"{study}/{found.name}", word))
    return tuple(files)


def _picture_folder(root: Path) -> Path:
    """The folder above ``train/patient00001``."""
    names = ("PNG", "PNG/PNG", "png", "images", ".")
    return next((root / name for name in names if (root / name / "train").is_dir()), root / "PNG")


def _stem(path: str) -> str:
    return re.sub(r"\.(jpe?g|png)$", "", path, flags=re.IGNORECASE)

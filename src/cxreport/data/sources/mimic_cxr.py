"""MIMIC-CXR: the images of MIMIC-CXR-JPG with the reports of MIMIC-CXR, or R2Gen's annotation of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from cxreport.data.annotation import annotated_labels, read_annotation, split_named
from cxreport.data.exclusions import Exclusions
from cxreport.data.files import first_file, inside_or_count, needed_file, release_folder
from cxreport.data.labels import chexpert_labels
from cxreport.data.projection import projection_of
from cxreport.data.sections import (
    HAND_RULED,
    LAST_PARAGRAPH,
    SECTIONER,
    SECTIONER_VERSION,
    SectionPolicy,
    lacks,
    official_sections,
    report_of,
)
from cxreport.data.sources import ImageFile, Release, StudyRecord
from cxreport.data.tables import header_of, read_csv, read_text, text_of
from cxreport.errors import UserError
from cxreport.study import LABELS, Projection, Report, Split

VERSION = "1"
LabelTable = Literal["chexpert", "negbio", "none"]
SECTIONED = "mimic_cxr_sectioned.csv"

_TABLE = "mimic-cxr-2.0.0-{}.csv"
_GET = "download MIMIC-CXR-JPG from PhysioNet and put its folder files and its tables there"
_NUMBER = re.compile(r"[0-9]{1,12}")
_DICOM_ID = re.compile(r"[0-9a-f]+(-[0-9a-f]+)*")
_LARGEST_REPORT = 1 << 18
_SECTIONS = ("findings", "impression", "last_paragraph", "comparison")


@dataclass(slots=True)
class _Study:
    """What the tables say of one study; ``images`` are dicom ids."""

    subject: str
    split: Split | None
    images: list[str] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    conflict: str = ""


def mimic_cxr(
    root: Path,
    *,
    reports: Path | None = None,
    labels: LabelTable = "chexpert",
    sections: SectionPolicy = "any",
    last_paragraph: bool = False,
    hand_ruled: bool = False,
) -> Release:
    """The studies of ``mimic-cxr-2.0.0-split.csv`` (all tables may be ``.gz``) with the official split.

    Args:
        root: holds ``files/p10/p10000032/s50414267/*.jpg``, the split table, the metadata table with the view
            positions, and the table of `labels`.
        reports: ``mimic_cxr_sectioned.csv``, or the folder that holds ``files/p10/.../s50414267.txt``; left
            out, they are looked for in `root`.
        sections: which sections a study must have.
        last_paragraph: what the sectioner calls so stands in for absent findings; else it stays in the
            metadata.
        hand_ruled: take also the 54 studies for which the official sectioner has a rule by hand; our
            sectioner has no such rules.

    Raises:
        UserError: a table is absent, or there are no reports.
    """
    split_table = needed_file(release_folder(root), *_named("split"), get=_GET)
    left_out, warnings = Exclusions(), list[str]()
    where = _reports_in(root, reports)
    studies = _studies(split_table, left_out)
    _add_labels(root, labels, studies, left_out)
    views = _views(root, left_out, warnings)
    texts = _sectioned(where, left_out) if where.is_file() else _texts(where, studies, left_out)
    options = {
        "sectioner": "as in the table" if where.is_file() else SECTIONER,
        "sectioner_version": None if where.is_file() else SECTIONER_VERSION,
        "sections": sections,
        "last_paragraph_as_findings": last_paragraph,
        "hand_ruled_studies": "taken" if hand_ruled else "left out",
        "labels": labels,
    }

    def records() -> Iterator[StudyRecord]:
        for number, parts in texts:
            study = studies.pop(number, None)
            report = _report(parts, last_paragraph)
            if number in HAND_RULED and not hand_ruled:
                left_out.add(f"s{number}", "rule by hand of the official sectioner")
            elif study is None:
                left_out.add(f"s{number}", "not in the split table, or twice in the reports")
            elif reason := study.conflict or lacks(report, sections):
                left_out.add(f"s{number}", reason)
            else:
                yield _record(root, number, study, report, views, parts.get(LAST_PARAGRAPH, ""))
        for number, study in studies.items():
            if sections == "none" and not study.conflict:
                yield _record(root, number, study, Report(), views)
            else:
                left_out.add(f"s{number}", "no report")

    return Release("mimic_cxr", VERSION, records(), options, left_out, warnings)


def mimic_cxr_annotation(root: Path, annotation: Path) -> Release:
    """R2Gen's ``annotation.json`` of MIMIC-CXR: every image is a study of its own, as R2Gen counts them.

    Images lie under ``images`` or ``files`` in `root`. Findings, ids and split are taken as they are.
    """
    folder = next((root / name for name in ("images", "files") if (root / name).is_dir()), root)
    left_out, warnings = Exclusions(), list[str]()
    samples = read_annotation(annotation, left_out, warnings)

    def records() -> Iterator[StudyRecord]:
        for sample in samples:
            findings = text_of(sample.fields, "report")
            patient = str(sample.fields.get("subject_id") or _subject_in(sample.images))
            if not findings or not patient:
                left_out.add(sample.study_id, "no patient id" if findings else "empty report")
                continue
            paths = [inside_or_count(folder, name, left_out) for name in sample.images]
            images = tuple(ImageFile(path, path.name) for path in paths if path is not None)
            kept = {"study": f"s{sample.fields['study_id']}"} if sample.fields.get("study_id") else {}
            labels = annotated_labels(sample.fields)
            report = Report(findings=findings)
            yield StudyRecord(sample.study_id, patient, images, report, sample.split, labels, metadata=kept)

    options = {"annotation": annotation.name, "report_section": "findings", "unit": "image"}
    return Release("mimic_cxr", VERSION, records(), options, left_out, warnings)


def _named(table: str) -> tuple[str, str]:
    name = _TABLE.format(table)
    return name, f"{name}.gz"


def _subject_in(images: tuple[str, ...]) -> str:
    found = re.search(r"(?:^|/)p(\d{8})/", images[0]) if images else None
    return found[1] if found else ""


def _reports_in(root: Path, reports: Path | None) -> Path:
    """The table of sections, or the folder above ``files``."""
    if reports is not None:
        if not reports.exists():
            raise UserError(f"There is no {reports}; --reports names {SECTIONED} or the folder above files.")
        return reports
    table = first_file(root, SECTIONED, f"{SECTIONED}.gz")
    if table is not None:
        return table
    for folder in (root, root / "mimic-cxr-reports"):
        if next((folder / "files").glob("p1*/p*/s*.txt"), None) is not None:
            return folder
    raise UserError(
        f"There are no reports in {root}; unpack mimic-cxr-reports.zip of MIMIC-CXR there, so that it holds "
        f"files/p10/p10000032/s50414267.txt and the like, or put {SECTIONED} there, or use --reports."
    )


def _studies(table: Path, left_out: Exclusions) -> dict[int, _Study]:
    studies: dict[int, _Study] = {}
    for name, row in read_csv(table, ("dicom_id", "study_id", "subject_id", "split"), left_out):
        split = split_named(row["split"])
        if not _NUMBER.fullmatch(row["study_id"]) or not _NUMBER.fullmatch(row["subject_id"]) or not split:
            left_out.add(f"{name} of {table.name}", "no study, subject or split")
            continue
        if not _DICOM_ID.fullmatch(row["dicom_id"]):
            left_out.add(f"{name} of {table.name}", "no dicom id")
            continue
        study = studies.setdefault(int(row["study_id"]), _Study(row["subject_id"], split))
        study.images.append(row["dicom_id"])
        if (study.subject, study.split) != (row["subject_id"], split):
            study.conflict = "rows disagree on the patient or the split"
    return studies


def _add_labels(root: Path, labels: LabelTable, studies: dict[int, _Study], left_out: Exclusions) -> None:
    if labels == "none":
        return
    table = needed_file(root, *_named(labels), get=f"{_GET}, or leave the labels out with --labels none")
    for _, row in read_csv(table, ("study_id",), left_out, optional=LABELS):
        study = studies.get(int(row["study_id"])) if _NUMBER.fullmatch(row["study_id"]) else None
        if study is not None:
            study.labels = chexpert_labels(row)


def _views(root: Path, left_out: Exclusions, warnings: list[str]) -> dict[str, Projection | None]:
    table = first_file(root, *_named("metadata"))
    if table is None:
        warnings.append(f"There is no {_named('metadata')[1]}, so the projections of the views are unknown.")
        return {}
    rows = read_csv(table, ("dicom_id", "ViewPosition"), left_out)
    return {row["dicom_id"]: projection_of(row["ViewPosition"]) for _, row in rows}


def _report(parts: Mapping[str, str], last_paragraph: bool) -> Report:
    report = report_of(parts)
    if last_paragraph and not report.findings:
        return replace(report, findings=parts.get(LAST_PARAGRAPH, ""))
    return report


def _record(
    root: Path,
    number: int,
    study: _Study,
    report: Report,
    views: Mapping[str, Projection | None],
    last_paragraph: str = "",
) -> StudyRecord:
    folder = root / "files" / f"p{study.subject[:2]}" / f"p{study.subject}" / f"s{number}"
    images = tuple(
        ImageFile(folder / f"{name}.jpg", f"{name}.jpg", views.get(name)) for name in sorted(study.images)
    )
    kept = {LAST_PARAGRAPH: last_paragraph} if last_paragraph else {}
    return StudyRecord(f"s{number}", study.subject, images, report, study.split, study.labels, metadata=kept)


def _sectioned(table: Path, left_out: Exclusions) -> Iterator[tuple[int, dict[str, str]]]:
    key = "study" if "study" in header_of(table) else "study_id"
    for name, row in read_csv(table, (key, *_SECTIONS), left_out, optional=("indication", "history")):
        number = row.pop(key).removeprefix("s")
        if _NUMBER.fullmatch(number):
            yield int(number), row
        else:
            left_out.add(f"{name} of {table.name}", "no study id")


def _texts(
    folder: Path, studies: dict[int, _Study], left_out: Exclusions
) -> Iterator[tuple[int, dict[str, str]]]:
    for number, study in list(studies.items()):
        path = folder / "files" / f"p{study.subject[:2]}" / f"p{study.subject}" / f"s{number}.txt"
        if not path.is_file():
            continue
        try:
            yield number, official_sections(read_text(path, _LARGEST_REPORT))
        except UserError:
            left_out.add(f"s{number}", "unreadable report")
            studies.pop(number, None)

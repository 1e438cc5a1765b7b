"""Chinese reports: JSON in R2Gen's form or CSV, with the findings under ``image_finding``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cxreport.data.annotation import Sample, annotated_labels, read_annotation, split_named
from cxreport.data.exclusions import Exclusions
from cxreport.data.files import inside_or_count
from cxreport.data.sections import SectionPolicy, lacks
from cxreport.data.sources import ImageFile, Release, StudyRecord
from cxreport.data.tables import Encoding, header_of, listed, read_csv, text_of
from cxreport.errors import UserError
from cxreport.study import Report

VERSION = "1"
FINDINGS = ("image_finding", "findings", "report", "影像所见", "检查所见")
IMPRESSIONS = ("impressions", "impression", "影像诊断", "诊断意见")
IDS = ("id", "study_id", "检查号")
PATIENTS = ("patient_id", "subject_id", "病人编号", "患者编号")
IMAGES = ("image_path", "image", "img_path", "图像路径")
"""Names of fields, the first that a file has counts."""


def chinese(
    file: Path,
    *,
    images: Path | None = None,
    encoding: Encoding = "utf-8",
    sections: SectionPolicy = "findings",
) -> Release:
    """The studies of a ``.json`` (R2Gen's form) or a CSV with a row per image.

    Image paths are relative to `images` (default: the folder of the file). Texts are kept as they are,
    blanks included; the cleaner ``characters`` makes words of them. Without a patient field every study
    counts as a patient.
    """
    left_out, warnings = Exclusions(), list[str]()
    if file.suffix.lower() == ".json":
        samples = read_annotation(file, left_out, warnings)
        fields: dict[str, Any] = {}
    else:
        fields = _columns(file, encoding)
        samples = iter(_csv_samples(file, encoding, fields, left_out))
    options = {"file": file.name, "sections": sections, "language": "zh", "columns": fields or None}
    folder = images if images is not None else file.parent
    records = _records(samples, folder, sections, left_out, warnings)
    return Release("chinese", VERSION, records, options, left_out, warnings)


def _records(
    samples: Iterator[Sample],
    folder: Path,
    sections: SectionPolicy,
    left_out: Exclusions,
    warnings: list[str],
) -> Iterator[StudyRecord]:
    without = 0
    for sample in samples:
        report = Report(text_of(sample.fields, *FINDINGS), text_of(sample.fields, *IMPRESSIONS))
        reason = lacks(report, sections)
        if reason:
            left_out.add(sample.study_id, reason)
            continue
        patient = next((str(sample.fields[name]) for name in PATIENTS if sample.fields.get(name)), "")
        without += not patient
        paths = [inside_or_count(folder, name, left_out) for name in sample.images]
        yield StudyRecord(
            sample.study_id,
            patient or sample.study_id,
            tuple(ImageFile(path, path.name) for path in paths if path is not None),
            report,
            sample.split,
            annotated_labels(sample.fields),
            metadata={"language": "zh"},
        )
    if without:
        warnings.append(f"{without} studies name no patient; each counts as a patient of its own.")


def _columns(file: Path, encoding: Encoding) -> dict[str, str]:
    """The column of every field that the CSV has."""
    header = header_of(file, encoding)
    wanted = {"id": IDS, "image_path": IMAGES, "image_finding": FINDINGS}
    optional = {"impressions": IMPRESSIONS, "patient_id": PATIENTS, "split": ("split",)}
    columns = {
        name: column
        for name, names in (wanted | optional).items()
        for column in [next((one for one in names if one in header), "")]
        if column
    }
    for name, names in wanted.items():
        if name not in columns:
            raise UserError(
                f"{file} has no column {names[0]} (or {', '.join(names[1:])}) among {listed(header)}."
            )
    return columns


def _csv_samples(
    file: Path, encoding: Encoding, columns: Mapping[str, str], left_out: Exclusions
) -> Iterable[Sample]:
    """Rows with one id are the images of one study and must agree on all else."""
    samples: dict[str, Sample] = {}
    conflicts: dict[str, None] = {}
    for name, row in read_csv(file, tuple(columns.values()), left_out, encoding=encoding):
        fields = {field: row[column] for field, column in columns.items()}
        study, image = fields.pop("id"), fields.pop("image_path")
        if not study or not image:
            left_out.add(study or name, "no image name" if study else "no study id")
            continue
        sample = samples.setdefault(study, Sample(study, split_named(fields.get("split", "")), (), fields))
        if sample.fields != fields:
            conflicts[study] = None
        samples[study] = sample._replace(images=(*sample.images, image))
    for study in conflicts:
        left_out.add(study, "rows disagree on the report")
        del samples[study]
    return samples.values()

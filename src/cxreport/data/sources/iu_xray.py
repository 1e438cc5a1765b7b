"""IU X-ray in R2Gen's layout: ``annotation.json`` and ``images/CXR2384_IM-0942/0.png``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cxreport.data.annotation import Sample, read_annotation
from cxreport.data.exclusions import Exclusions
from cxreport.data.files import inside_or_count, needed_file
from cxreport.data.sources import ImageFile, Release, StudyRecord
from cxreport.data.tables import text_of
from cxreport.study import Report

VERSION = "1"
_GET = "unpack R2Gen's iu_xray.zip there: it holds annotation.json and the folder images"


def iu_xray(root: Path) -> Release:
    """The studies of ``annotation.json``; its text is the findings section, and its split the official one.

    The number before the first underscore of an id is Open-i's report; it stands for the patient, whom
    Open-i does not name.
    """
    annotation = needed_file(root, "annotation.json", get=_GET)
    left_out, warnings = Exclusions(), list[str]()
    samples = read_annotation(annotation, left_out, warnings)
    if not (root / "images").is_dir():
        warnings.append(f"There is no folder images beside annotation.json; {_GET}, or take texts alone.")
    options = {"report_section": "findings"}
    return Release("iu_xray", VERSION, _records(root, samples, left_out), options, left_out, warnings)


def _records(root: Path, samples: Iterator[Sample], left_out: Exclusions) -> Iterator[StudyRecord]:
    for sample in samples:
        findings = text_of(sample.fields, "report")
        if not findings:
            left_out.add(sample.study_id, "empty report")
            continue
        paths = {name: inside_or_count(root / "images", name, left_out) for name in sample.images}
        images = tuple(ImageFile(path, name) for name, path in paths.items() if path is not None)
        patient = sample.study_id.partition("_")[0]
        yield StudyRecord(sample.study_id, patient, images, Report(findings=findings), sample.split)

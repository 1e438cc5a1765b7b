"""A study as one row of an Arrow table, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from cxreport.study import Finding, Report, Study, View

_VIEW = pa.struct(
    [("image", pa.binary()), ("projection", pa.string()), ("width", pa.int32()), ("height", pa.int32())]
)
_REPORT = pa.struct(
    [(section, pa.string()) for section in ("findings", "impression", "indication", "comparison")]
)
_LABEL = pa.struct([("name", pa.string()), ("value", pa.int8())])
_BOX = pa.struct([("projection", pa.string()), ("edges", pa.list_(pa.float64()))])
_FINDING = pa.struct(
    [
        ("kind", pa.string()),
        ("side", pa.string()),
        ("zone", pa.string()),
        ("severity", pa.string()),
        ("boxes", pa.list_(_BOX)),
    ]
)

SCHEMA = pa.schema(
    [
        ("study_id", pa.string()),
        ("patient_id", pa.string()),
        ("split", pa.string()),
        ("views", pa.list_(_VIEW)),
        ("report", _REPORT),
        ("labels", pa.list_(_LABEL)),
        ("findings", pa.list_(_FINDING)),
        ("metadata", pa.string()),
    ]
)
"""Columns of every split. ``findings`` is null where no truth is known, an empty list for a chest that is
known to be normal; ``edges`` of a box are left, top, right, bottom as fractions; ``metadata`` is JSON."""


def to_row(study: Study) -> dict[str, Any]:
    """The row of `study` in :data:`SCHEMA`."""
    return {
        "study_id": study.study_id,
        "patient_id": study.patient_id,
        "split": study.split,
        "views": [view_row(view) for view in study.views],
        "report": {section.name: getattr(study.report, section.name) for section in _REPORT},
        "labels": [{"name": name, "value": value} for name, value in study.labels.items()],
        "findings": None if study.findings is None else [_finding_row(f) for f in study.findings],
        "metadata": metadata_text(study.metadata),
    }


def view_row(view: View) -> dict[str, Any]:
    """One entry of the column ``views``."""
    return {
        "image": view.image,
        "projection": view.projection,
        "width": view.width,
        "height": view.height,
    }


def metadata_text(metadata: Mapping[str, Any]) -> str:
    """The column ``metadata``."""
    return json.dumps(metadata, ensure_ascii=False, sort_keys=True)


def from_row(row: Mapping[str, Any]) -> Study:
    """The study of a row that :func:`to_row` made."""
    findings = row["findings"]
    return Study(
        study_id=row["study_id"],
        patient_id=row["patient_id"],
        views=tuple(View(v["image"], v["width"], v["height"], v["projection"]) for v in row["views"]),
        report=Report(**row["report"]),
        split=row["split"],
        labels={label["name"]: label["value"] for label in row["labels"]},
        findings=None if findings is None else tuple(_finding(f) for f in findings),
        metadata=json.loads(row["metadata"]),
    )


def _finding_row(finding: Finding) -> dict[str, Any]:
    boxes = [{"projection": name, "edges": list(edges)} for name, edges in finding.boxes.items()]
    return {
        "kind": finding.kind,
        "side": finding.side,
        "zone": finding.zone,
        "severity": finding.severity,
        "boxes": boxes,
    }


def _finding(row: Mapping[str, Any]) -> Finding:
    boxes = {box["projection"]: tuple(box["edges"]) for box in row["boxes"]}
    return Finding(row["kind"], row["side"], row["zone"], row["severity"], boxes)

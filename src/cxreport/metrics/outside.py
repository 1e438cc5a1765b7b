"""Reading drafts that other programs wrote: a ReXrank submission, a CSV table; and facts about patients."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cxreport.errors import UserError
from cxreport.metrics.predictions import (
    Prediction,
    Predictions,
    UniqueIds,
    read_json,
    read_predictions,
    readable,
    text_facts,
)
from cxreport.metrics.protocols import Protocol, split_headings

KINDS = "predictions.jsonl, a ReXrank .json or a .csv with the columns hypothesis and reference"

_LONGEST_CELL = 10_000_000
_ID_COLUMNS = ("study_id", "id")
_MISSING = ("nan", "null", "none", "<na>")
"""What programs write into a cell where there is no text."""

_AGE = re.compile(r"\bAge:\s*([^.]*)", re.IGNORECASE)
_SEX = re.compile(r"\b(?:Gender|Sex):\s*([^.]*)", re.IGNORECASE)


def read_any(path: Path, protocol: Protocol) -> Predictions:
    """A file of one of :data:`KINDS`, told by its ending; a ReXrank file gives the protocol's section.

    Raises UserError for another ending and for what the reader of that kind refuses.
    """
    kind = path.suffix.lower()
    if kind == ".jsonl":
        return read_predictions(path)
    if kind == ".json":
        return read_rexrank(path, protocol)
    if kind == ".csv":
        return read_table(path)
    raise UserError(
        f"{path} is none of {KINDS}; two text files with one report a line go to --hypotheses and"
        " --references."
    )


def read_rexrank(path: Path, protocol: Protocol) -> Predictions:
    """A ReXrank submission: one object keyed by study id, each value with ``model_prediction`` and sections.

    A bare ``NaN`` or null means that a section or a prediction is not there. A prediction with the headings
    ``Findings:`` and ``Impression:`` gives its part of the protocol's section, one without is all of it.
    Raises UserError for a file of another form, mistyped fields, a study that stands twice, and a file
    without any prediction.
    """
    with readable(path):
        text = path.read_text(encoding="utf-8-sig")
    tree = read_json(text, str(path))
    if not isinstance(tree, dict) or not all(isinstance(record, dict) for record in tree.values()):
        raise UserError(f"{path} must hold one JSON object that maps every study id to an object.")
    if not any(_optional_text(record, "model_prediction", path) for record in tree.values()):
        raise UserError(f"{path} has no model_prediction in any of its {len(tree)} studies.")
    studies = tuple(_rexrank_study(study_id, record, protocol, path) for study_id, record in tree.items())
    return Predictions(str(path), studies)


def read_table(path: Path) -> Predictions:
    """A CSV file with the columns ``hypothesis`` and ``reference``, and perhaps ``study_id`` (or ``id``),
    ``patient_id`` and any facts (``sex``, ``age``, ...).

    An empty hypothesis is a study without a draft; one without reference cannot be scored. Raises UserError
    for a missing column, a row of another length, a cell that reads ``nan`` or ``null``, and a study that
    stands twice.
    """
    studies: list[Prediction] = []
    ids = UniqueIds(path)
    for number, row in table_rows(path, ("hypothesis", "reference")):
        for column in ("hypothesis", "reference"):
            if row[column].strip().lower() in _MISSING:
                raise UserError(
                    f"{path}, line {number}: the {column} reads {row[column].strip()!r}, which is how"
                    " programs write a missing text; leave the cell empty where there is none."
                )
        study_id = next((row[column] for column in _ID_COLUMNS if column in row), str(number))
        ids.add(study_id, f"line {number}")
        studies.append(
            Prediction(
                study_id,
                row["hypothesis"] if row["hypothesis"].strip() else None,
                row["reference"] if row["reference"].strip() else None,
                patient_id=row.get("patient_id") or None,
                facts=_other_columns(row, "hypothesis", "reference", "patient_id"),
            )
        )
    if not studies:
        raise UserError(f"{path} has no rows below its header.")
    return Predictions(str(path), tuple(studies))


def add_facts(predictions: Predictions, path: Path) -> Predictions:
    """`predictions` with the columns of the CSV file `path` as facts, joined by its column ``study_id``.

    A column ``patient_id`` becomes the patients of the bootstrap. Raises UserError for a file without that
    column, a study that stands twice, and one that has no row.
    """
    ids = UniqueIds(path)
    rows: dict[str, dict[str, str]] = {}
    for number, row in table_rows(path, ("study_id",)):
        ids.add(row["study_id"], f"line {number}")
        rows[row["study_id"]] = row
    absent = [study.study_id for study in predictions.studies if study.study_id not in rows]
    if absent:
        raise UserError(
            f"{path} has no row for {len(absent)} of {len(predictions.studies)} studies, the first of them"
            f" {absent[0]!r}; add them."
        )
    joined = [
        replace(
            study,
            facts=study.facts | _other_columns(rows[study.study_id], "patient_id"),
            patient_id=rows[study.study_id].get("patient_id") or study.patient_id,
        )
        for study in predictions.studies
    ]
    return replace(predictions, studies=tuple(joined))


def table_rows(path: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a CSV file, each with the line where it ends; UserError where columns or cells are missing."""
    csv.field_size_limit(_LONGEST_CELL)
    with readable(path), path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = [name.strip() for name in next(reader, [])]
            absent = [name for name in needed if name not in header]
            if absent or len(set(header)) != len(header):
                problem = f"has no column {absent[0]!r}" if absent else "names a column twice"
                raise UserError(
                    f"{path} {problem}; its first line must name its columns, now"
                    f" {', '.join(header) or 'empty'}."
                )
            for row in reader:
                if len(row) != len(header) and row:
                    raise UserError(
                        f"{path}, line {reader.line_num} has {len(row)} cells but the header {len(header)}."
                    )
                if row:
                    yield reader.line_num, dict(zip(header, row, strict=True))
        except csv.Error as error:
            raise UserError(f"{path}, line {reader.line_num} is no CSV: {error}.") from None


def _other_columns(row: dict[str, str], *known: str) -> dict[str, str]:
    return text_facts({key: value for key, value in row.items() if key not in (*known, *_ID_COLUMNS)})


def _rexrank_study(study_id: str, record: dict[str, Any], protocol: Protocol, path: Path) -> Prediction:
    sections = {
        name: _optional_text(record, f"section_{name}", path) or "" for name in ("findings", "impression")
    }
    draft = _optional_text(record, "model_prediction", path)
    if draft is not None:
        parts = split_headings(draft)
        draft = protocol.text_of(parts) if parts else draft
    subject = record.get("subject_id")
    return Prediction(
        study_id,
        draft,
        protocol.text_of(sections) or None,
        patient_id=str(subject) if isinstance(subject, str | int) and subject != "" else None,
        facts=_rexrank_facts(record),
    )


def _rexrank_facts(record: dict[str, Any]) -> dict[str, str]:
    """Sex, age, view and projection under our names, and the text columns of CheXpert's version."""
    context = record.get("context") if isinstance(record.get("context"), str) else ""
    facts = text_facts({key: record.get(key) for key in ("age", "sex", "race", "ethnicity", "split")})
    for key, pattern in (("age", _AGE), ("sex", _SEX)):
        match = pattern.search(str(context))
        if match and match[1].strip():
            facts.setdefault(key, match[1].strip())
    for key, source in (("view", "ap_pa"), ("projection", "frontal_lateral")):
        values = record.get(source)
        names = sorted(
            {str(v).lower() for v in (values if isinstance(values, list) else [values]) if _known(v)}
        )
        if names:
            facts[key] = "+".join(names)
    return facts


def _known(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _optional_text(record: dict[str, Any], key: str, path: Path) -> str | None:
    """A text, or None where it is absent, null, NaN or blank."""
    value = record.get(key)
    if value is None or value != value:
        return None
    if not isinstance(value, str):
        raise UserError(f"{path}: {key} must be text, NaN or null, not {json.dumps(value)[:40]}.")
    return value if value.strip() else None

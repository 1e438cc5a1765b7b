"""Reading ``predictions.jsonl`` and pairs of text files, with every mistake told by line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cxreport.errors import UserError
from cxreport.metrics.findings import Item

RAW = "raw"
"""The protocol of texts that nobody cleaned: whitespace words, full references, as given."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """One line of ``predictions.jsonl``: what scoring needs of it."""

    study_id: str
    hypothesis: str
    reference: str
    truth: frozenset[Item] | None = None
    language: str | None = None
    controls: dict[str, str] = field(default_factory=dict)
    protocol: str = RAW


def read_predictions(path: Path) -> list[Prediction]:
    """All lines of a predictions file, in order.

    Raises UserError, naming the line, for bad JSON, a missing or mistyped key, a study that stands twice,
    a control that only some lines have, or lines of different protocols; and for an empty file.
    """
    predictions: list[Prediction] = []
    line_of: dict[str, int] = {}
    for number, line in _numbered_lines(path):
        if not line.strip():
            continue
        prediction = _parse(line, f"{path}, line {number}")
        first = line_of.setdefault(prediction.study_id, number)
        if first != number:
            raise UserError(
                f"{path}, line {number}: study {prediction.study_id!r} stands already in line {first};"
                " keep one line per study."
            )
        if predictions:
            _agree(predictions[0], prediction, f"{path}, line {number}")
        predictions.append(prediction)
    if not predictions:
        raise UserError(f"{path} is empty; it must hold one JSON object per study and line.")
    return predictions


def read_reports(path: Path) -> list[str]:
    """A text file with one report a line (LF or CRLF); the last line may end without a newline.

    Raises UserError for a file that cannot be read, is not UTF-8, or holds nothing but blanks.
    """
    reports = [line for _, line in _numbered_lines(path)]
    if not any(report.strip() for report in reports):
        raise UserError(f"{path} holds no text; it must hold one report a line.")
    return reports


def _numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines without their line ends, counted from 1; only LF and CRLF end a line."""
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                yield number, line.removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not a text file in UTF-8; convert it first.") from None


def _parse(line: str, where: str) -> Prediction:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{where} is not JSON: {error.msg} at character {error.pos + 1}.") from None
    if not isinstance(record, dict):
        raise UserError(f"{where} must hold a JSON object with study_id, hypothesis and reference.")
    study_id, hypothesis, reference = (
        _text(record, key, where) for key in ("study_id", "hypothesis", "reference")
    )
    controls = record.get("controls") or {}
    if not isinstance(controls, dict) or not all(isinstance(text, str) for text in controls.values()):
        raise UserError(f"{where}: controls must map names to texts.")
    language, protocol = record.get("language"), record.get("protocol", RAW)
    if not isinstance(protocol, str) or not isinstance(language, str | None):
        raise UserError(f"{where}: protocol and language must be text.")
    truth = _truth(record.get("truth"), where)
    return Prediction(study_id, hypothesis, reference, truth, language, controls, protocol)


def _text(record: dict[str, Any], key: str, where: str) -> str:
    if key not in record:
        raise UserError(f"{where} has no {key!r}; every line needs study_id, hypothesis and reference.")
    if not isinstance(record[key], str):
        raise UserError(f"{where}: {key} must be text, not {json.dumps(record[key])[:40]}.")
    return str(record[key])


def _truth(value: object, where: str) -> frozenset[Item] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(_is_item(item) for item in value):
        raise UserError(f'{where}: truth must be a list of [kind, "left", "right" or null] pairs.')
    return frozenset((kind, side) for kind, side in value)


def _is_item(value: Any) -> bool:
    pair = isinstance(value, list) and len(value) == 2
    return pair and isinstance(value[0], str) and value[1] in ("left", "right", None)


def _agree(first: Prediction, other: Prediction, where: str) -> None:
    """Rows of one table must be about the same studies under the same protocol."""
    if other.protocol != first.protocol:
        raise UserError(
            f"{where} has protocol {other.protocol!r} but the first line {first.protocol!r};"
            " score them in separate files."
        )
    odd = sorted(first.controls.keys() ^ other.controls.keys())
    if odd:
        raise UserError(
            f"{where} and the first line differ in the control {odd[0]!r}; draft the split again."
        )

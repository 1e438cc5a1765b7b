"""Reading ``predictions.jsonl`` and pairs of text files, with every mistake told by line.

Files that other programs wrote are read by :mod:`cxreport.metrics.outside`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cxreport.errors import UserError
from cxreport.metrics.findings import Item
from cxreport.metrics.protocols import RAW


@dataclass(frozen=True, slots=True)
class Prediction:
    """One study: what scoring needs of it.

    ``hypothesis`` is None where the system wrote nothing for the study; ``reference`` is None where the
    study has no report to score against, while an empty text is an empty report. ``facts`` holds what the
    file says of the patient and the images (sex, age, view, ...), for tables of subgroups.
    """

    study_id: str
    hypothesis: str | None
    reference: str | None
    truth: frozenset[Item] | None = None
    language: str | None = None
    controls: dict[str, str] = field(default_factory=dict)
    patient_id: str | None = None
    facts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Predictions:
    """What one system wrote for a test set, in the order of its file.

    ``prepared`` is the protocol under which the texts of the file already stand, None for texts that nobody
    prepared.
    """

    source: str
    studies: tuple[Prediction, ...]
    prepared: str | None = None


def read_predictions(path: Path) -> Predictions:
    """All lines of a predictions file, in order.

    Raises UserError, naming the line, for bad JSON, a missing or mistyped key, a study that stands twice,
    a control that only some lines have, or lines of different protocols; and for an empty file.
    """
    studies: list[Prediction] = []
    first_protocol = RAW
    ids = UniqueIds(path)
    for number, line in numbered_lines(path):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        prediction, protocol = _parse(line, where)
        ids.add(prediction.study_id, f"line {number}")
        if not studies:
            first_protocol = protocol
        elif protocol != first_protocol:
            raise UserError(
                f"{where} has protocol {protocol!r} but the first line {first_protocol!r};"
                " score them in separate files."
            )
        else:
            _same_controls(studies[0], prediction, where)
        studies.append(prediction)
    if not studies:
        raise UserError(f"{path} is empty; it must hold one JSON object per study and line.")
    return Predictions(str(path), tuple(studies), None if first_protocol == RAW else first_protocol)


def read_text_pair(hypotheses: Path, references: Path) -> Predictions:
    """Two text files with one report a line; line n of both is study n. An empty line is an empty report.

    Raises UserError for a file that cannot be read or has no line, and for files of different length.
    """
    drafts, truths = read_reports(hypotheses), read_reports(references)
    if len(drafts) != len(truths):
        raise UserError(
            f"{hypotheses} has {len(drafts)} lines but {references} has {len(truths)};"
            " line n of both must be the same study."
        )
    pairs = enumerate(zip(drafts, truths, strict=True), start=1)
    return Predictions(
        str(hypotheses), tuple(Prediction(str(number), draft, truth) for number, (draft, truth) in pairs)
    )


def read_reports(path: Path) -> list[str]:
    """A text file with one report a line (LF or CRLF); the last line may end without a newline.

    Raises UserError for a file that cannot be read, is not UTF-8, or has no line.
    """
    reports = [line for _, line in numbered_lines(path)]
    if not reports:
        raise UserError(f"{path} holds no line; it must hold one report a line.")
    return reports


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines without their line ends, counted from 1; only LF and CRLF end a line."""
    with readable(path), path.open(encoding="utf-8-sig", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            yield number, line.removesuffix("\n").removesuffix("\r")


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """A failure to read `path` becomes a sentence."""
    try:
        yield
    except UnicodeDecodeError:
        raise UserError(f"{path} is not a text file in UTF-8; convert it first.") from None
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from None


class UniqueIds:
    """Refuses a study that stands twice in the file `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._place_of: dict[str, str] = {}

    def add(self, study_id: str, place: str) -> None:
        """Note that `study_id` stands at `place`; UserError when it stood elsewhere already."""
        first = self._place_of.setdefault(study_id, place)
        if first != place:
            raise UserError(
                f"{self._path}, {place}: study {study_id!r} stands already in {first};"
                " keep one draft per study."
            )


def read_json(text: str, where: str) -> Any:
    """The JSON value of `text`; UserError, beginning with `where`, for what cannot be scored or written.

    That is no JSON, a number too long or lists too deep to read, or half of a surrogate pair, which no file
    in UTF-8 can hold. Bare ``NaN`` is read as Python's nan.
    """
    try:
        tree = json.loads(text, object_pairs_hook=lambda pairs: _unique_keys(pairs, where))
        if "\\ud" in text.lower():
            json.dumps(tree, ensure_ascii=False).encode("utf-8")
    except json.JSONDecodeError as error:
        raise UserError(f"{where} is not JSON: {error.msg} at character {error.pos + 1}.") from None
    except UnicodeEncodeError:
        raise UserError(f"{where} holds half of a character (a lone surrogate); write it anew.") from None
    except (ValueError, RecursionError):
        raise UserError(f"{where} holds a number too long or lists too deep to read.") from None
    return tree


def _unique_keys(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise UserError(f"{where}: {twice!r} stands twice in one object; keep one.")
    return found


def text_facts(record: Mapping[str, Any]) -> dict[str, str]:
    """The texts and numbers among the values of `record`, as text; what is unknown is left out."""
    kept = {key: value for key, value in record.items() if isinstance(value, str | int | float)}
    return {key: str(value).strip() for key, value in kept.items() if value == value and str(value).strip()}


def _parse(line: str, where: str) -> tuple[Prediction, str]:
    record = read_json(line, where)
    if not isinstance(record, dict):
        raise UserError(f"{where} must hold a JSON object with study_id, hypothesis and reference.")
    study_id, hypothesis, reference = (
        _text(record, key, where) for key in ("study_id", "hypothesis", "reference")
    )
    controls = record.get("controls") or {}
    if not isinstance(controls, dict) or not all(isinstance(text, str) for text in controls.values()):
        raise UserError(f"{where}: controls must map names to texts.")
    language, protocol = record.get("language"), record.get("protocol", RAW)
    patient, facts = record.get("patient_id"), record.get("facts") or {}
    if not isinstance(protocol, str) or not isinstance(language, str | None):
        raise UserError(f"{where}: protocol and language must be text.")
    if not isinstance(patient, str | None) or not isinstance(facts, dict):
        raise UserError(f"{where}: patient_id must be text, and facts must map names to values.")
    prediction = Prediction(
        study_id,
        hypothesis,
        reference if reference.strip() else None,
        _truth(record.get("truth"), where),
        language,
        controls,
        patient,
        text_facts(facts),
    )
    return prediction, protocol


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


def _same_controls(first: Prediction, other: Prediction, where: str) -> None:
    """Rows of one table must be about the same studies."""
    odd = sorted(first.controls.keys() ^ other.controls.keys())
    if odd:
        raise UserError(
            f"{where} and the first line differ in the control {odd[0]!r}; draft the split again."
        )

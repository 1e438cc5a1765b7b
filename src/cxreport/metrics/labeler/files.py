"""Labels of text files with one report a line, read and written as a stream."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, BinaryIO

from cxreport.errors import UserError
from cxreport.metrics.labeler import LABELS, Language, label_report

STDIN = "-"
LONGEST_LINE = 1 << 20
"""Bytes; a longer line is no report."""


def label_lines(path: Path, language: Language = "en") -> Iterator[dict[str, Any]]:
    """``{"labels": {label: status}, "spans": [...]}`` for every line of a file, ``-`` being stdin.

    An empty line is an empty report. Raises UserError for an absent file, a line that is not UTF-8 or is
    longer than :data:`LONGEST_LINE`.
    """
    name = "stdin" if str(path) == STDIN else str(path)
    if name != "stdin" and not path.is_file():
        raise UserError(f"There is no file {path}; name a text file with one report a line, or - for stdin.")
    with nullcontext(sys.stdin.buffer) if name == "stdin" else path.open("rb") as file:
        for text in _texts(file, name):
            labelled = label_report(text, language)
            spans = [
                {
                    "label": one.label,
                    "status": one.status,
                    "start": one.start,
                    "end": one.end,
                    "text": one.text,
                    "side": one.side,
                    "severity": one.severity,
                    "cue": one.cue,
                }
                for one in labelled.mentions
            ]
            yield {"labels": labelled.labels, "spans": spans}


def count_lines(labelled: Iterable[dict[str, Any]]) -> tuple[int, dict[str, Counter[str]]]:
    """How many reports there are, and how many of them have each status of each label."""
    counts: dict[str, Counter[str]] = {label: Counter() for label in LABELS}
    reports = 0
    for record in labelled:
        reports += 1
        for label, status in record["labels"].items():
            counts[label][status] += 1
    return reports, counts


def _texts(file: BinaryIO, name: str) -> Iterator[str]:
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise UserError(f"Line {number} of {name} is longer than 1 MiB; give one report a line.")
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        try:
            yield line.rstrip(b"\r\n").decode("utf-8")
        except UnicodeDecodeError as error:
            raise UserError(
                f"Line {number} of {name} is not UTF-8 (byte {error.start + 1}); save the file as UTF-8."
            ) from None

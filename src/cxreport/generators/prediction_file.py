"""Writing ``predictions.jsonl``: whole or absent, and continued after an interruption."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cxreport.errors import UserError

Record = dict[str, Any]
"""One line of the file, see :mod:`cxreport.generators.drafting`."""


def write_predictions(records: Iterable[Record], out: Path) -> None:
    """Write `records` as a predictions file in one step; UserError where `out` cannot be written."""
    complete = out.with_name(out.name + ".tmp")
    with _explained(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            with complete.open("w", encoding="utf-8", newline="\n") as file:
                file.writelines(_line(record) for record in records)
                file.flush()
                os.fsync(file.fileno())
            os.replace(complete, out)
        finally:
            complete.unlink(missing_ok=True)


class UnfinishedFile:
    """The drafts of a run that is not complete, in ``<out>.part``.

    Its first line names, by `fingerprint`, what the drafts were made of; drafts made of anything else are
    thrown away and told in ``notes``. Every method raises UserError where the file cannot be written.
    """

    def __init__(self, out: Path, fingerprint: str) -> None:
        self.notes: list[str] = []
        self._out = out
        self._path = out.with_name(out.name + ".part")
        self._header = _line({"fingerprint": fingerprint})

    def resume(self, study_ids: Sequence[str]) -> list[Record]:
        """The records written so far, which must be the first ones of `study_ids`; starts the file anew
        where there are none.

        A half-written line at the end, and anything from the first unreadable line on, is cut off.
        """
        with _explained(self._out):
            self._out.parent.mkdir(parents=True, exist_ok=True)
            lines = self._path.read_bytes().splitlines(keepends=True) if self._path.exists() else []
            if not lines or lines[0] != self._header.encode():
                if lines:
                    self.notes.append(
                        f"{self._path} held drafts of another model, recipe or split; begun anew."
                    )
                self._path.write_text(self._header, encoding="utf-8", newline="\n")
                return []
            records = list(_readable(lines[1:], study_ids))
            os.truncate(self._path, sum(map(len, lines[: 1 + len(records)])))
            return records

    def append(self, records: Iterable[Record]) -> None:
        """Add finished records; they are on disk when this returns."""
        with _explained(self._out), self._path.open("a", encoding="utf-8", newline="\n") as file:
            file.writelines(_line(record) for record in records)

    def remove(self) -> None:
        """Delete the file, once the predictions file is complete."""
        with _explained(self._out):
            self._path.unlink(missing_ok=True)


def _readable(lines: Sequence[bytes], study_ids: Sequence[str]) -> Iterator[Record]:
    for line, study_id in zip(lines, study_ids, strict=False):
        try:
            record = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            return
        if not isinstance(record, dict) or record.get("study_id") != study_id:
            return
        yield record


def _line(record: Record) -> str:
    return json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"


@contextmanager
def _explained(out: Path) -> Iterator[None]:
    """Turn a failure of the file system into a sentence."""
    try:
        yield
    except OSError as error:
        hint = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "choose another --out"
        raise UserError(f"Cannot write the drafts to {out}: {error.strerror}; {hint}.") from None

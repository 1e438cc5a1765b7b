"""Tables of releases: CSV, JSON and JSON lines, plain or gzipped, streamed, within limits.

Every failure is a :class:`cxreport.errors.UserError` that names the file; a row that cannot be used is
counted. JSON may hold the bare ``NaN`` that pandas writes; it becomes None.
"""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import json
import textwrap
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, cast

from cxreport.data.exclusions import Exclusions
from cxreport.errors import UserError

MAX_TABLE_BYTES = 4 << 30
"""Unpacked; the largest official table, that of CheXpert Plus, has less than a gigabyte."""
MAX_JSON_BYTES = 1 << 30
"""A JSON file is held in memory as a whole."""
MAX_FIELD = 1 << 20
"""Characters of one field."""

Encoding = Literal["utf-8", "gb18030"]
"""Of a table; Chinese spreadsheets save GB 18030."""

_CODECS = {"utf-8": "utf-8-sig", "gb18030": "gb18030"}


class Row(NamedTuple):
    """The asked fields of a row, stripped, and a name for it in messages, such as ``line 7``."""

    name: str
    fields: dict[str, str]


def read_csv(
    path: Path,
    columns: Sequence[str],
    left_out: Exclusions,
    *,
    optional: Sequence[str] = (),
    encoding: Encoding = "utf-8",
) -> Iterator[Row]:
    """The rows of a CSV with a header; ``.gz`` is unpacked on the way.

    An absent `optional` column gives empty fields; an absent one of `columns` is an error that names the
    nearest. A row with the wrong number of fields is counted in `left_out`.
    """
    with _explained(path, "CSV"), _opened(path, MAX_TABLE_BYTES) as binary:
        csv.field_size_limit(MAX_FIELD)
        file = io.TextIOWrapper(cast(IO[bytes], binary), encoding=_CODECS[encoding], newline="")
        reader = csv.reader(file, strict=True)
        header = [name.strip() for name in next(reader, [])]
        if not header:
            raise UserError(f"{path} is empty; it needs a header and a row per image.")
        places = {column: place_of(column, header, path) for column in columns}
        places |= {column: header.index(column) for column in optional if header.count(column) == 1}
        absent = dict.fromkeys((column for column in optional if column not in places), "")
        for row in reader:
            if len(row) == len(header):
                fields = {column: row[place].strip() for column, place in places.items()}
                yield Row(f"line {reader.line_num}", fields | absent)
            elif row:
                left_out.add(f"line {reader.line_num}", "wrong number of fields")


def header_of(path: Path, encoding: Encoding = "utf-8") -> list[str]:
    """The names of the columns of a CSV; empty for an empty file."""
    with _explained(path, "CSV"), _opened(path, MAX_TABLE_BYTES) as binary:
        file = io.TextIOWrapper(cast(IO[bytes], binary), encoding=_CODECS[encoding], newline="")
        return [name.strip() for name in next(csv.reader(file, strict=True), [])]


def place_of(column: str, header: Sequence[str], path: Path) -> int:
    """Where `column` stands in `header`; UserError when it is absent or stands there more than once."""
    if header.count(column) == 1:
        return header.index(column)
    if column in header:
        raise UserError(f"{path} has the column {column} {header.count(column)} times; rename all but one.")
    lowered = {name.lower(): name for name in reversed(header)}
    near = difflib.get_close_matches(column.lower(), lowered, n=1, cutoff=0.4)
    hint = f" Did you mean {listed([lowered[near[0]]])}?" if near else ""
    raise UserError(f"{path} has no column {column}; its columns are {listed(header)}.{hint}")


def listed(header: Sequence[str]) -> str:
    """The names of columns on one line, the end of a long list left out."""
    return textwrap.shorten(", ".join(header), 1000, placeholder=" ...")


def read_json(path: Path, *, keep_nan: bool = False) -> Any:
    """The tree of a JSON file; ``NaN`` and infinities become None, or numbers with `keep_nan`."""
    with _explained(path, "JSON"), _opened(path, MAX_JSON_BYTES) as file:
        text = file.read().decode("utf-8-sig")
        return json.loads(text) if keep_nan else _parsed(text)


def read_json_lines(path: Path, left_out: Exclusions) -> Iterator[dict[str, Any]]:
    """The object in every line of `path`; a line that holds none is counted in `left_out`."""
    with _explained(path, "JSON lines"), _opened(path, MAX_TABLE_BYTES) as binary:
        file = io.TextIOWrapper(cast(IO[bytes], binary), encoding="utf-8-sig")
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                tree = _parsed(line)
            except (ValueError, RecursionError):
                tree = None
            if isinstance(tree, dict):
                yield tree
            else:
                left_out.add(f"line {number} of {path.name}", "not a JSON object")


def read_text(path: Path, limit: int = MAX_FIELD) -> str:
    """The text in a small file in UTF-8; UserError when it is absent, longer than `limit` or not UTF-8."""
    with _explained(path, "text"), _opened(path, limit) as file:
        return file.read().decode("utf-8-sig")


def text_of(tree: Mapping[str, Any], *names: str) -> str:
    """The text under the first of `names` that `tree` has, stripped; empty where it is no text."""
    value = next((tree[name] for name in names if tree.get(name) is not None), "")
    return value.strip() if isinstance(value, str) else ""


def _parsed(text: str) -> Any:
    tree = json.loads(text, parse_constant=lambda _: None)
    return _encodable(tree) if "\\ud" in text.lower() else tree


def _encodable(tree: Any) -> Any:
    """`tree` with every half of a surrogate pair, which no UTF-8 file can hold, turned into U+FFFD."""
    if isinstance(tree, str):
        return tree.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(tree, list):
        return [_encodable(value) for value in tree]
    if isinstance(tree, dict):
        return {_encodable(key): _encodable(value) for key, value in tree.items()}
    return tree


class _Limited(io.RawIOBase):
    """A stream that refuses to give more than `limit` bytes."""

    def __init__(self, stream: IO[bytes], path: Path, limit: int) -> None:
        self._stream, self._path, self._limit, self._left = stream, path, limit, limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            size = f"{self._limit >> 20} MiB" if self._limit >= 1 << 20 else f"{self._limit} bytes"
            raise UserError(f"{self._path} holds more than the {size} that are read.")
        buffer[: len(data)] = data
        return len(data)


@contextmanager
def _opened(path: Path, limit: int) -> Iterator[io.BufferedReader]:
    with path.open("rb") as plain:
        packed = path.suffix == ".gz"
        stream = gzip.GzipFile(fileobj=plain) if packed else plain
        yield io.BufferedReader(_Limited(cast(IO[bytes], stream), path, limit), 1 << 16)


@contextmanager
def _explained(path: Path, kind: str) -> Iterator[None]:
    """Turn a failure to read `path` as `kind` into a sentence."""
    try:
        yield
    except gzip.BadGzipFile:
        raise UserError(f"{path} is not a gzip file, whatever its name says; fetch it again.") from None
    except (EOFError, zlib.error):
        raise UserError(f"{path} is cut off or damaged; fetch it again.") from None
    except OSError as error:
        raise UserError(f"Cannot read the {kind} {path}: {error.strerror or error}.") from None
    except UnicodeDecodeError as error:
        codec = error.encoding.upper().removesuffix("-SIG")
        raise UserError(f"{path} is not {codec} (byte {error.start}); save it as {codec}.") from None
    except (csv.Error, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not a {kind} file ({error}).") from None

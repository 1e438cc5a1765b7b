"""Arrow files of a split and the two files that make their folder a Hugging Face dataset."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from cxreport.data.rows import SCHEMA
from cxreport.data.splits import sha256_of_ids

BATCH_BYTES = 32 * 2**20
"""Rows are held back until their images fill one record batch of about this size."""


class Shard:
    """One Arrow stream file, written batch by batch; also the ids and the digests of its rows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ids: list[str] = []
        self.digests: list[str] = []
        self.bytes = 0
        self._rows: list[dict[str, Any]] = []
        self._row_bytes = 0
        self._sink = pa.OSFile(str(path), "wb")
        self._stream: pa.RecordBatchStreamWriter | None = None

    def add(self, row: dict[str, Any]) -> None:
        """Append a row of :data:`cxreport.data.rows.SCHEMA`."""
        self.ids.append(row["study_id"])
        self.digests.append(digest_of(row))
        self._rows.append(row)
        size = sum(len(view["image"]) for view in row["views"]) + 4096
        self._row_bytes += size
        self.bytes += size
        if self._row_bytes >= BATCH_BYTES:
            self._flush()

    def close(self) -> None:
        """Write what is left and wait until the disk has it."""
        self._flush()
        self.abandon()
        sync(self.path)

    def abandon(self) -> None:
        """Close the file as it is."""
        stream, self._stream = self._stream, None
        try:
            if stream is not None:
                stream.close()
        finally:
            self._sink.close()

    def _flush(self) -> None:
        if self._stream is None:
            self._stream = pa.ipc.new_stream(self._sink, SCHEMA)
        if self._rows:
            self._stream.write_batch(pa.RecordBatch.from_pylist(self._rows, SCHEMA))
        self._rows, self._row_bytes = [], 0


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a shard, one record batch in memory at a time."""
    with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as stream:
        for batch in stream:
            for place in range(batch.num_rows):
                yield batch.slice(place, 1).to_pylist()[0]


def read_row(path: Path, place: int) -> dict[str, Any]:
    """Row number `place` of a shard."""
    with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as stream:
        for batch in stream:
            if place < batch.num_rows:
                row: dict[str, Any] = batch.slice(place, 1).to_pylist()[0]
                return row
            place -= batch.num_rows
    raise IndexError(f"{path} has no row {place}")


def shard_name(number: int) -> str:
    """File name of shard `number` of a split."""
    return f"data-{number:05d}.arrow"


def finish_split(
    folder: Path, shards: Sequence[str], ids: Sequence[str], digests: Sequence[str]
) -> dict[str, Any]:
    """Make `folder` with its files `shards` a Hugging Face dataset.

    Returns what ``dataset.json`` says of the split: ``count``, ``ids_sha256`` and ``content_sha256``.
    """
    from datasets import Features

    content = content_sha256(digests)
    state: dict[str, Any] = {
        "_data_files": [{"filename": name} for name in shards],
        "_fingerprint": content[:16],
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": folder.name,
    }
    features = {"features": Features.from_arrow_schema(SCHEMA).to_dict()}
    write_json(folder / "dataset_info.json", features)
    write_json(folder / "state.json", state)
    return {"count": len(ids), "ids_sha256": sha256_of_ids(ids), "content_sha256": content}


def digest_of(row: Mapping[str, Any]) -> str:
    """SHA-256 of everything in a row but the patient id, which may be salted anew at every import."""
    images = [hashlib.sha256(view["image"]).hexdigest() for view in row["views"]]
    views = [{**view, "image": digest} for view, digest in zip(row["views"], images, strict=True)]
    text = json.dumps({**row, "views": views, "patient_id": None}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def content_sha256(digests: Sequence[str]) -> str:
    """SHA-256 of a split: of the digests of its rows, joined by newlines."""
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def write_json(path: Path, tree: Any) -> None:
    """Write `tree` so that `path` is either absent or whole, even after a power cut."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(tree, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    sync(part)
    part.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Wait until the disk has the file, or the folder where the system can wait for one."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Prepared datasets on disk: ``dataset.json`` beside one Hugging Face ``datasets`` folder per split."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import pyarrow as pa

from cxreport.data.exclusions import Exclusions
from cxreport.data.rows import SCHEMA, from_row, to_row
from cxreport.data.splits import sha256_of_ids
from cxreport.errors import UserError
from cxreport.study import SPLITS, Report, Study

if TYPE_CHECKING:
    from datasets import Dataset

FORMAT = "cxreport.dataset/1"
_BATCH_BYTES = 32 * 2**20
_SHARD_BYTES = 2**30


def write_dataset(
    studies: Iterable[Study],
    out: Path,
    *,
    source: str,
    source_version: str,
    options: dict[str, Any],
    exclusions: Exclusions | None = None,
    total: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> PreparedDataset:
    """Write `studies`, each with its split set, as a prepared dataset into `out`.

    Studies are written as they come; at no time is more than one batch (32 MiB) in memory. Everything
    goes into a hidden sibling of `out` that takes its name when complete, so a dataset folder is whole or
    absent.

    Args:
        studies: the studies in the order that the splits keep.
        out: absent, or an empty folder.
        source, source_version: where the studies come from.
        options: JSON-like settings of the import, such as the section policy; part of the hash.
        exclusions: what the source left out; it may still grow while `studies` runs.
        total: how many studies are expected; UserError when another number comes.
        progress: called with the number of studies written so far.

    Raises:
        UserError: `out` is not free or cannot be written (or the disk is full), there is no study, a study
            has no view or no split, a study id comes twice, or a patient stands in two splits.
    """
    out = Path(out)
    with _explained(out):
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UserError(f"{out} already exists and is not an empty folder; choose another --out.")
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = out.parent / f".{out.name}.{uuid.uuid4().hex[:8]}.partial"
        partial.mkdir()
    try:
        splits = _write_splits(studies, partial, out, progress)
        written = sum(len(split.ids) for split in splits.values())
        left_out = exclusions if exclusions is not None else Exclusions()
        if not written:
            raise UserError(f"No study to write to {out} ({left_out.summary()}).")
        if total is not None and written != total:
            raise UserError(f"{source} promised {total} studies for {out} but gave {written}.")
        info = {
            "format": FORMAT,
            "source": source,
            "source_version": source_version,
            "options": options,
            "splits": {name: splits[name].summary() for name in SPLITS if name in splits},
            "exclusions": left_out.as_json(),
        }
        with _explained(out):
            (partial / "dataset.json").write_text(json.dumps(info, indent=1, ensure_ascii=False) + "\n")
            if out.exists():
                out.rmdir()
            partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return PreparedDataset.open(out)


class PreparedDataset:
    """A prepared dataset; :meth:`open` reads ``dataset.json``, a split is mapped when it is asked for.

    Attributes:
        path: the folder.
        info: ``dataset.json`` as a dict: format, source, source_version, options, exclusions and, per
            split, count, ids_sha256 and content_sha256.
        sha256: hex digest over source, options and the two digests of every split, the same for every
            writing of the same studies.
        splits: names of the splits that exist, in the order train, val, test.
    """

    def __init__(self, path: Path, info: dict[str, Any]) -> None:
        self.path = path
        self.info = info
        self.splits: tuple[str, ...] = tuple(info["splits"])
        identity = {key: info[key] for key in ("format", "source", "source_version", "options", "splits")}
        self.sha256: str = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    @classmethod
    def open(cls, path: Path | str) -> PreparedDataset:
        """Open the dataset in `path`; UserError when there is none, or a broken or a newer one."""
        path = Path(path)
        try:
            info = json.loads((path / "dataset.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(
                f"{path} is not a prepared dataset (no dataset.json); make one with `cxreport phantom make` "
                "or `cxreport data import`."
            ) from None
        except OSError as error:
            raise UserError(f"Cannot read {path / 'dataset.json'}: {error.strerror}.") from None
        except ValueError:
            raise UserError(f"{path / 'dataset.json'} is damaged (not JSON); prepare it again.") from None
        if not isinstance(info, dict) or info.get("format") != FORMAT:
            raise UserError(f"{path / 'dataset.json'} is not of the format {FORMAT}; prepare it again.")
        missing = {"source", "source_version", "options", "splits", "exclusions"} - info.keys()
        if missing or not isinstance(info["splits"], dict) or not info["splits"]:
            what = f"no {', '.join(sorted(missing))}" if missing else "no splits"
            raise UserError(f"{path / 'dataset.json'} is damaged ({what}); prepare it again.")
        for split in info["splits"]:
            if not (path / split / "state.json").is_file():
                raise UserError(f"{path} is damaged: its folder {split} is incomplete; prepare it again.")
        return cls(path, info)

    def split(self, name: str) -> Studies:
        """The studies of one split, read from disk as they are asked for; UserError when there are none."""
        if name not in self.splits:
            raise UserError(f"{self.path} has no {name} split (it has: {', '.join(self.splits)}).")
        from datasets import load_from_disk

        try:
            dataset = load_from_disk(str(self.path / name), keep_in_memory=False)
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowInvalid) as error:
            raise UserError(
                f"The {name} split of {self.path} cannot be read ({_first_line(error)}); prepare it again."
            ) from None
        count = self.info["splits"][name]["count"]
        if len(dataset) != count or set(dataset.column_names) != set(SCHEMA.names):
            raise UserError(
                f"The {name} split of {self.path} is not what dataset.json says; prepare it again."
            )
        return Studies(dataset)

    @property
    def exclusions(self) -> Exclusions:
        """What was left out when the dataset was made."""
        return Exclusions.from_json(self.info["exclusions"])


class Studies(Sequence[Study]):
    """The studies of a split; a row is read and decoded on access, images stay encoded."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    @overload
    def __getitem__(self, index: int) -> Study: ...
    @overload
    def __getitem__(self, index: slice) -> Studies: ...
    def __getitem__(self, index: int | slice) -> Study | Studies:
        if isinstance(index, slice):
            return self.select(range(*index.indices(len(self))))
        if not -len(self) <= index < len(self):
            raise IndexError(f"study {index} of {len(self)}")
        return from_row(self._dataset[int(index) % len(self)])

    def select(self, indices: Iterable[int]) -> Studies:
        """The studies at `indices`, in that order, still on disk."""
        return Studies(self._dataset.select(list(indices), keep_in_memory=True))

    @property
    def study_ids(self) -> list[str]:
        """All study ids, without reading an image."""
        return list(self._dataset.select_columns("study_id")["study_id"])

    @property
    def reports(self) -> list[Report]:
        """All reports, without reading an image."""
        return [Report(**report) for report in self._dataset.select_columns("report")["report"]]


class _SplitWriter:
    """One split as Arrow stream shards, with what dataset.json says about it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.ids: list[str] = []
        self._folder = folder
        self._content = hashlib.sha256()
        self._rows: list[dict[str, Any]] = []
        self._row_bytes = 0
        self._shards: list[str] = []
        self._shard_bytes = 0
        self._sink: pa.NativeFile | None = None
        self._stream: pa.RecordBatchStreamWriter | None = None

    def add(self, study: Study) -> None:
        row = to_row(study)
        self.ids.append(study.study_id)
        self._content.update(_content_of(row))
        self._rows.append(row)
        self._row_bytes += sum(len(view.image) for view in study.views) + 4096
        if self._row_bytes >= _BATCH_BYTES:
            self._flush()

    def finish(self) -> None:
        from datasets import Features

        self._flush()
        self.close()
        state: dict[str, Any] = {
            "_data_files": [{"filename": name} for name in self._shards],
            "_fingerprint": self._content.hexdigest()[:16],
            "_format_columns": None,
            "_format_kwargs": {},
            "_format_type": None,
            "_output_all_columns": False,
            "_split": self._folder.name,
        }
        features = {"features": Features.from_arrow_schema(SCHEMA).to_dict()}
        (self._folder / "dataset_info.json").write_text(json.dumps(features, indent=1))
        (self._folder / "state.json").write_text(json.dumps(state, indent=1))

    def close(self) -> None:
        stream, sink, self._stream, self._sink = self._stream, self._sink, None, None
        if stream is not None and sink is not None:
            try:
                stream.close()
            finally:
                sink.close()
        self._shard_bytes = 0

    def summary(self) -> dict[str, Any]:
        return {
            "count": len(self.ids),
            "ids_sha256": sha256_of_ids(self.ids),
            "content_sha256": self._content.hexdigest(),
        }

    def _flush(self) -> None:
        if not self._rows:
            return
        if self._stream is None:
            self._shards.append(f"data-{len(self._shards):05d}.arrow")
            self._sink = pa.OSFile(str(self._folder / self._shards[-1]), "wb")
            self._stream = pa.ipc.new_stream(self._sink, SCHEMA)
        self._stream.write_batch(pa.RecordBatch.from_pylist(self._rows, SCHEMA))
        self._shard_bytes += self._row_bytes
        self._rows, self._row_bytes = [], 0
        if self._shard_bytes >= _SHARD_BYTES:
            self.close()


def _write_splits(
    studies: Iterable[Study], partial: Path, out: Path, progress: Callable[[int], None] | None
) -> dict[str, _SplitWriter]:
    writers: dict[str, _SplitWriter] = {}
    try:
        for count, study in enumerate(_checked(studies), start=1):
            with _explained(out):
                if study.split not in writers:
                    writers[str(study.split)] = _SplitWriter(partial / str(study.split))
                writers[str(study.split)].add(study)
            if progress is not None:
                progress(count)
        with _explained(out):
            for writer in writers.values():
                writer.finish()
    except BaseException:
        for writer in writers.values():
            _close_after_failure(writer)
        raise
    return writers


def _checked(studies: Iterable[Study]) -> Iterator[Study]:
    """Pass studies on while they obey the rules of a dataset."""
    seen: set[str] = set()
    split_of_patient: dict[str, str] = {}
    for study in studies:
        if not study.study_id or not study.patient_id:
            raise UserError(f"A study needs a study id and a patient id (study {study.study_id!r}).")
        if study.study_id in seen:
            raise UserError(f"The study id {study.study_id} comes twice; ids must be unique.")
        if not study.views:
            raise UserError(f"Study {study.study_id} has no view; leave it out and count it.")
        if study.split not in SPLITS:
            raise UserError(f"Study {study.study_id} has the split {study.split!r}, not one of {SPLITS}.")
        if split_of_patient.setdefault(study.patient_id, study.split) != study.split:
            raise UserError(
                f"The patient of study {study.study_id} is in two splits ({study.split} and "
                f"{split_of_patient[study.patient_id]}); split by patient."
            )
        seen.add(study.study_id)
        yield study


def _content_of(row: Mapping[str, Any]) -> bytes:
    """What is hashed of a row: everything but the patient id, which may be salted anew at every import."""
    images = [hashlib.sha256(view["image"]).hexdigest() for view in row["views"]]
    views = [{**view, "image": digest} for view, digest in zip(row["views"], images, strict=True)]
    return json.dumps({**row, "views": views, "patient_id": None}, sort_keys=True).encode()


@contextmanager
def _explained(out: Path) -> Iterator[None]:
    """Turn a failure of the file system into a sentence."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        hint = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "choose another --out"
        raise UserError(f"Cannot write the dataset to {out}: {reason}; {hint}.") from error


def _close_after_failure(writer: _SplitWriter) -> None:
    try:
        writer.close()
    except OSError:
        # The failure that brought us here is on its way to the user; closing a full disk fails again.
        return


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]

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

import numpy as np
import pyarrow as pa

from cxreport.data.exclusions import Exclusions
from cxreport.data.rows import SCHEMA, from_row, to_row
from cxreport.data.shards import Shard, finish_split, shard_name, sync, write_json
from cxreport.errors import UserError
from cxreport.study import SPLITS, Finding, Report, SidedKind, Study, sided_kinds

if TYPE_CHECKING:
    from datasets import Dataset

FORMAT = "cxreport.dataset/2"
SHARD_BYTES = 2**30


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
            has no split, or no view although ``options["text_only"]`` is not set, a study id comes twice, or
            a patient stands in two splits.
    """
    out = Path(out)
    with explained(out):
        check_free(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = out.parent / f".{out.name}.{uuid.uuid4().hex[:8]}.partial"
        partial.mkdir()
    try:
        splits = _write_splits(studies, partial, out, bool(options.get("text_only")), progress)
        written = sum(split["count"] for split in splits.values())
        left_out = exclusions if exclusions is not None else Exclusions()
        if not written:
            raise UserError(f"No study to write to {out} ({left_out.summary()}).")
        if total is not None and written != total:
            raise UserError(f"{source} promised {total} studies for {out} but gave {written}.")
        info = description(source, source_version, options, splits, left_out)
        with explained(out):
            write_json(partial / "dataset.json", info)
            publish(partial, out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return PreparedDataset.open(out)


def description(
    source: str,
    source_version: str,
    options: Mapping[str, Any],
    splits: Mapping[str, Any],
    exclusions: Exclusions,
    warnings: Sequence[str] = (),
    image_warnings: Sequence[str] = (),
) -> dict[str, Any]:
    """What ``dataset.json`` holds; the two lists of warnings are sentences."""
    return {
        "format": FORMAT,
        "source": source,
        "source_version": source_version,
        "options": dict(options),
        "splits": dict(splits),
        "exclusions": exclusions.as_json(),
        "warnings": list(warnings),
        "image_warnings": list(image_warnings),
    }


def check_free(out: Path) -> None:
    """UserError unless a dataset can take the name `out`: absent, or an empty folder."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} already exists and is not an empty folder; choose another --out.")


def publish(partial: Path, out: Path) -> None:
    """Give the complete folder `partial` the name `out`."""
    if out.exists():
        out.rmdir()
    partial.rename(out)
    sync(out.parent)


class PreparedDataset:
    """A prepared dataset; :meth:`open` reads ``dataset.json``, a split is mapped when it is asked for.

    Attributes:
        path: the folder.
        info: ``dataset.json`` as a dict: format, source, source_version, options, exclusions, warnings,
            image_warnings and, per split, count, ids_sha256 and content_sha256.
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
        missing = description("", "", {}, {}, Exclusions()).keys() - info.keys()
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

    def need_images(self) -> None:
        """UserError when the dataset was imported without images."""
        if self.info["options"].get("text_only"):
            raise UserError(f"{self.path} was imported with --text-only; import it again with its images.")

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

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows of :data:`cxreport.data.rows.SCHEMA` as they lie on disk, one at a time."""
        try:
            yield from self._dataset
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise UserError(f"A split cannot be read ({_first_line(error)}); prepare it again.") from None

    @property
    def study_ids(self) -> list[str]:
        """All study ids, without reading an image."""
        return list(self._dataset.select_columns("study_id")["study_id"])

    @property
    def patient_ids(self) -> list[str]:
        """All patient ids, without reading an image."""
        return list(self._dataset.select_columns("patient_id")["patient_id"])

    @property
    def reports(self) -> list[Report]:
        """All reports, without reading an image."""
        return [Report(**report) for report in self._dataset.select_columns("report")["report"]]

    @property
    def projections(self) -> list[list[str | None]]:
        """The projections of every study's views, without copying an image."""
        tables = self._dataset.select_columns("views").with_format("arrow").iter(batch_size=256)
        found: list[list[str | None]] = []
        for table in tables:
            for chunk in table["views"].chunks:
                names = chunk.flatten().field("projection").to_pylist()
                ends = np.cumsum(chunk.value_lengths().to_numpy(zero_copy_only=False)).tolist()
                found += [names[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        return found

    @property
    def finding_kinds(self) -> list[list[str] | None]:
        """The kinds of every study's findings, None where its truth is not known."""
        column = self._dataset.select_columns("findings")["findings"]
        return [None if found is None else [finding["kind"] for finding in found] for found in column]

    @property
    def sided_kinds(self) -> list[frozenset[SidedKind] | None]:
        """What every study has, as :func:`cxreport.study.sided_kinds` counts it, without reading an image."""
        column = self._dataset.select_columns("findings")["findings"]
        return [
            None if found is None else sided_kinds(Finding(each["kind"], each["side"]) for each in found)
            for found in column
        ]

    @property
    def labels(self) -> list[dict[str, int]]:
        """All labels, without reading an image."""
        column = self._dataset.select_columns("labels")["labels"]
        return [{label["name"]: label["value"] for label in labels} for labels in column]


class _SplitWriter:
    """One split as a row of shards of at most about :data:`SHARD_BYTES`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._shards: list[Shard] = []

    def add(self, study: Study) -> None:
        if not self._shards or self._shards[-1].bytes >= SHARD_BYTES:
            self._close_last()
            self._shards.append(Shard(self._folder / shard_name(len(self._shards))))
        self._shards[-1].add(to_row(study))

    def finish(self) -> dict[str, Any]:
        self._close_last()
        ids = [study_id for shard in self._shards for study_id in shard.ids]
        digests = [digest for shard in self._shards for digest in shard.digests]
        return finish_split(self._folder, [shard.path.name for shard in self._shards], ids, digests)

    def abandon(self) -> None:
        if self._shards:
            self._shards[-1].abandon()

    def _close_last(self) -> None:
        if self._shards:
            self._shards[-1].close()


def _write_splits(
    studies: Iterable[Study],
    partial: Path,
    out: Path,
    text_only: bool,
    progress: Callable[[int], None] | None,
) -> dict[str, dict[str, Any]]:
    """Write every study into its split; returns what ``dataset.json`` says of the splits."""
    writers: dict[str, _SplitWriter] = {}
    try:
        for count, study in enumerate(_checked(studies, text_only), start=1):
            with explained(out):
                if study.split not in writers:
                    writers[str(study.split)] = _SplitWriter(partial / str(study.split))
                writers[str(study.split)].add(study)
            if progress is not None:
                progress(count)
        with explained(out):
            return {name: writers[name].finish() for name in SPLITS if name in writers}
    except BaseException:
        for writer in writers.values():
            _abandon_after_failure(writer)
        raise


def _checked(studies: Iterable[Study], text_only: bool) -> Iterator[Study]:
    """Pass studies on while they obey the rules of a dataset."""
    seen: set[str] = set()
    split_of_patient: dict[str, str] = {}
    for study in studies:
        if not study.study_id or not study.patient_id:
            raise UserError(f"A study needs a study id and a patient id (study {study.study_id!r}).")
        if study.study_id in seen:
            raise UserError(f"The study id {study.study_id} comes twice; ids must be unique.")
        if not study.views and not text_only:
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


@contextmanager
def explained(out: Path, then: str = "") -> Iterator[None]:
    """Turn a failure of the file system into a sentence; `then` says what to do after making room."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = f"free some space{then}" if full else "choose another --out"
        raise UserError(f"Cannot write the dataset to {out}: {reason}; {hint}.") from error


def _abandon_after_failure(writer: _SplitWriter) -> None:
    try:
        writer.abandon()
    except OSError:
        # The failure that brought us here is on its way to the user; closing a full disk fails again.
        return


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]

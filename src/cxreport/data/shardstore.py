"""The shards of an import: written once, noted when finished, taken over after a kill."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cxreport.data.exclusions import Excluded, Exclusions
from cxreport.data.images import ImageFormat
from cxreport.data.plan import Plan, Planned, ShardPlan
from cxreport.data.reading import ImageTask, ReadImage, died, read
from cxreport.data.rows import metadata_text, view_row
from cxreport.data.shards import Shard, finish_split, shard_name, sync, write_json
from cxreport.data.sources import Release
from cxreport.data.store import description
from cxreport.data.workers import in_order
from cxreport.study import SPLITS

Progress = Callable[[str, int, int], None]
DATASET = "dataset"
"""Folder of the shards in the partial folder of an import; renamed to the dataset at the end."""
FINISHED = "finished"
"""Folder of the notes of finished shards in the partial folder of an import."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a finished shard holds and left out; kept beside it as JSON, so that it is not done again.

    ``hashes`` has a perceptual hash in hex per view of every study, or nothing where none was asked for.
    """

    digest: str
    ids: list[str] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    hashes: list[list[str]] = field(default_factory=list)
    exclusions: list[list[str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class ShardStore:
    """The shards of one import in its partial folder."""

    def __init__(
        self, plan: Plan, partial: Path, max_side: int | None, image_format: ImageFormat, text_only: bool
    ) -> None:
        self.folder = partial / DATASET
        self._finished = partial / FINISHED
        self.plan = plan
        self._max_side, self._image_format, self._text_only = max_side, image_format, text_only

    def write_all(self, workers: int, progress: Progress | None) -> list[Written]:
        """Write the shards that are not there yet; returns all of them in order."""
        self._clear()
        there = [self._kept(shard) for shard in self.plan.shards]
        missing = [shard for shard, kept in zip(self.plan.shards, there, strict=True) if kept is None]
        total = sum(shard.images for shard in self.plan.shards)
        done = total - sum(shard.images for shard in missing)

        def counted(images: Iterator[ReadImage]) -> Iterator[ReadImage]:
            nonlocal done
            for image in images:
                done += 1
                if progress is not None:
                    progress("images", done, total)
                yield image

        if progress is not None and total:
            progress("images", done, total)
        with closing(in_order(read, self._tasks(missing), workers, died)) as images:
            fresh = [self._write(shard, counted(images)) for shard in missing]
        return [kept if kept is not None else fresh.pop(0) for kept in there]

    def left_out(self, of_source: Exclusions, written: Sequence[Written]) -> Exclusions:
        """Everything left out, by the source and by the reading of images."""
        everything = Exclusions()
        everything.items += of_source.items
        for shard in written:
            for item, reason, detail in shard.exclusions:
                everything.add(item, reason, detail)
        return everything

    def finish(
        self, release: Release, options: Mapping[str, Any], written: Sequence[Written]
    ) -> dict[str, Any]:
        """Complete the folders of the splits; returns what ``dataset.json`` is to hold."""
        splits: dict[str, Any] = {}
        for split in SPLITS:
            parts = [
                (shard_name(shard.number), done)
                for shard, done in zip(self.plan.shards, written, strict=True)
                if shard.split == split
            ]
            ids = [study for _, done in parts for study in done.ids]
            digests = [digest for _, done in parts for digest in done.digests]
            if ids:
                splits[split] = finish_split(self.folder / split, [name for name, _ in parts], ids, digests)
            else:
                shutil.rmtree(self.folder / split, ignore_errors=True)
        return description(
            release.source,
            release.version,
            options,
            splits,
            self.left_out(release.exclusions, written),
            release.warnings,
            [warning for done in written for warning in done.warnings],
        )

    def _clear(self) -> None:
        """Make the folders, and remove what belongs to no shard of the plan."""
        self.folder.mkdir(exist_ok=True)
        self._finished.mkdir(exist_ok=True)
        wanted = set()
        for shard in self.plan.shards:
            self.arrow(shard).parent.mkdir(parents=True, exist_ok=True)
            wanted |= {self.arrow(shard), self._note(shard)}
        for path in [*self.folder.glob("*/*"), *self.folder.glob("*.*"), *self._finished.iterdir()]:
            if path not in wanted:
                path.unlink()

    def _kept(self, shard: ShardPlan) -> Written | None:
        """The shard as an earlier import finished it from the same records; None otherwise."""
        if not self._note(shard).is_file() or not self.arrow(shard).is_file():
            return None
        written = Written(**json.loads(self._note(shard).read_text(encoding="utf-8")))
        return written if written.digest == shard.digest else None

    def _tasks(self, shards: Sequence[ShardPlan]) -> Iterator[ImageTask]:
        if self._text_only:
            return
        hashed = self.plan.split_by == "patient"
        for shard in shards:
            for record in self.plan.records(shard):
                for image in record.images:
                    yield ImageTask(image, self._max_side, self._image_format, hashed)

    def _write(self, shard: ShardPlan, images: Iterator[ReadImage]) -> Written:
        left_out = Exclusions()
        warnings: list[str] = []
        hashes: list[list[str]] = []

        def rows() -> Iterator[dict[str, Any]]:
            for record in self.plan.records(shard):
                row = self._row(record, images, left_out, warnings, hashes)
                if row is not None:
                    yield row

        return self.replace(shard, rows(), left_out, warnings, hashes)

    def replace(
        self,
        shard: ShardPlan,
        rows: Iterable[dict[str, Any]],
        left_out: Iterable[Excluded],
        warnings: list[str],
        hashes: list[list[str]],
    ) -> Written:
        """Write `rows` as `shard`, then the note that makes it a finished one.

        `left_out`, `warnings` and `hashes` may grow while `rows` runs. What stood there counts as
        unfinished from the start.
        """
        path = self.arrow(shard)
        self._note(shard).unlink(missing_ok=True)
        arrow = Shard(path.with_suffix(".part"))
        try:
            for row in rows:
                arrow.add(row)
            arrow.close()
        except BaseException:
            with suppress(OSError):
                arrow.abandon()
            raise
        arrow.path.replace(path)
        sync(path.parent)
        items = [list(excluded) for excluded in left_out]
        written = Written(shard.digest, arrow.ids, arrow.digests, hashes, items, warnings)
        write_json(self._note(shard), asdict(written))
        return written

    def _row(
        self,
        record: Planned,
        images: Iterator[ReadImage],
        left_out: Exclusions,
        warnings: list[str],
        hashes: list[list[str]],
    ) -> dict[str, Any] | None:
        """The complete row of `record`; None, counted, where none of its images can be read."""
        if self._text_only:
            for image in record.images:
                if not image.path.is_file():
                    left_out.add(image.name, "no such image file")
            return {**record.row, "views": []}
        results = [(image.name, next(images)) for image in record.images]
        bad = Exclusions()
        for name, result in results:
            if result.view is None:
                bad.add(name, result.reason, result.detail)
        read_images = [result for _, result in results if result.view is not None]
        if not read_images:
            details = " ".join(detail for _, _, detail in bad)
            left_out.add(record.row["study_id"], "no readable image", details)
            return None
        left_out.items += bad.items
        hashes.append([result.hash for result in read_images if result.hash])
        row = {**record.row, "views": [view_row(result.view) for result in read_images if result.view]}
        notes = [warning for _, result in results for warning in result.warnings]
        metadata = json.loads(row["metadata"])
        if notes:
            metadata["warnings"] = [*metadata.get("warnings", []), *notes]
            row["metadata"] = metadata_text(metadata)
        warnings += metadata.get("warnings", [])
        return row

    def arrow(self, shard: ShardPlan) -> Path:
        return self.folder / shard.split / shard_name(shard.number)

    def _note(self, shard: ShardPlan) -> Path:
        return self._finished / f"{shard.split}-{shard.number:05d}.json"

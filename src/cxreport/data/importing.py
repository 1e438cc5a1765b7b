"""From a release to a prepared dataset: images read once on all cores, in shards that survive a kill."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from cxreport.data.exclusions import Exclusions
from cxreport.data.images import ImageFormat
from cxreport.data.plan import Plan, Planned, ShardPlan, SplitBy, make_plan
from cxreport.data.reading import ImageTask, ReadImage, died, read
from cxreport.data.rows import metadata_text, view_row
from cxreport.data.shards import Shard, finish_split, shard_name, sync, write_json
from cxreport.data.sources import Release
from cxreport.data.splits import SHARES
from cxreport.data.store import FORMAT, PreparedDataset, check_free, description, explained, publish
from cxreport.data.workers import cores, in_order
from cxreport.errors import UserError
from cxreport.study import SPLITS

Progress = Callable[[str, int, int], None]
RESUME = " and run the same command again, which goes on where it stopped"


def import_release(
    release: Release,
    out: Path,
    *,
    split: SplitBy = "official",
    seed: int = 9223,
    shares: Sequence[float] = SHARES,
    max_side: int | None = None,
    image_format: ImageFormat = "png",
    keep_identifiers: bool = False,
    text_only: bool = False,
    salt: str | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> PreparedDataset:
    """Write the studies of `release` as a prepared dataset into `out`.

    Every image is decoded once, shrunk and stored as 8-bit grey; the bytes do not depend on `workers`. An
    image that cannot be read, even one that kills the process which reads it, is counted as left out, and
    so is a study with no other. Work goes into ``.OUT.partial`` beside `out`. When the import is killed,
    the same call goes on after the last finished shard.

    Args:
        out: absent, or an empty folder.
        split: ``official``, or ``patient``: seeded, by patient, stratified by label, never parting a long
            text that few studies share. A release without an official split is split by patient.
        seed, shares: of the split by patient; shares of train, val and test.
        max_side: larger images shrink until their longer side fits, antialiased.
        image_format: ``jpeg`` is quality 95.
        keep_identifiers: keep the patient ids instead of their salted hashes.
        text_only: read no image; absent image files are counted. Nothing can be trained on such a dataset.
        salt: of the hashes; random where None. It is never written into `out`.
        workers: processes; all cores where None. 0 reads in this process, without its protection.
        progress: called with ``images``, the images done and their number.

    Raises:
        UserError: `out` is not free or cannot be written, the partial folder belongs to an import with
            other options, another process works there, or nothing is left to write.
    """
    out = Path(out)
    partial = out.parent / f".{out.name}.partial"
    options = {
        "max_side": max_side,
        "image_format": image_format,
        "keep_identifiers": keep_identifiers,
        "text_only": text_only,
        **release.options,
    }
    by_patient = {"seed": seed, "shares": dict(zip(SPLITS, shares, strict=True))}
    with explained(out, RESUME):
        check_free(out)
        partial.mkdir(parents=True, exist_ok=True)
    with _locked(partial):
        with explained(out, RESUME):
            asked = {"split": split, **by_patient, **options}
            used_salt = _begin(partial, release, asked, salt, keep_identifiers)
        plan = make_plan(
            release,
            partial / "records.jsonl",
            split=split,
            seed=seed,
            shares=shares,
            salt=used_salt,
            text_only=text_only,
        )
        _warn(release, plan, split, seed)
        used = {"split": plan.split_by, **(by_patient if plan.split_by == "patient" else {}), **options}
        store = _Store(plan, partial, max_side, image_format, text_only)
        with explained(out, RESUME):
            written = store.write_all(cores() if workers is None else workers, progress)
            if not any(shard.ids for shard in written):
                nothing = store.left_out(release.exclusions, written).summary()
                shutil.rmtree(partial, ignore_errors=True)
                raise UserError(f"No study of the {release.source} release can be used: {nothing}.")
            info = store.finish(release, used, written)
            write_json(store.folder / "dataset.json", info)
            publish(store.folder, out)
    shutil.rmtree(partial, ignore_errors=True)
    return PreparedDataset.open(out)


@dataclass(frozen=True, slots=True)
class _Written:
    """What a finished shard holds and left out; kept beside it as JSON, so that it is not done again."""

    digest: str
    ids: list[str] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    exclusions: list[list[str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class _Store:
    """The shards of one import in its partial folder."""

    def __init__(
        self, plan: Plan, partial: Path, max_side: int | None, image_format: ImageFormat, text_only: bool
    ) -> None:
        self.folder = partial / "dataset"
        self._finished = partial / "finished"
        self._plan = plan
        self._max_side, self._image_format, self._text_only = max_side, image_format, text_only

    def write_all(self, workers: int, progress: Progress | None) -> list[_Written]:
        """Write the shards that are not there yet; returns all of them in order."""
        self._clear()
        there = [self._kept(shard) for shard in self._plan.shards]
        missing = [shard for shard, kept in zip(self._plan.shards, there, strict=True) if kept is None]
        total = sum(shard.images for shard in self._plan.shards)
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

    def left_out(self, of_source: Exclusions, written: Sequence[_Written]) -> Exclusions:
        """Everything left out, by the source and by the reading of images."""
        everything = Exclusions()
        everything.items += of_source.items
        for shard in written:
            for item, reason, detail in shard.exclusions:
                everything.add(item, reason, detail)
        return everything

    def finish(
        self, release: Release, options: Mapping[str, Any], written: Sequence[_Written]
    ) -> dict[str, Any]:
        """Complete the folders of the splits; returns what ``dataset.json`` is to hold."""
        splits: dict[str, Any] = {}
        for split in SPLITS:
            parts = [
                (shard_name(shard.number), done)
                for shard, done in zip(self._plan.shards, written, strict=True)
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
        self._finished.mkdir(exist_ok=True)
        wanted = set()
        for shard in self._plan.shards:
            self._arrow(shard).parent.mkdir(parents=True, exist_ok=True)
            wanted |= {self._arrow(shard), self._note(shard)}
        for path in [*self.folder.glob("*/*"), *self.folder.glob("*.*"), *self._finished.iterdir()]:
            if path not in wanted:
                path.unlink()

    def _kept(self, shard: ShardPlan) -> _Written | None:
        """The shard as an earlier import finished it from the same records; None otherwise."""
        if not self._note(shard).is_file() or not self._arrow(shard).is_file():
            return None
        written = _Written(**json.loads(self._note(shard).read_text(encoding="utf-8")))
        return written if written.digest == shard.digest else None

    def _tasks(self, shards: Sequence[ShardPlan]) -> Iterator[ImageTask]:
        if self._text_only:
            return
        for shard in shards:
            for record in self._plan.records(shard):
                for image in record.images:
                    yield ImageTask(image, self._max_side, self._image_format)

    def _write(self, shard: ShardPlan, images: Iterator[ReadImage]) -> _Written:
        self._note(shard).unlink(missing_ok=True)
        arrow = Shard(self._arrow(shard))
        left_out = Exclusions()
        warnings: list[str] = []
        try:
            for record in self._plan.records(shard):
                row = self._row(record, images, left_out, warnings)
                if row is not None:
                    arrow.add(row)
            arrow.close()
        except BaseException:
            with suppress(OSError):
                arrow.abandon()
            raise
        sync(self._arrow(shard).parent)
        items = [list(excluded) for excluded in left_out]
        written = _Written(shard.digest, arrow.ids, arrow.digests, items, warnings)
        write_json(self._note(shard), asdict(written))
        return written

    def _row(
        self, record: Planned, images: Iterator[ReadImage], left_out: Exclusions, warnings: list[str]
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
        views = [result.view for _, result in results if result.view is not None]
        if not views:
            details = " ".join(detail for _, _, detail in bad)
            left_out.add(record.row["study_id"], "no readable image", details)
            return None
        left_out.items += bad.items
        row = {**record.row, "views": [view_row(view) for view in views]}
        notes = [warning for _, result in results for warning in result.warnings]
        if notes:
            metadata = json.loads(row["metadata"])
            metadata["warnings"] = [*metadata.get("warnings", []), *notes]
            row["metadata"] = metadata_text(metadata)
        warnings += notes
        return row

    def _arrow(self, shard: ShardPlan) -> Path:
        return self.folder / shard.split / shard_name(shard.number)

    def _note(self, shard: ShardPlan) -> Path:
        return self._finished / f"{shard.split}-{shard.number:05d}.json"


@contextmanager
def _locked(partial: Path) -> Iterator[None]:
    lock = FileLock(partial / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(f"Another import works in {partial}; wait for it or choose another --out.") from None
    try:
        yield
    finally:
        lock.release()


def _begin(
    partial: Path, release: Release, options: Mapping[str, Any], salt: str | None, keep_identifiers: bool
) -> str | None:
    """Note what this import is, or check that the unfinished one here is the same; returns its salt."""
    identity = {
        "format": FORMAT,
        "source": release.source,
        "source_version": release.version,
        **options,
        "salt": "random" if salt is None else hashlib.sha256(salt.encode()).hexdigest(),
    }
    note, kept_salt = partial / "plan.json", partial / "salt"
    if note.is_file():
        earlier = json.loads(note.read_text(encoding="utf-8"))
        now = json.loads(json.dumps(identity))
        for name in {**earlier, **now}:
            if earlier.get(name) != now.get(name):
                raise UserError(
                    f"{partial} holds an unfinished import with another {name.replace('_', ' ')} "
                    f"({earlier.get(name)}, now {now.get(name)}); use the same options to finish it, or "
                    "delete that folder to start anew."
                )
    else:
        kept_salt.touch(mode=0o600)
        kept_salt.write_text(secrets.token_hex(16) if salt is None else salt, encoding="utf-8")
        write_json(note, identity)
    return None if keep_identifiers else kept_salt.read_text(encoding="utf-8")


def _warn(release: Release, plan: Plan, asked: SplitBy, seed: int) -> None:
    """Say where the split is not what one would expect."""
    if plan.split_by != asked:
        release.warnings.append(
            f"The {release.source} release has no official split; it was split by patient with seed {seed}."
        )
    if plan.shared_patients:
        release.warnings.append(
            f"The official split has {plan.shared_patients} patients in more than one split, so its scores "
            "are too good; `cxreport data check` lists them and --split patient mends it."
        )

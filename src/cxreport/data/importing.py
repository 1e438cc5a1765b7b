"""From a release to a prepared dataset: images read once on all cores, in shards that survive a kill."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from cxreport import __version__
from cxreport.data.images import ImageFormat
from cxreport.data.plan import Plan, SplitBy, make_plan
from cxreport.data.shards import write_json
from cxreport.data.shardstore import DATASET, FINISHED, Progress, ShardStore
from cxreport.data.sources import Release
from cxreport.data.splits import SHARES
from cxreport.data.store import FORMAT, PreparedDataset, check_free, explained, publish
from cxreport.data.twins import drop_twins
from cxreport.data.workers import cores
from cxreport.errors import UserError
from cxreport.study import SPLITS

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
            text that few studies share; a study with the same picture as one of another split is left
            out. A release without an official split is split by patient.
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
    }
    by_patient = {"seed": seed, "shares": dict(zip(SPLITS, shares, strict=True))}
    if taken := {"split", *by_patient, *options} & release.options.keys():
        raise ValueError(f"the {release.source} source names its options like the import: {sorted(taken)}")
    options |= release.options
    with explained(out, RESUME):
        _clear_remains(partial)
        check_free(out)
        partial.mkdir(0o700, parents=True, exist_ok=True)
    with _locked(partial), _kept_if_worth_it(partial):
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
        store = ShardStore(plan, partial, max_side, image_format, text_only)
        with explained(out, RESUME):
            written = store.write_all(cores() if workers is None else workers, progress)
            if plan.split_by == "patient":
                written = drop_twins(store, written, progress)
            if not any(shard.ids for shard in written):
                nothing = store.left_out(release.exclusions, written).summary()
                shutil.rmtree(partial / FINISHED)
                raise UserError(f"No study of the {release.source} release can be used: {nothing}.")
            write_json(store.folder / "dataset.json", store.finish(release, used, written))
            publish(store.folder, out)
    shutil.rmtree(partial, ignore_errors=True)
    return PreparedDataset.open(out)


def _clear_remains(partial: Path) -> None:
    """Remove what an import left that was killed after its dataset had taken its name."""
    if (
        (partial / "plan.json").is_file()
        and (partial / FINISHED).is_dir()
        and not (partial / DATASET).is_dir()
    ):
        shutil.rmtree(partial)


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


@contextmanager
def _kept_if_worth_it(partial: Path) -> Iterator[None]:
    """Remove the partial folder after a failure that came before the first finished shard."""
    try:
        yield
    except BaseException:
        if not any(partial.glob(f"{FINISHED}/*.json")):
            shutil.rmtree(partial, ignore_errors=True)
        raise


def _begin(
    partial: Path, release: Release, options: Mapping[str, Any], salt: str | None, keep_identifiers: bool
) -> str | None:
    """Note what this import is, or check that the unfinished one here is the same; returns its salt."""
    identity = {
        "format": FORMAT,
        "cxreport": __version__,
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
                values = "" if name == "salt" else f" ({earlier.get(name)}, now {now.get(name)})"
                raise UserError(
                    f"{partial} holds an unfinished import with another {name.replace('_', ' ')}{values}; "
                    "use the same options to finish it, or delete that folder to start anew."
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

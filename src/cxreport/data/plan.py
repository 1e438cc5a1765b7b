"""What an import will do, on disk before any image is read: every record, its split and its shard."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from cxreport.data.exclusions import Exclusions
from cxreport.data.rows import to_row
from cxreport.data.sources import ImageFile, Release, StudyRecord
from cxreport.data.splits import binding_notes, by_patient, note_digest
from cxreport.study import SPLITS, Split, Study

SplitBy = Literal["official", "patient"]
SHARD_STUDIES = 128
"""Records of one shard; a killed import does at most the unfinished shards again."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One record as the import reads it back: its row, still without views, and its images."""

    row: dict[str, Any]
    images: tuple[ImageFile, ...]


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """One shard: where its records lie in the spool; ``digest`` is the SHA-256 of all that decides them."""

    split: Split
    number: int
    offsets: tuple[int, ...]
    images: int
    digest: str


@dataclass(frozen=True, slots=True)
class Plan:
    """All shards, in the order in which they are written.

    ``shared_patients`` counts the patients of an official split who stand in more than one of its splits.
    """

    spool: Path
    shards: list[ShardPlan]
    split_by: SplitBy
    shared_patients: int

    def records(self, shard: ShardPlan) -> Iterator[Planned]:
        """The records of `shard`, read from the spool one by one."""
        with self.spool.open("rb") as file:
            for offset in shard.offsets:
                file.seek(offset)
                tree = json.loads(file.readline())
                images = tuple(ImageFile(Path(path), name, kind) for path, name, kind, _ in tree["images"])
                yield Planned({**tree["row"], "split": shard.split}, images)


@dataclass(slots=True)
class _Listed:
    """What stays in memory of every record, by study id; long texts only as digests."""

    offsets: dict[str, int] = field(default_factory=dict)
    digests: dict[str, bytes] = field(default_factory=dict)
    images: dict[str, int] = field(default_factory=dict)
    patients: dict[str, str] = field(default_factory=dict)
    official: dict[str, Split | None] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)


def make_plan(
    release: Release,
    spool: Path,
    *,
    split: SplitBy,
    seed: int,
    shares: Sequence[float],
    salt: str | None,
    text_only: bool,
) -> Plan:
    """Read all records of `release` into the file `spool` and decide the split of each.

    Patient ids become the start of SHA-256(salt:id); a salt of None keeps them. Records that cannot be
    taken are counted in ``release.exclusions``. Where no record has an official split, the split is by
    patient, as ``Plan.split_by`` then says. ``text_only`` takes records without images.
    """
    listed = _Listed()
    with spool.open("wb") as file:
        for record in release.records:
            reason = _unfit(record, listed, text_only)
            if reason:
                release.exclusions.add(record.study_id or "a study", reason)
            else:
                _spool(record, file, listed, salt)
    if split == "official" and not any(listed.official.values()):
        split = "patient"
    if split == "official":
        splits = _official(listed, release.exclusions)
    else:
        labels = listed.labels if any(listed.labels.values()) else None
        splits = by_patient(listed.patients, seed, shares, notes=binding_notes(listed.notes), labels=labels)
    return Plan(spool, _shards(listed, splits), split, _shared_patients(listed, splits))


def _unfit(record: StudyRecord, listed: _Listed, text_only: bool) -> str:
    """Why `record` cannot be taken; empty where it can."""
    if not record.study_id:
        return "no study id"
    if not record.patient_id:
        return "no patient id"
    if record.study_id in listed.offsets:
        return "study id comes again"
    return "" if record.images or text_only else "no image"


def _spool(record: StudyRecord, file: IO[bytes], listed: _Listed, salt: str | None) -> None:
    name = record.study_id
    patient = record.patient_id
    if salt is not None:
        patient = hashlib.sha256(f"{salt}:{patient}".encode()).hexdigest()[:16]
    study = Study(
        name,
        patient,
        (),
        record.report,
        None,
        record.labels,
        record.findings,
        record.metadata,
    )
    images = [[str(image.path), image.name, image.projection, _stamp(image.path)] for image in record.images]
    line = json.dumps({"row": to_row(study), "images": images}, ensure_ascii=False).encode() + b"\n"
    listed.offsets[name] = file.tell()
    listed.digests[name] = hashlib.sha256(line).digest()
    listed.images[name] = len(images)
    listed.patients[name] = record.patient_id
    listed.official[name] = record.split
    listed.notes[name] = note_digest(f"{record.report.findings} {record.report.impression}")
    listed.labels[name] = tuple(label for label, value in record.labels.items() if value == 1)
    file.write(line)


def _stamp(path: Path) -> list[int] | None:
    """Size and time of change of a file; None where there is none."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return [status.st_size, status.st_mtime_ns]


def _official(listed: _Listed, exclusions: Exclusions) -> dict[str, Split]:
    splits: dict[str, Split] = {}
    for study, split in listed.official.items():
        if split is None:
            exclusions.add(study, "not in the official split")
        else:
            splits[study] = split
    return splits


def _shared_patients(listed: _Listed, splits: dict[str, Split]) -> int:
    seen: dict[str, set[str]] = {}
    for study, split in splits.items():
        seen.setdefault(listed.patients[study], set()).add(split)
    return sum(len(found) > 1 for found in seen.values())


def _shards(listed: _Listed, splits: dict[str, Split]) -> list[ShardPlan]:
    shards: list[ShardPlan] = []
    for split in SPLITS:
        studies = [study for study in listed.offsets if splits.get(study) == split]
        for number, start in enumerate(range(0, len(studies), SHARD_STUDIES)):
            chosen = studies[start : start + SHARD_STUDIES]
            digest = hashlib.sha256(b"".join(listed.digests[study] for study in chosen)).hexdigest()
            offsets = tuple(listed.offsets[study] for study in chosen)
            shards.append(ShardPlan(split, number, offsets, sum(listed.images[s] for s in chosen), digest))
    return shards

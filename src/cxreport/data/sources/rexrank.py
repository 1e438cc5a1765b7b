"""ReXrank: the leaderboard's JSON, an object of studies by id, read and, with drafts in it, written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cxreport.data.annotation import split_named
from cxreport.data.exclusions import Exclusions
from cxreport.data.files import inside_or_count
from cxreport.data.projection import projection_of
from cxreport.data.sections import SectionPolicy, lacks
from cxreport.data.sources import ImageFile, Release, StudyRecord
from cxreport.data.tables import read_json, text_of
from cxreport.errors import UserError
from cxreport.study import Report

VERSION = "1"
PREDICTION = "model_prediction"


def rexrank(file: Path, *, images: Path | None = None, sections: SectionPolicy = "any") -> Release:
    """The studies of a ReXrank JSON; their keys are the study ids.

    Image paths are relative to `images` (default: the folder of the file), ``img_root_dir`` of the
    leaderboard. The indication is the ``context``; an absent ``subject_id`` makes a study a patient.
    """
    tree = _studies(file)
    folder = images if images is not None else file.parent
    left_out, warnings = Exclusions(), list[str]()
    without = sum(not entry.get("subject_id") for entry in tree.values() if isinstance(entry, dict))
    if without:
        warnings.append(f"{without} studies have no subject_id; each counts as a patient of its own.")
    options = {"file": file.name, "sections": sections}
    records = _records(tree, folder, sections, left_out)
    return Release("rexrank", VERSION, records, options, left_out, warnings)


def write_rexrank(
    file: Path,
    out: Path,
    findings: Mapping[str, str],
    impressions: Mapping[str, str] | None = None,
) -> int:
    """Write the object in `file` to `out` with one more key, ``model_prediction``, in every study.

    Everything else stays as it is, bare ``NaN`` included. On the findings track the prediction is the plain
    text of `findings` (by study id); with `impressions` it is ``Findings: ... Impression: ...``.

    Returns the number of studies. Raises UserError when a study has no draft, for none may be left out, or
    a draft belongs to no study.
    """
    tree = _studies(file, keep_nan=True)
    for drafts, what in ((findings, "draft"), (impressions, "impression")):
        if drafts is None:
            continue
        missing = [study for study in tree if study not in drafts]
        if missing:
            raise UserError(
                f"{len(missing)} studies of {file} have no {what}, {missing[0]} first; draft for all."
            )
        unknown = [study for study in drafts if study not in tree]
        if unknown:
            raise UserError(f"{len(unknown)} drafts belong to no study of {file}, {unknown[0]} first.")
    for study, entry in tree.items():
        text = findings[study].strip()
        if impressions is not None:
            text = f"Findings: {text} Impression: {impressions[study].strip()}"
        entry[PREDICTION] = text
    out.write_text(json.dumps(tree, ensure_ascii=False, indent=4) + "\n", encoding="utf-8")
    return len(tree)


def _studies(file: Path, *, keep_nan: bool = False) -> dict[str, Any]:
    tree = read_json(file, keep_nan=keep_nan)
    if not isinstance(tree, dict) or not all(isinstance(entry, dict) for entry in tree.values()):
        raise UserError(f"{file} is not a ReXrank file: it needs an object whose keys are study ids.")
    return tree


def _records(
    tree: Mapping[str, Any], folder: Path, sections: SectionPolicy, left_out: Exclusions
) -> Iterator[StudyRecord]:
    for study, entry in tree.items():
        report = Report(
            findings=text_of(entry, "section_findings"),
            impression=text_of(entry, "section_impression"),
            indication=text_of(entry, "context"),
        )
        reason = lacks(report, sections)
        if reason:
            left_out.add(study, reason)
            continue
        yield StudyRecord(
            study,
            str(entry.get("subject_id") or study),
            _images(entry, folder, left_out),
            report,
            split_named(text_of(entry, "split")),
        )


def _images(entry: Mapping[str, Any], folder: Path, left_out: Exclusions) -> tuple[ImageFile, ...]:
    names, views = entry.get("image_path"), entry.get("frontal_lateral")
    names = [names] if isinstance(names, str) else names if isinstance(names, list) else []
    views = [views] if isinstance(views, str) else views if isinstance(views, list) else []
    words = [*map(str, views), *[""] * len(names)]
    files = []
    for name, word in zip(map(str, names), words, strict=False):
        path = inside_or_count(folder, name, left_out)
        if path is not None:
            files.append(ImageFile(path, path.name, projection_of(word)))
    return tuple(files)

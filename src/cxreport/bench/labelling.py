"""A prepared dataset whose studies get the labels that their reports say, by the rules of the labeler."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from cxreport.data.store import PreparedDataset, write_dataset
from cxreport.metrics.labeler import Language, label_report
from cxreport.study import Report, Study

_VALUES = {"positive": 1, "negative": 0, "uncertain": -1}


def label_dataset(
    dataset: PreparedDataset,
    out: Path,
    *,
    language: Language = "en",
    renew: bool = False,
    progress: Callable[[int], None] | None = None,
) -> tuple[PreparedDataset, Counter[str]]:
    """Write `dataset` again into `out`, its unlabelled studies with the labels of findings and impression.

    Labels that a study has are kept, or with `renew` go where it has a report; a study without a report stays
    as it is. Also returns how many studies
    were ``labelled``, ``kept`` and ``without a report``. Raises UserError as ``write_dataset``.
    """
    counts: Counter[str] = Counter()

    def studies() -> Iterator[Study]:
        for split in dataset.splits:
            for study in dataset.split(split):
                yield _labelled(study, language, renew, counts)

    written = write_dataset(
        studies(),
        out,
        source=dataset.info["source"],
        source_version=dataset.info["source_version"],
        options=dataset.info["options"] | {"labels": f"rules.{language} of findings and impression"},
        exclusions=dataset.exclusions,
        progress=progress,
    )
    return written, counts


def report_labels(report: Report, language: Language = "en") -> dict[str, int]:
    """The labels that a report mentions, as a study carries them; empty for an empty report."""
    found = label_report(f"{report.findings}\n{report.impression}", language).labels
    return {label: _VALUES[status] for label, status in found.items() if status in _VALUES}


def _labelled(study: Study, language: Language, renew: bool, counts: Counter[str]) -> Study:
    said = {} if study.labels and not renew else report_labels(study.report, language)
    counts["labelled" if said else "kept" if study.labels else "without a report"] += 1
    return replace(study, labels=said or study.labels)

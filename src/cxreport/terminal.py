"""What the command line shows: results on stdout; progress, messages and exclusions on stderr."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from cxreport import DISCLAIMER

if TYPE_CHECKING:
    from cxreport.data.check import Checked
    from cxreport.data.exclusions import Exclusions
    from cxreport.data.store import PreparedDataset
    from cxreport.generators.drafting import FileDrafts

LISTED = 10
"""So many excluded items are listed; the rest is counted."""

SHOWN = 3
"""So many cases of a check stand in its table; ``--json`` has all."""

UNLIMITED = 1000
"""Columns of a stdout that is no terminal."""

Bar = Callable[[str, int, int], None]
"""Name of a step, how much of it is done, how much there is."""


class StderrHandler(logging.Handler):
    """Messages of the library as plain lines on whatever stderr is then: a progress bar redirects it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print the message."""
        typer.echo(record.getMessage(), err=True)


@contextmanager
def bars() -> Iterator[Bar]:
    """A progress bar per step on stderr; silent when that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        tasks: dict[str, Any] = {}

        def bar(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = progress.add_task(step)
            progress.update(tasks[step], completed=done, total=total)

        yield bar


def tell_dataset(dataset: PreparedDataset) -> None:
    """Where a new dataset is, how many studies each split has, what was left out and is suspicious."""
    tell_exclusions(dataset.exclusions)
    tell_warnings(dataset.info["image_warnings"])
    for warning in dataset.info["warnings"]:
        typer.echo(f"Warning: {warning}", err=True)
    counts = {name: dataset.info["splits"][name]["count"] for name in dataset.splits}
    splits = ", ".join(f"{count} {name}" for name, count in counts.items())
    typer.echo(f"{dataset.path}: {sum(counts.values())} studies: {splits}; sha256 {dataset.sha256[:12]}")


def tell_exclusions(exclusions: Exclusions) -> None:
    """Count what was left out and list the first of it."""
    if not len(exclusions):
        return
    _tell_first(exclusions.summary(), [excluded.line for excluded in exclusions])


def tell_warnings(warnings: Sequence[str]) -> None:
    """Count what is suspicious about images that were taken, and list the first of it."""
    if warnings:
        number = len(warnings)
        _tell_first(f"{number} image warning{'s' * (number > 1)}, kept in the studies' metadata", warnings)


def _tell_first(summary: str, lines: Sequence[str]) -> None:
    typer.echo(f"{summary}.", err=True)
    for line in lines[:LISTED]:
        typer.echo(f"  {line}", err=True)
    if len(lines) > LISTED:
        typer.echo(f"  and {len(lines) - LISTED} more", err=True)


def drafts_tree(drafts: FileDrafts) -> dict[str, Any]:
    """Drafts of image files for JSON: each with its file and warnings, and the files left out."""
    return {
        "drafts": [
            {
                **record,
                "file": str(drafts.paths[record["study_id"]]),
                "warnings": list(drafts.warnings.get(record["study_id"], ())),
            }
            for record in drafts.records
        ],
        "excluded": [
            {"file": item, "reason": detail or reason} for item, reason, detail in drafts.exclusions.items
        ],
    }


def print_drafts(drafts: FileDrafts) -> None:
    """Drafts of image files, each under its file, and the disclaimer; warnings go to stderr."""
    for record in drafts.records:
        typer.echo(f"{drafts.paths[record['study_id']]}\n  {record['hypothesis']}")
        for warning in drafts.warnings.get(record["study_id"], ()):
            typer.echo(f"  Warning: {warning}", err=True)
    typer.echo(DISCLAIMER)


def print_checks(checked: Checked) -> None:
    """The checks of a dataset as a table on stdout, with the first cases of each, and the verdict."""
    rows = []
    for row in checked.rows:
        cases = "; ".join(row.found[:SHOWN]) + ("; ..." if len(row.found) > SHOWN else "")
        rows.append((row.name, row.level if row.found else "", str(len(row.found)), cases))
    print_table(("check", "kind", "count", "cases"), rows)
    verdict = "clean" if checked.clean else "not clean"
    typer.echo(f"{checked.dataset.path}: {checked.studies} studies, {checked.images} images: {verdict}")


def print_json(tree: dict[str, Any]) -> None:
    """The one JSON document of a command."""
    typer.echo(json.dumps(tree, indent=2, ensure_ascii=False))


def print_scores(scores: dict[str, Any]) -> None:
    """The tables of a ``scores.json`` on stdout, its notes on stderr."""
    from cxreport.metrics.tables import tables_of

    for header, rows in tables_of(scores):
        print_table(header, rows)
    for note in scores["notes"]:
        typer.echo(note, err=True)


def print_label_counts(reports: int, counts: Mapping[str, Mapping[str, int]]) -> None:
    """How many of `reports` have each status of each label."""
    statuses = ("positive", "negative", "uncertain", "absent")
    rows = [[label, *(str(of_label[status]) for status in statuses)] for label, of_label in counts.items()]
    print_table([f"{reports} reports", *statuses], rows)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], text: Sequence[int] = (0,)) -> None:
    """A table on stdout, as wide as it needs when stdout is no terminal; nothing where there are no rows.

    `text` counts the columns that stand at the left; numbers stand at the right.
    """
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    if not rows:
        return
    table = Table(box=SIMPLE)
    for place, name in enumerate(header):
        table.add_column(name, justify="left" if place in text else "right", no_wrap=place == 0)
    for row in rows:
        table.add_row(*row)
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = UNLIMITED
    console.print(table)

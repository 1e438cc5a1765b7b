"""``cxreport label``: the 14 labels of reports, one report a line."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cxreport.cli.common import AsJson, app


class ReportLanguage(StrEnum):
    """The languages that have a labeler."""

    en = "en"
    zh = "zh"


@app.command()
def label(
    reports: Annotated[Path, typer.Argument(help="Text file, one report a line; - reads stdin.")],
    language: Annotated[ReportLanguage, typer.Option(help="Language of the reports.")] = ReportLanguage.en,
    as_json: AsJson = False,
) -> None:
    """Label reports with the 14 CheXpert labels, with the words that say so.

    With --json one line a report is printed, else a table of counts.
    """
    from cxreport.metrics.labeler.files import count_lines, label_lines
    from cxreport.terminal import print_label_counts

    labelled = label_lines(reports, language.value)
    if not as_json:
        print_label_counts(*count_lines(labelled))
        return
    for record in labelled:
        typer.echo(json.dumps(record, ensure_ascii=False))

"""``cxreport label`` and ``cxreport data label``: the 14 labels of reports."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cxreport.cli.common import AsJson, OutFolder, app, data_app


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


@data_app.command("label")
def label_data(
    data: Annotated[Path, typer.Argument(help="Prepared dataset.")],
    out: OutFolder,
    language: Annotated[ReportLanguage, typer.Option(help="Language of the reports.")] = ReportLanguage.en,
    renew: Annotated[
        bool, typer.Option("--renew", help="Also where a study has labels, which its report's replace.")
    ] = False,
) -> None:
    """Write a dataset again, with the labels that the reports of its unlabelled studies say."""
    from cxreport.bench.labelling import label_dataset
    from cxreport.data.store import PreparedDataset
    from cxreport.terminal import bars, tell_dataset

    dataset = PreparedDataset.open(data)
    total = sum(split["count"] for split in dataset.info["splits"].values())
    with bars() as bar:
        written, counts = label_dataset(
            dataset,
            out,
            language=language.value,
            renew=renew,
            progress=lambda done: bar("Labelling", done, total),
        )
    told = ", ".join(f"{counts[what]} {what}" for what in ("labelled", "kept", "without a report"))
    typer.echo(f"Studies: {told}.", err=True)
    tell_dataset(written)

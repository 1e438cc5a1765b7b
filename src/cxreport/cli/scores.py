"""``cxreport evaluate``: score drafts."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cxreport.cli.common import SEEDS, AsJson, app, output
from cxreport.terminal import bars, print_scores


class Meteor(StrEnum):
    """Who computes METEOR."""

    PYTHON = "python"
    JAR = "jar"


@app.command()
def evaluate(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="predictions.jsonl, ReXrank .json or .csv; several files are one system, other seeds."
        ),
    ] = None,
    hypotheses: Annotated[Path | None, typer.Option(help="Text file, one draft a line.")] = None,
    references: Annotated[Path | None, typer.Option(help="Text file, one report a line.")] = None,
    protocol: Annotated[
        str | None,
        typer.Option(help="What is scored against what; else the file's own, or findings.full.clean."),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(help="Names of metrics or scores, with commas; else all that need no weights."),
    ] = None,
    compare: Annotated[
        Path | None, typer.Option(help="A second system's drafts of the same studies.")
    ] = None,
    by: Annotated[list[str] | None, typer.Option(help="Scores by subgroup: sex, age, view, ...")] = None,
    facts: Annotated[
        Path | None, typer.Option(help="CSV file with study_id and facts (sex, age, patient_id, ...).")
    ] = None,
    train_reports: Annotated[
        Path | None,
        typer.Option(help="Train reports for baselines: .txt, .csv (report), annotation.json or a dataset."),
    ] = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Folder of the language model's tokenizer, for sub-word protocols.")
    ] = None,
    meteor: Annotated[
        Meteor, typer.Option(help="Our code, or the published program (Java).")
    ] = Meteor.PYTHON,
    baselines: Annotated[bool, typer.Option(help="Score controls and baselines too.")] = True,
    out: Annotated[Path | None, typer.Option(help="scores.json to write.")] = None,
    html: Annotated[Path | None, typer.Option(help="Page to write: tables, worst and best studies.")] = None,
    per_sample: Annotated[
        Path | None, typer.Option(help="File to write: the scores of every study, one JSON object a line.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides the resamples of the intervals.", **SEEDS)] = 9223,
    min_positives: Annotated[
        int, typer.Option(min=1, help="True items that a kind of finding needs to enter macro averages.")
    ] = 20,
    as_json: AsJson = False,
) -> None:
    """Score drafts against their references, with 95 % intervals and every control."""
    from cxreport.metrics.evaluate import Options, evaluate_files, evaluate_texts

    options = Options(
        protocol=protocol,
        metrics=tuple(name.strip() for name in metrics.split(",")) if metrics is not None else None,
        seed=seed,
        min_positives=min_positives,
        baselines=baselines,
        by=tuple(by or ()),
        facts=facts,
        train_reports=train_reports,
        tokenizer=tokenizer,
        meteor=meteor.value,
    )
    if bool(files) == (hypotheses is not None or references is not None):
        raise typer.BadParameter("give files of drafts, or --hypotheses and --references.")
    if (hypotheses is None) != (references is None):
        raise typer.BadParameter("--hypotheses and --references belong together.")
    with bars() as bar:
        if hypotheses is not None and references is not None:
            evaluation = evaluate_texts(hypotheses, references, options, other=compare, progress=bar)
        else:
            evaluation = evaluate_files(files or [], options, other=compare, progress=bar)
    text = json.dumps(evaluation.scores, indent=2, ensure_ascii=False, allow_nan=False)
    if out is not None:
        with output(out):
            out.write_text(text + "\n", encoding="utf-8")
    if per_sample is not None:
        from cxreport.metrics.per_sample import write_sample_rows

        with output(per_sample):
            write_sample_rows(evaluation, per_sample)
    if html is not None:
        from cxreport.metrics.page import write_study_page

        with output(html):
            write_study_page(evaluation, html)
    if as_json:
        typer.echo(text)
        return
    print_scores(evaluation.scores)

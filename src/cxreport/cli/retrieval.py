"""``cxreport retrieval``: images and reports that find each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cxreport.cli.common import SEEDS, AsJson, app, output
from cxreport.terminal import bars, print_json, print_table


@app.command()
def retrieval(
    model: Annotated[
        Path, typer.Argument(help="Run of `cxreport pretrain contrastive`, or its model folder.")
    ],
    data: Annotated[Path, typer.Argument(help="Prepared dataset.")],
    split: Annotated[str, typer.Option(help="Split whose images and reports are matched.")] = "test",
    out: Annotated[Path | None, typer.Option(help="scores.json to write.")] = None,
    seed: Annotated[int, typer.Option(help="Decides the resamples of the intervals.", **SEEDS)] = 9223,
    min_positives: Annotated[
        int, typer.Option(min=1, help="Studies with a label that it needs to be scored.")
    ] = 20,
    as_json: AsJson = False,
) -> None:
    """Find reports by images and images by reports, and labels by sentences, with 95 % intervals."""
    from cxreport.bench.alignment import alignment_scores
    from cxreport.data.store import PreparedDataset

    with bars() as bar:
        scores = alignment_scores(
            model, PreparedDataset.open(data), split, seed=seed, min_positives=min_positives, progress=bar
        )
    if out is not None:
        with output(out):
            out.write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
    print_json(scores) if as_json else print_alignment(scores)


def print_alignment(scores: dict[str, Any]) -> None:
    """Retrieval and zero-shot scores as two tables."""
    rows = [
        (
            f"{direction.replace('_', ' ')}, {answers}",
            name,
            _percent(row["value"]),
            _interval(row),
            *_chance(row),
        )
        for answers, directions in scores["retrieval"].items()
        for direction, recalls in directions.items()
        for name, row in recalls.items()
    ]
    print_table(("retrieval, right answers", "", "%", "95 %", "chance %", "times chance"), rows, text=(0, 1))
    labels = [
        (
            name,
            kind,
            str(row.get("positives", "")),
            f"{row['value']:.3f}",
            "{:.3f}-{:.3f}".format(*row["ci95"]),
        )
        for kind, found in scores["zero_shot"].items()
        for name, row in {"macro": found["macro"], **found["labels"]}.items()
        if row is not None
    ]
    print_table(("zero-shot", "of", "positives", "AUROC", "95 %"), labels, text=(0, 1))
    typer.echo(
        f"{scores['studies']} studies of {scores['split']}, {scores['distinct_reports']} distinct reports, "
        f"{scores['without_report']} without a report left out.",
        err=True,
    )


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _interval(row: dict[str, Any]) -> str:
    low, high = row["ci95"]
    return f"{_percent(low)}-{_percent(high)}"


def _chance(row: dict[str, Any]) -> tuple[str, str]:
    return f"{100 * row['chance']:.2f}", f"{row['times_chance']:.1f}"

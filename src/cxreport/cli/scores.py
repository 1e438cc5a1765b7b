"""``cxreport evaluate``: score drafts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from cxreport.cli.common import SEEDS, AsJson, app, output
from cxreport.terminal import print_scores


@app.command()
def evaluate(
    predictions: Annotated[Path | None, typer.Argument(help="predictions.jsonl")] = None,
    hypotheses: Annotated[Path | None, typer.Option(help="Text file, one draft a line.")] = None,
    references: Annotated[Path | None, typer.Option(help="Text file, one report a line.")] = None,
    protocol: Annotated[str, typer.Option(help="Protocol of text files.")] = "raw",
    out: Annotated[Path | None, typer.Option(help="scores.json to write.")] = None,
    seed: Annotated[int, typer.Option(help="Decides the resamples of the intervals.", **SEEDS)] = 9223,
    min_positives: Annotated[
        int, typer.Option(min=1, help="True items that a kind of finding needs to enter macro averages.")
    ] = 20,
    as_json: AsJson = False,
) -> None:
    """Score drafts against their references, with 95 % intervals and every control."""
    from cxreport.metrics.evaluate import evaluate_file, evaluate_texts

    texts = [hypotheses, references]
    if (predictions is None) == (texts == [None, None]):
        raise typer.BadParameter("give predictions.jsonl, or --hypotheses and --references.")
    if predictions is not None:
        scores = evaluate_file(predictions, seed=seed, min_positives=min_positives)
    elif hypotheses is not None and references is not None:
        scores = evaluate_texts(hypotheses, references, protocol=protocol, seed=seed)
    else:
        raise typer.BadParameter("--hypotheses and --references belong together.")
    text = json.dumps(scores, indent=2, ensure_ascii=False)
    if out is not None:
        with output(out):
            out.write_text(text + "\n", encoding="utf-8")
    if as_json:
        typer.echo(text)
        return
    print_scores(scores)

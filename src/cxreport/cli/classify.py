"""``cxreport classify``: the labels of images, and how right a classifier is about them."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cxreport import DISCLAIMER
from cxreport.cli.common import SEEDS, AsJson, app, output
from cxreport.terminal import bars, print_json, print_table


class MapKind(StrEnum):
    """The maps that a classifier has; attention where it has queries."""

    SALIENCY = "saliency"
    GRAD_CAM = "grad-cam"
    ATTENTION = "attention"


@app.command()
def classify(
    model: Annotated[Path, typer.Argument(help="Run of `cxreport pretrain disease`, or its model folder.")],
    data: Annotated[Path, typer.Argument(help="Prepared dataset.")],
    split: Annotated[str, typer.Option(help="Split to classify.")] = "test",
    predictions: Annotated[
        Path | None, typer.Option(help="predictions.jsonl to write: probabilities of every study.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="scores.json to write.")] = None,
    maps: Annotated[
        Path | None, typer.Option(help="PNG to write: where the classifier looks, with the true boxes.")
    ] = None,
    kind: Annotated[MapKind, typer.Option("--by", help="What the maps show.")] = MapKind.SALIENCY,
    calibration: Annotated[
        Path | None,
        typer.Option(
            "--calibrate",
            help="Dataset whose val split decides temperature and thresholds anew; where left out, those of "
            "the run, or DATA's.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides the resamples of the intervals.", **SEEDS)] = 9223,
    min_positives: Annotated[
        int, typer.Option(min=1, help="Studies with a label that it needs to enter the mean.")
    ] = 20,
    as_json: AsJson = False,
) -> None:
    """Classify a split; where its labels are known, score every label with 95 % intervals."""
    import torch

    from cxreport.bench.classifier import TrainedClassifier, records
    from cxreport.data.store import PreparedDataset
    from cxreport.metrics.label_tables import classifier_tables

    classifier, dataset = TrainedClassifier.load(model), PreparedDataset.open(data)
    if torch.cuda.is_available():
        classifier.model.to("cuda")
    decided = None if calibration is not None else classifier.calibration()
    with bars() as bar:
        if decided is None:
            decided = classifier.calibrate(PreparedDataset.open(calibration) if calibration else dataset, bar)
        said = classifier.predict(dataset, split, bar)
        if predictions is not None:
            lines = [json.dumps(each, ensure_ascii=False) + "\n" for each in records(said, decided, split)]
            with output(predictions):
                predictions.write_text("".join(lines), encoding="utf-8")
        if maps is not None:
            with output(maps):
                shown = classifier.write_maps(dataset, split, kind.value, maps)
            told = f"{maps}: {shown} maps." if shown else "No finding has a box; no map was written."
            typer.echo(told, err=True)
        scores = None
        if said.labelled or out is not None or as_json:
            scores = classifier.scores(
                dataset, split, said, decided, bar, seed=seed, min_positives=min_positives
            )
    if out is not None:
        with output(out):
            out.write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
    if scores is None:
        typer.echo(f"The {split} split has no labels; nothing is scored.", err=True)
    elif as_json:
        print_json(scores)
    else:
        for header, rows in classifier_tables(scores):
            print_table(header, rows)
    if split == "val":
        typer.echo("A val split decided temperature and thresholds: scores on one flatter.", err=True)
    typer.echo(DISCLAIMER, err=True)

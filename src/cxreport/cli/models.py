"""``cxreport demo``, ``train`` and ``generate``: make models and draft with them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cxreport import DISCLAIMER
from cxreport.cli.common import AsJson, app
from cxreport.recipe import model_inside, with_decoding
from cxreport.terminal import bars, drafts_tree, print_drafts, print_json, print_scores, tell_exclusions


class EvidenceName(StrEnum):
    """What :data:`cxreport.generators.evidence.EvidenceKind` names."""

    scores = "scores"
    attention = "attention"
    gradient = "gradient"


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for data, run and page.")] = Path("demo"),
    as_json: AsJson = False,
) -> None:
    """Render phantoms, train a small R2Gen, draft and score the test split, write a page."""
    from cxreport.bench.demo import run_demo

    scores, page = run_demo(out, bars)
    print_json(scores) if as_json else print_scores(scores)
    typer.echo(f"{page}: pictures, drafts and scores. {DISCLAIMER}", err=as_json)


@app.command()
def train(
    recipe: Annotated[
        Path, typer.Argument(help="YAML file, or the name of a recipe that comes with cxreport.")
    ],
    data: Annotated[Path, typer.Option(help="Prepared dataset.")],
    out: Annotated[Path, typer.Option(help="Run folder to write; absent or empty, unless with --resume.")],
    init: Annotated[
        Path | None, typer.Option(help="Start from the encoder of this pre-training run or encoder folder.")
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option("--from", help="Start from all of this trained generator on the same language model."),
    ] = None,
    language_model: Annotated[
        str | None, typer.Option(help="Folder of the language model, for recipes that have one.")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Change the recipe: training.epochs=3 (again for more).")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
    devices: Annotated[
        int | None,
        typer.Option(
            min=1, help="GPUs (without any: processes) to train on; all GPUs, or one process, where left out."
        ),
    ] = None,
) -> None:
    """Train a recipe on a prepared dataset; Ctrl-C leaves a run that loads and resumes."""
    from cxreport.recipe import Recipe

    given = [f"model.encoder.init={model_inside(init)}"] if init else []
    given += [f"start={start}"] if start else []
    given += [f"model.language_model.path={language_model}"] if language_model else []
    chosen = Recipe.load(recipe, given + (changes or []))

    from cxreport.data.store import PreparedDataset
    from cxreport.training import fit

    fit(chosen, PreparedDataset.open(data), out, resume=resume, devices=devices or "auto")


@app.command()
def generate(
    model: Annotated[Path, typer.Argument(help="Model folder, or run folder.")],
    inputs: Annotated[
        list[Path],
        typer.Argument(metavar="INPUT...", help="A prepared dataset, or images and folders of them."),
    ],
    out: Annotated[
        Path | None, typer.Option(help="predictions.jsonl to write; needed for a dataset.")
    ] = None,
    split: Annotated[str, typer.Option(help="Split of a prepared dataset.")] = "test",
    fast: Annotated[
        bool, typer.Option("--fast", help="On a CPU: measure faster forms of the encoder and use the best.")
    ] = False,
    evidence: Annotated[
        EvidenceName | None,
        typer.Option(help="What each sentence rests on: its probability alone, or with maps over the image."),
    ] = None,
    language_model: Annotated[
        str | None,
        typer.Option(help="Where the model's language model lies, if no longer where it was trained."),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Search otherwise than trained: decoding.method=greedy (again for more)."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draft reports for a split of a prepared dataset, or for image files."""
    prepared = [path for path in inputs if (path / "dataset.json").is_file()]
    if prepared and len(inputs) > 1:
        raise typer.BadParameter(f"{prepared[0]} is a prepared dataset; give it alone.")
    if prepared and out is None:
        raise typer.BadParameter("a prepared dataset needs --out predictions.jsonl.")

    import torch

    from cxreport.checkpoints import load_model
    from cxreport.generators.drafting import draft_files, draft_split
    from cxreport.generators.prediction_file import write_predictions

    generator, recipe = load_model(model_inside(model), language_model)
    recipe = with_decoding(recipe, changes or [])
    if torch.cuda.is_available():
        generator.to("cuda")
    elif fast:
        from cxreport.generators.fast_encoder import with_fast_encoder

        typer.echo(with_fast_encoder(generator, recipe), err=True)
    if prepared and out is not None:
        from cxreport.data.store import PreparedDataset

        with bars() as bar:
            summary = draft_split(
                generator,
                recipe,
                PreparedDataset.open(prepared[0]),
                split,
                out,
                evidence=evidence.value if evidence else None,
                progress=bar,
            )
        for note in summary.notes:
            typer.echo(note, err=True)
        facts = {"predictions": str(out), "studies": summary.studies, "controls": list(summary.controls)}
        facts |= {"resumed": summary.resumed, "seconds_per_study": summary.seconds_per_study}
        print_json(facts) if as_json else typer.echo(f"{out}: {summary.studies} drafts. {DISCLAIMER}")
        return
    with bars() as bar:
        drafts = draft_files(
            generator, recipe, inputs, evidence=evidence.value if evidence else None, progress=bar
        )
    if out is not None:
        write_predictions(drafts.records, out)
    tell_exclusions(drafts.exclusions)
    print_json(drafts_tree(drafts)) if as_json else print_drafts(drafts)

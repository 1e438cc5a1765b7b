"""``cxreport pretrain``: teach an encoder, or a language model, before a generator is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cxreport.cli.common import app
from cxreport.recipe import model_inside


@app.command()
def pretrain(
    objective: Annotated[
        str,
        typer.Argument(
            help="Recipe (YAML or shipped), or an objective: masked, autoregressive, contrastive, disease, "
            "language."
        ),
    ],
    data: Annotated[
        list[str], typer.Option(help="Prepared dataset; again for more, each as DIR or DIR=weight.")
    ],
    out: Annotated[Path, typer.Option(help="Run folder to write; absent or empty, unless with --resume.")],
    encoder: Annotated[str | None, typer.Option(help="Name of the encoder, see `cxreport encoders`.")] = None,
    init: Annotated[
        Path | None, typer.Option(help="Start from the encoder of this run or encoder folder.")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Change the recipe: training.epochs=3 (again for more).")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
    devices: Annotated[
        int | None, typer.Option(min=1, help="GPUs (without any: processes); all GPUs where left out.")
    ] = None,
) -> None:
    """Pre-train an encoder or a language model; Ctrl-C leaves a run that loads and resumes."""
    from cxreport.pretraining import PretrainRecipe, objective_names

    given = [f"encoder.name={encoder}"] if encoder else []
    if init is not None:
        given.append(f"encoder.init={model_inside(init)}")
    given += changes or []
    if objective in objective_names():
        tree: dict[str, Any] = {"name": objective, "objective": {"name": objective}}
        chosen = PretrainRecipe.changed(tree, given, objective)
    else:
        chosen = PretrainRecipe.load(objective, given)

    from cxreport.training import Weighted
    from cxreport.training import pretrain as train

    mixture = [Weighted.open(each) for each in data]
    train(chosen, mixture, out, resume=resume, devices=devices or "auto")
    if chosen.reads_images and chosen.reads_reports:
        from cxreport.bench.alignment import alignment_scores
        from cxreport.cli.retrieval import print_alignment

        first = next(each.dataset for each in mixture if "val" in each.dataset.splits)
        scores = alignment_scores(out, first, "val", seed=chosen.seed)
        (out / "retrieval.json").write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
        print_alignment(scores)

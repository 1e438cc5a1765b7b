"""``cxreport bench``: comparisons that make a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxreport.cli.common import AsJson, bench_app
from cxreport.terminal import bars, print_json


@bench_app.command()
def recognition(
    arms: Annotated[
        list[str],
        typer.Option(
            "--arm",
            help="NAME=FOLDER of an encoder or pre-training run, NAME=imagenet, or NAME=fresh:ENCODER or "
            "fresh:FOLDER (again for more).",
        ),
    ],
    data: Annotated[Path, typer.Option(help="Prepared dataset with labels.")],
    out: Annotated[Path, typer.Option(help="Folder of the table; finished cells in it are kept.")],
    recipe: Annotated[
        str, typer.Option(help="YAML file, or the name of a recipe that comes with cxreport.")
    ] = "recognition",
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change the recipe: probe.seeds=3 (again for more)."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare encoders: one label from few images and from all, by linear probe and by fine-tuning."""
    from cxreport.bench.recognition.options import RecognitionRecipe

    chosen = RecognitionRecipe.load(recipe, changes or [])

    from cxreport.bench.recognition.arms import Arm
    from cxreport.bench.recognition.protocol import run_recognition
    from cxreport.bench.recognition.table import markdown
    from cxreport.data.store import PreparedDataset

    parsed = [Arm.parse(each, chosen.data.image_size) for each in arms]
    with bars() as bar:
        table = run_recognition(chosen, parsed, PreparedDataset.open(data), out, bar)
    print_json(table) if as_json else typer.echo(markdown(table))

"""``cxreport phantom``: make phantoms and look at them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cxreport.cli.common import SEEDS, OutFolder, output, phantom_app
from cxreport.terminal import bars, tell_dataset


class Language(StrEnum):
    """Languages of phantom reports."""

    grammar = "grammar"
    grammar_zh = "grammar-zh"
    openi = "openi"


@phantom_app.command("make")
def phantom_make(
    out: OutFolder,
    studies: Annotated[
        int | None,
        typer.Option(help="Number of studies, at least 10. Needed but for openi: all where left out."),
    ] = None,
    size: Annotated[int, typer.Option(help="Side of a view in pixels, 32 to 2048.")] = 224,
    language: Annotated[
        Language, typer.Option(help="Our grammar in English or Chinese, or real Open-i reports.")
    ] = Language.grammar,
    seed: Annotated[
        int, typer.Option(help="Decides chests, findings and words; the same seed, the same data.", **SEEDS)
    ] = 9223,
    archive: Annotated[Path | None, typer.Option(help="Where NLMCXR_reports.tgz lies (openi).")] = None,
) -> None:
    """Render phantoms into a prepared dataset."""
    from cxreport.data.sources.phantom import SOURCE_VERSION, count_of, options_of, phantom_studies
    from cxreport.data.store import write_dataset

    total = count_of(studies, language.value, archive)
    with bars() as bar:
        dataset = write_dataset(
            phantom_studies(studies, size, language.value, seed, archive),
            out,
            source="phantom",
            source_version=SOURCE_VERSION,
            options=options_of(total, size, language.value, seed),
            total=total,
            progress=lambda done: bar("phantoms", done, total),
        )
    tell_dataset(dataset)


@phantom_app.command("show")
def phantom_show(
    folder: Annotated[Path, typer.Argument(help="Prepared dataset of phantoms.")],
    out: Annotated[Path, typer.Option(help="PNG file to write.")],
    studies: Annotated[int, typer.Option(min=1, help="Number of studies to show.")] = 12,
    split: Annotated[str | None, typer.Option(help="Split to show; the first where left out.")] = None,
) -> None:
    """Write a contact sheet of phantoms with the boxes of their findings."""
    from cxreport.data.store import PreparedDataset
    from cxreport.phantom.sheet import contact_sheet

    dataset = PreparedDataset.open(folder)
    shown = list(dataset.split(split or dataset.splits[0])[:studies])
    with output(out):
        contact_sheet(shown, out)
    typer.echo(str(out))

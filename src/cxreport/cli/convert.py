"""``cxreport convert``: published weights to folders of ours, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxreport.cli.common import AsJson, app, output
from cxreport.terminal import print_json


@app.command()
def convert(
    source: Annotated[
        Path, typer.Argument(metavar="FILE", help="Published .pth or .safetensors; or a folder, to go back.")
    ],
    kind: Annotated[str, typer.Option(help="What FILE is, e.g. vmamba or hdmae; a wrong one lists all.")],
    out: Annotated[Path, typer.Option(help="Folder to write; a .safetensors file for the way back.")],
    heads: Annotated[
        int | None, typer.Option(min=1, help="Attention heads, where the weights do not tell them.")
    ] = None,
    annotation: Annotated[
        Path | None, typer.Option(help="r2gen, r2gencmn: JSON of the training, for the words.")
    ] = None,
    threshold: Annotated[int, typer.Option(min=1, help="How often a word was seen there at least.")] = 3,
    language_model: Annotated[
        str | None, typer.Option(help="Delta files: folder of the language model of the training.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Delta files: recipe of the training, for prompt and decoding.")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Delta files: change the recipe, model.views=mean.")
    ] = None,
    encoder: Annotated[
        Path | None, typer.Option(help="Delta files: folder of the encoder, where FILE does not hold it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Convert published weights: nothing in FILE is run, and every tensor is accounted for."""
    from cxreport.checkpoints.kinds import BANK_KIND, GENERATOR_KINDS, PREFIX_KINDS

    generator, prefix = kind in GENERATOR_KINDS, kind in PREFIX_KINDS
    given: dict[str, tuple[object, bool]] = {
        "--annotation": (annotation, generator),
        "--language-model": (language_model, prefix),
    }
    given |= {"--recipe": (recipe, prefix), "--encoder": (encoder, prefix), "--set": (changes, prefix)}
    if unheeded := [name for name, (value, heeded) in given.items() if value and not heeded]:
        raise typer.BadParameter(f"the kind {kind} has no {' and no '.join(unheeded)}.")
    if source.is_dir() and (generator or prefix or kind == BANK_KIND):
        raise typer.BadParameter(f"{source} is a folder; the way back is for encoders, not for {kind}.")
    if annotation is None and generator:
        raise typer.BadParameter(f"the kind {kind} needs --annotation, whose train reports give its words.")

    from cxreport.checkpoints.convert import convert_encoder, publish_encoder

    if kind == BANK_KIND:
        _convert_bank(source, out, as_json)
        return
    if source.is_dir():
        with output(out):
            count = publish_encoder(source, kind, out)
        facts = {"file": str(out), "tensors": count}
        print_json(facts) if as_json else typer.echo(f"{out}: {count} tensors under their published names.")
        return
    if prefix:
        from cxreport.checkpoints.convert_prefix import convert_prefix
        from cxreport.recipe import Recipe

        named = [f"model.language_model.path={language_model}"] if language_model else []
        chosen = Recipe.load(recipe or PREFIX_KINDS[kind].recipe, named + (changes or []))
        done = convert_prefix(source, kind, out, chosen, encoder)
    elif annotation is not None and generator:
        from cxreport.checkpoints.convert_r2gen import convert_r2gen

        done = convert_r2gen(source, annotation, out, heads or 8, threshold, kind)
    else:
        done = convert_encoder(source, kind, out, heads)
    shape = done.options.model_dump(exclude_defaults=True, mode="json")
    if as_json:
        account = done.account
        print_json({"folder": str(out), "encoder": shape, "kept": account.kept, "dropped": account.dropped})
        return
    for line in done.account.lines():
        typer.echo(line)
    if generator or prefix:
        typer.echo(f"{out}: a model folder, for cxreport generate.")
        return
    options = {"name": done.options.name} | shape | {"init": str(out)}
    inside = ", ".join(f"{key}: {value}" for key, value in options.items())
    typer.echo(f"{out}: {done.options.name}. In a recipe: encoder: {{{inside}}}")


def _convert_bank(source: Path, out: Path, as_json: bool) -> None:
    from cxreport.checkpoints.convert_bank import WARNING, convert_bank

    counts = convert_bank(source, out)
    if as_json:
        print_json({"folder": str(out), "vectors": counts, "warning": WARNING})
        return
    typer.echo(f"{out}: {sum(counts.values())} vectors of {len(counts)} label{'s' * (len(counts) > 1)}.")
    typer.echo(f"Warning: {WARNING}", err=True)

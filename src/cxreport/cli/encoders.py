"""``cxreport encoders``: which image encoders there are, and what their tokens cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from cxreport.cli.common import AsJson, app
from cxreport.terminal import Bar, bars, print_json, print_table


@app.command()
def encoders(
    profile: Annotated[
        str | None, typer.Option(metavar="NAME", help="Measure this encoder instead of listing all.")
    ] = None,
    sizes: Annotated[
        str | None, typer.Option(help="Image sides in pixels to measure: 512,1024,1280.")
    ] = None,
    training: Annotated[
        bool, typer.Option("--training", help="Measure a forward and a backward pass.")
    ] = False,
    fast: Annotated[
        bool,
        typer.Option("--fast", help="Also try faster inference: bfloat16 products, compiled blocks, both."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the image encoders with parameters, tokens and source, or measure what one costs."""
    if profile is None and (sizes is not None or training or fast):
        raise typer.BadParameter("--sizes, --training and --fast need --profile NAME.")
    if profile is None:
        from cxreport.encoders.listing import list_encoders

        rows = list_encoders()
        print_json({"encoders": rows}) if as_json else _print_list(rows)
        return
    chosen = _sides(sizes)

    from cxreport.encoders.profile import profile as measured

    with bars() as bar:
        costs = measured(profile, chosen, training, faster=fast, progress=_one_bar_a_size(bar))
    print_json(costs) if as_json else _print_costs(costs)


def _one_bar_a_size(bar: Bar) -> Callable[[int], None]:
    """Begins the bar of a size and ends the one before."""
    begun: list[int] = []

    def progress(size: int) -> None:
        if begun:
            bar(f"{begun[-1]} px", 1, 1)
        begun.append(size)
        bar(f"{size} px", 0, 1)

    return progress


def _sides(text: str | None) -> list[int] | None:
    try:
        return [int(part) for part in text.split(",")] if text else None
    except ValueError:
        raise typer.BadParameter(
            f"--sizes are whole numbers with commas between them, not {text!r}."
        ) from None


def _print_list(rows: list[dict[str, Any]]) -> None:
    sizes = list(rows[0]["tokens"])
    header = ("name", "parameters (M)", *(f"tokens at {size}" for size in sizes), "published source")
    lines = []
    for row in rows:
        tokens = [f"{count:,}" if count else "-" for count in row["tokens"].values()]
        lines.append((row["name"], f"{row['parameters'] / 1e6:.1f}", *tokens, row["source"]))
    print_table(header, lines, text=(0, len(header) - 1))


def _print_costs(costs: dict[str, Any]) -> None:
    from cxreport.encoders.fast import sentence

    header = ("image (px)", "tokens", "seconds", "peak memory (MB)", "operations (G)")
    lines = [
        (
            str(row["size"]),
            f"{row['tokens']:,}",
            f"{row['seconds']:.3f}",
            f"{row['memory_bytes'] / 1e6:.1f}",
            f"{row['operations'] / 1e9:.2f}",
        )
        for row in costs["rows"]
    ]
    print_table(header, lines)
    passes = "forward and backward" if costs["training"] else "forward"
    typer.echo(
        f"{costs['name']}: {costs['parameters'] / 1e6:.1f} M parameters, {passes}, one image,"
        f" {costs['threads']} thread(s)."
    )
    for row in costs["rows"]:
        if "fast" in row:
            typer.echo(f"{row['size']} px. {sentence(row['fast'])}")
    growth = ", ".join(f"{cost.partition('_')[0]} {value:.2f}" for cost, value in costs["exponents"].items())
    typer.echo(f"Growth exponents in tokens, from {costs['fitted_from_tokens']:,} tokens on: {growth}.")

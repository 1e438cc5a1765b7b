"""``cxreport bank``: make the memory bank of a dataset, and show what one holds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from cxreport.cli.common import AsJson, OutFolder, bank_app
from cxreport.terminal import bars, print_json, print_table


@bank_app.command()
def make(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Prepared dataset; its train split is taken.")],
    encoder: Annotated[
        Path,
        typer.Option(
            help="Run folder, model folder or folder of encoder weights: what makes vectors of images."
        ),
    ],
    out: OutFolder,
    size: Annotated[
        int | None,
        typer.Option(min=32, max=4096, help="Side of the images in pixels; the encoder's own if left out."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Studies at a time.")] = 32,
    as_json: AsJson = False,
) -> None:
    """Make a bank of the train split; the same command goes on after Ctrl-C."""
    import torch

    from cxreport.checkpoints.feature_source import open_features
    from cxreport.data.store import PreparedDataset
    from cxreport.memories.making import make_bank

    source = open_features(encoder, "cuda" if torch.cuda.is_available() else "cpu")
    chosen = source.data if size is None else source.data.model_copy(update={"image_size": size})
    with bars() as bar:
        bank = make_bank(
            PreparedDataset.open(data),
            source.features,
            source.encoder,
            chosen,
            out,
            batch_size=batch_size,
            progress=bar,
        )
    facts = bank.facts()
    print_json(facts) if as_json else typer.echo(
        f"{out}: {facts['entries']} entries of width {facts['width']} from {facts['studies']} train studies."
    )


@bank_app.command()
def show(
    bank: Annotated[Path, typer.Argument(metavar="BANK", help="Bank folder, or a model folder with one.")],
    data: Annotated[
        Path | None, typer.Option(help="Prepared dataset; refuse a bank that holds its val or test studies.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Verify a bank and say what it holds and what it was made from."""
    from cxreport.data.store import PreparedDataset
    from cxreport.memories.bank import Bank
    from cxreport.memories.leaks import refuse_leaks

    found = Bank.load(bank / "model" if (bank / "model").is_dir() else bank)
    if data is not None:
        with bars() as bar:
            refuse_leaks([found], PreparedDataset.open(data), bar)
    facts = found.facts()
    print_json(facts) if as_json else print_table(("", ""), _rows(facts, found), text=(0, 1))
    if data is not None and not as_json:
        typer.echo(f"No study of val or test of {data} is in it.")


def _rows(facts: dict[str, Any], bank: Any) -> list[tuple[str, str]]:
    kinds = Counter(entry.kind for entry in bank.entries)
    rows = [
        ("entries", ", ".join(f"{count:,} {kind}" for kind, count in kinds.items())),
        ("width", str(facts["width"])),
        ("studies, patients", f"{facts['studies']:,}, {facts['patients']:,}"),
        ("with text, labels, pictures", ", ".join(f"{facts[f'with_{name}']:,}" for name in _PARTS)),
        ("split", facts["split"]),
        ("dataset", " ".join(filter(None, (facts["dataset"].get("source"), facts["dataset"].get("sha256"))))),
        ("encoder", " ".join(filter(None, (facts["encoder"].get("name"), facts["encoder"].get("sha256"))))),
        ("images", f"{facts['data']['image_size']} px"),
        ("made by", facts["made"]),
        ("sha256", facts["sha256"]),
    ]
    return rows


_PARTS = ("text", "labels", "pictures")

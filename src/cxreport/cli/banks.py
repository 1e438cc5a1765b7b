"""``cxreport bank``: make the memory banks of a dataset, and show what a folder of them holds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cxreport.cli.common import SEEDS, AsJson, OutFolder, bank_app
from cxreport.recipe import model_inside
from cxreport.terminal import bars, print_json, print_table

_OF_KIND = {"patch": "disease", "most": "disease or report", "pooling": "report", "seed": "disease or report"}
"""Options that only one kind of bank has."""


@bank_app.command()
def make(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Prepared dataset; its train split is taken.")],
    encoder: Annotated[
        Path,
        typer.Option(
            help="What makes the vectors. study: run folder, model folder or encoder folder; disease: run of"
            " the objective disease; report: folder of a language model or BERT."
        ),
    ],
    out: OutFolder,
    kind: Annotated[
        Literal["study", "disease", "report"],
        typer.Option(help="Vectors of whole studies; AM-MRG's disease tokens and patches, or its reports."),
    ] = "study",
    size: Annotated[
        int | None,
        typer.Option(min=32, max=4096, help="Side of the images in pixels; the encoder's own if left out."),
    ] = None,
    patch: Annotated[
        Literal["token", "crop"] | None,
        typer.Option(help="disease: patches are the encoder's tokens (default), or crops encoded anew."),
    ] = None,
    most: Annotated[
        int | None,
        typer.Option(min=1, help="disease: most patches of a disease [500]; report: most reports [6000]."),
    ] = None,
    pooling: Annotated[
        Literal["mean", "first", "last"] | None,
        typer.Option(help="report: the mean over tokens (default), or the first ([CLS]) or last token."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="disease, report: decides which studies are drawn.", **SEEDS)
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Studies at a time.")] = 32,
    as_json: AsJson = False,
) -> None:
    """Make a bank of the train split. For studies the same command goes on after Ctrl-C."""
    given = {"patch": patch, "most": most, "pooling": pooling, "seed": seed}
    for name, value in given.items():
        if value is not None and kind not in _OF_KIND[name]:
            raise typer.BadParameter(f"--{name} is for --kind {_OF_KIND[name]}.")
    if size is not None and kind == "report":
        raise typer.BadParameter("--size is for banks of images.")
    chosen = {name: value for name, value in given.items() if value is not None}
    makers = {"study": _study_banks, "disease": _disease_banks, "report": _report_banks}
    banks = makers[kind](data, encoder, out, size, batch_size, chosen)
    facts = {name: bank.facts() for name, bank in banks.items()}
    if as_json:
        print_json(facts if len(facts) > 1 else next(iter(facts.values())))
        return
    for name, own in facts.items():
        what = "entries" if kind == "study" else f"entries of {name}"
        typer.echo(
            f"{out}: {own['entries']} {what} of width {own['width']} from {own['studies']} train studies."
        )


@bank_app.command()
def show(
    bank: Annotated[Path, typer.Argument(metavar="BANK", help="Bank folder, or a model folder with one.")],
    data: Annotated[
        Path | None, typer.Option(help="Prepared dataset; refuse a bank that holds its val or test studies.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Verify the banks of a folder and say what they hold and what they were made from."""
    from cxreport.data.store import PreparedDataset
    from cxreport.memories.bank import Bank, bank_names
    from cxreport.memories.leaks import refuse_leaks

    folder = model_inside(bank)
    banks = {name: Bank.load(folder, name) for name in bank_names(folder)}
    if data is not None:
        with bars() as bar:
            refuse_leaks(list(banks.values()), PreparedDataset.open(data), bar)
    if as_json:
        facts = {name: own.facts() for name, own in banks.items()}
        print_json(facts if len(facts) > 1 else next(iter(facts.values())))
        return
    for name, own in banks.items():
        print_table(("", ""), [("bank", name)] * (len(banks) > 1) + _rows(own.facts(), own), text=(0, 1))
    if data is not None:
        typer.echo(f"No study of val or test of {data} is in it.")


def _study_banks(
    data: Path, encoder: Path, out: Path, size: int | None, batch_size: int, chosen: dict[str, Any]
) -> dict[str, Any]:
    from cxreport.checkpoints.feature_source import open_features
    from cxreport.data.store import PreparedDataset
    from cxreport.memories.making import make_bank

    source = open_features(encoder, _device())
    options = source.data if size is None else source.data.model_copy(update={"image_size": size})
    dataset = PreparedDataset.open(data)
    with bars() as bar:
        bank = make_bank(
            dataset, source.features, source.encoder, options, out, batch_size=batch_size, progress=bar
        )
    return {"bank": bank}


def _disease_banks(
    data: Path, encoder: Path, out: Path, size: int | None, batch_size: int, chosen: dict[str, Any]
) -> dict[str, Any]:
    from cxreport.data.store import PreparedDataset
    from cxreport.errors import UserError
    from cxreport.objectives.disease import DiseaseClassification
    from cxreport.objectives.disease_bank import DiseaseBankOptions, make_disease_banks
    from cxreport.objectives.folder import data_options, load_objective
    from cxreport.options import DataOptions
    from cxreport.weights.folder import weights_sha256

    folder = model_inside(encoder)
    classifier = load_objective(folder)
    if not isinstance(classifier, DiseaseClassification):
        raise UserError(
            f"{encoder} holds no classifier of diseases; pre-train one with the objective disease."
        )
    if classifier.queries is None:
        typer.echo(
            "The classifier has no disease queries: the bank has patches and no disease tokens.", err=True
        )
    facts = {"name": "disease", "sha256": weights_sha256(classifier)}
    options = DataOptions(**data_options(folder).model_dump())
    options = options if size is None else options.model_copy(update={"image_size": size})
    names = {"most": "patches"}
    chosen_options = DiseaseBankOptions(**{names.get(name, name): value for name, value in chosen.items()})
    with bars() as bar:
        return dict(
            make_disease_banks(
                PreparedDataset.open(data),
                classifier.to(_device()),
                facts,
                options,
                out,
                chosen_options,
                batch_size=batch_size,
                progress=bar,
            )
        )


def _report_banks(
    data: Path, encoder: Path, out: Path, size: int | None, batch_size: int, chosen: dict[str, Any]
) -> dict[str, Any]:
    from cxreport.data.store import PreparedDataset
    from cxreport.objectives.report_bank import REPORTS, make_report_bank
    from cxreport.objectives.text_encoder import build_text_encoder
    from cxreport.options import DataOptions
    from cxreport.pretraining import TextOptions
    from cxreport.weights.folder import weights_sha256

    wanted = TextOptions(
        name=str(encoder), pooling=chosen.pop("pooling", "mean"), frozen=True, max_length=256
    )
    texts = build_text_encoder(wanted, (), "--encoder").eval()
    facts = {"name": texts.model.config.model_type, "sha256": weights_sha256(texts)}
    with bars() as bar:
        bank = make_report_bank(
            PreparedDataset.open(data),
            texts.to(_device()),
            facts,
            DataOptions(),
            out,
            batch_size=batch_size,
            progress=bar,
            **chosen,
        )
    return {REPORTS: bank}


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


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

"""``cxreport data import SOURCE``: releases of the field as prepared datasets; ``cxreport data rexrank``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxreport.cli.common import OutFolder, data_app, import_app, output
from cxreport.cli.data import (
    ImageFormat,
    ImportOptions,
    KeepIdentifiers,
    MaxSide,
    SaltFile,
    Seed,
    Split,
    SplitBy,
    StoredAs,
    TextOnly,
    Workers,
    run_import,
)

if TYPE_CHECKING:
    from cxreport.data.sources import Release


class Sections(StrEnum):
    """Sections that a study must have."""

    any = "any"
    findings = "findings"
    impression = "impression"
    both = "both"
    none = "none"


class MimicLabels(StrEnum):
    """Label tables of MIMIC-CXR-JPG."""

    chexpert = "chexpert"
    negbio = "negbio"
    none = "none"


class LabelledText(StrEnum):
    """Texts that CheXbert labelled."""

    report = "report"
    findings = "findings"
    impression = "impression"
    none = "none"


class Share(StrEnum):
    """Percent of HD-MAE's train list."""

    one = "1"
    ten = "10"
    all = "100"


class Encoding(StrEnum):
    """Encodings of a CSV."""

    utf8 = "utf-8"
    gb18030 = "gb18030"


Root = Annotated[Path, typer.Argument(metavar="ROOT", help="Folder of the release.")]
Needs = Annotated[Sections, typer.Option("--sections", help="Sections that a study must have.")]
Images = Annotated[Path | None, typer.Option(help="Folder of the images; else the folder of the file.")]


def _shared(
    out: OutFolder,
    split: Split = SplitBy.official,
    seed: Seed = 9223,
    max_side: MaxSide = None,
    image_format: StoredAs = ImageFormat.png,
    keep_identifiers: KeepIdentifiers = False,
    salt_file: SaltFile = None,
    text_only: TextOnly = False,
    workers: Workers = None,
) -> ImportOptions:
    return ImportOptions(
        out, split, seed, max_side, image_format, keep_identifiers, salt_file, text_only, workers
    )


def _import_command(name: str) -> Callable[[Callable[..., Release]], Callable[..., Release]]:
    """Make a command of a function that gives a release: its own options and those of every import."""

    def register(read: Callable[..., Release]) -> Callable[..., Release]:
        own, shared = (
            inspect.signature(function, locals={"Release": object}, eval_str=True).parameters
            for function in (read, _shared)
        )

        def command(**given: Any) -> None:
            options = _shared(**{name: given.pop(name) for name in shared})
            run_import(read(**given), options)

        parameters = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in (*own.values(), *shared.values())
        ]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        command.__doc__ = read.__doc__
        import_app.command(name)(command)
        return read

    return register


@_import_command("iu-xray")
def _iu_xray(root: Root) -> Release:
    """IU X-ray in R2Gen's layout: annotation.json and the folder images."""
    from cxreport.data.sources.iu_xray import iu_xray

    return iu_xray(root)


@_import_command("openi")
def _openi(
    root: Root,
    sections: Needs = Sections.any,
    r2gen_split: Annotated[
        bool, typer.Option("--r2gen-split", help="R2Gen's ids and split; 2,955 of the 3,955 reports.")
    ] = False,
) -> Release:
    """Open-i: the XML reports of Indiana University, their images and codes."""
    from cxreport.data.sources.openi import openi

    return openi(root, sections=sections.value, r2gen=r2gen_split)


@_import_command("mimic-cxr")
def _mimic_cxr(
    root: Root,
    reports: Annotated[
        Path | None,
        typer.Option(help="mimic_cxr_sectioned.csv, or the folder above files/p10/...; else ROOT."),
    ] = None,
    labels: Annotated[MimicLabels, typer.Option(help="Which table of labels.")] = MimicLabels.chexpert,
    sections: Needs = Sections.any,
    last_paragraph: Annotated[
        bool, typer.Option("--last-paragraph", help="It stands in for absent findings.")
    ] = False,
    hand_ruled: Annotated[
        bool, typer.Option("--hand-ruled", help="Take the 54 studies that the official table leaves out.")
    ] = False,
    annotation: Annotated[
        Path | None, typer.Option(help="R2Gen's annotation.json in place of reports and tables.")
    ] = None,
) -> Release:
    """MIMIC-CXR-JPG with the reports of MIMIC-CXR, or R2Gen's annotation of it."""
    from cxreport.data.sources.mimic_cxr import mimic_cxr, mimic_cxr_annotation

    if annotation is not None:
        return mimic_cxr_annotation(root, annotation)
    return mimic_cxr(
        root,
        reports=reports,
        labels=labels.value,
        sections=sections.value,
        last_paragraph=last_paragraph,
        hand_ruled=hand_ruled,
    )


@_import_command("chexpert-plus")
def _chexpert_plus(
    root: Root,
    labels: Annotated[LabelledText, typer.Option(help="Text that CheXbert labelled.")] = LabelledText.report,
    sections: Needs = Sections.any,
    annotation: Annotated[
        Path | None, typer.Option(help="annotation.json of CXPMRG-Bench in place of the table.")
    ] = None,
) -> Release:
    """CheXpert Plus: df_chexpert_plus_240401.csv, PNG and chexbert_labels."""
    from cxreport.data.sources.chexpert_plus import chexpert_plus, chexpert_plus_annotation

    if annotation is not None:
        return chexpert_plus_annotation(root, annotation)
    return chexpert_plus(root, labels=labels.value, sections=sections.value)


@_import_command("nih")
def _nih(root: Root) -> Release:
    """ChestX-ray14 of the NIH: images, labels and boxes; it has no reports."""
    from cxreport.data.sources.nih import nih

    return nih(root)


@_import_command("covid")
def _covid(root: Root) -> Release:
    """covid-chestxray-dataset: X-rays of publications with clinical notes."""
    from cxreport.data.sources.covid import covid

    return covid(root)


@_import_command("rsna")
def _rsna(
    root: Root,
    lists: Annotated[
        Path | None, typer.Option(help="Folder of HD-MAE's list files, which become the split.")
    ] = None,
    share: Annotated[Share, typer.Option(help="Percent of the train list.")] = Share.all,
) -> Release:
    """RSNA Pneumonia Detection Challenge: DICOM images and boxes; it has no reports."""
    from cxreport.data.sources.rsna import SHARES, rsna

    return rsna(root, lists=lists, share=SHARES[share.value])


@_import_command("rexrank")
def _rexrank(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON of the leaderboard.")],
    images: Images = None,
    sections: Needs = Sections.any,
) -> Release:
    """ReXrank's JSON: an object of studies by id."""
    from cxreport.data.sources.rexrank import rexrank

    return rexrank(file, images=images, sections=sections.value)


@_import_command("chinese")
def _chinese(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON in R2Gen's form, or CSV.")],
    images: Images = None,
    encoding: Annotated[Encoding, typer.Option(help="Of a CSV.")] = Encoding.utf8,
    sections: Needs = Sections.findings,
) -> Release:
    """Chinese reports: JSON or CSV with findings in image_finding."""
    from cxreport.data.sources.chinese import chinese

    return chinese(file, images=images, encoding=encoding.value, sections=sections.value)


@data_app.command("rexrank")
def data_rexrank(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON of the leaderboard.")],
    predictions: Annotated[Path, typer.Argument(help="predictions.jsonl with a draft for every study.")],
    out: Annotated[Path, typer.Option(help="JSON file to write.")],
    impressions: Annotated[
        Path | None, typer.Option(help="predictions.jsonl of impressions: the track of whole reports.")
    ] = None,
) -> None:
    """Write a ReXrank submission: the leaderboard's JSON with model_prediction in every study."""
    from cxreport.data.sources.rexrank import write_rexrank
    from cxreport.metrics.predictions import read_predictions

    def drafts(path: Path) -> dict[str, str]:
        studies = read_predictions(path).studies
        return {study.study_id: study.hypothesis for study in studies if study.hypothesis is not None}

    with output(out):
        written = write_rexrank(file, out, drafts(predictions), drafts(impressions) if impressions else None)
    typer.echo(f"{out}: {written} studies")

"""The command line: parse, call, print; nothing else. Each command imports what it needs when it runs.

Results go to stdout, everything else to stderr. Exit status: 0 done; 1 a mistake of the user, told in one
sentence; 2 wrong arguments; 130 interrupted.
"""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from cxreport import DISCLAIMER, __version__
from cxreport.errors import UserError
from cxreport.terminal import (
    StderrHandler,
    bars,
    drafts_tree,
    print_drafts,
    print_json,
    print_scores,
    tell_dataset,
    tell_exclusions,
    tell_warnings,
)

_PURPOSE = "Drafts are preliminary and not for diagnosis."
_STORAGE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)


class Language(StrEnum):
    """Languages of phantom reports."""

    grammar = "grammar"
    openi = "openi"


class _Commands(TyperGroup):
    """Commands whose mistakes of the user become a sentence and a status."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            _fail(str(error))
        except OSError as error:
            if error.errno not in _STORAGE_ERRORS:
                raise
            where = error.filename or "a file"
            _fail(f"Cannot use {where}: {os.strerror(error.errno)}; make room or choose another folder.")
        except KeyboardInterrupt:
            typer.echo("Interrupted.", err=True)
            raise typer.Exit(130) from None


def _fail(sentence: str) -> NoReturn:
    typer.echo(f"Error: {sentence}", err=True)
    raise typer.Exit(1) from None


@contextmanager
def _output(path: Path) -> Iterator[None]:
    """Make the folders above the file `path`; a failure to write it becomes a sentence."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise UserError(f"Cannot write {path}: {reason}; make room or choose another --out.") from None


app = typer.Typer(cls=_Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
phantom_app = typer.Typer(
    no_args_is_help=True, help="Chest X-rays that we render ourselves, with known truth."
)
data_app = typer.Typer(no_args_is_help=True, help="Prepared datasets.")
import_app = typer.Typer(no_args_is_help=True, help="Prepare a dataset from real images and reports.")
app.add_typer(phantom_app, name="phantom")
app.add_typer(data_app, name="data")
data_app.add_typer(import_app, name="import")

OutFolder = Annotated[Path, typer.Option("--out", help="Folder to write; absent or empty.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of text.")]
_SEEDS: dict[str, Any] = {"min": 0, "max": 2**31 - 1}


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cxreport {__version__}")
        raise typer.Exit


@app.callback(help=f"Draft, train, score and compare radiology reports from chest X-rays. {_PURPOSE}")
def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    logger = logging.getLogger("cxreport")
    logger.handlers = [StderrHandler()]
    logger.setLevel(logging.INFO)


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


@phantom_app.command("make")
def phantom_make(
    out: OutFolder,
    studies: Annotated[
        int | None,
        typer.Option(help="Number of studies, at least 10. Needed for grammar; openi: all where left out."),
    ] = None,
    size: Annotated[int, typer.Option(help="Side of a view in pixels, 32 to 2048.")] = 224,
    language: Annotated[
        Language, typer.Option(help="Our grammar, or real Open-i reports.")
    ] = Language.grammar,
    seed: Annotated[
        int, typer.Option(help="Decides chests, findings and words; the same seed, the same data.", **_SEEDS)
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
    with _output(out):
        contact_sheet(shown, out)
    typer.echo(str(out))


@import_app.command("folder")
def import_folder(
    source: Annotated[Path, typer.Argument(help="Folder of PNG, JPEG or DICOM images.")],
    csv: Annotated[Path, typer.Option(help="CSV file with a header and a row per image.")],
    id_column: Annotated[str, typer.Option("--id", help="Column of the study id.")],
    image_column: Annotated[str, typer.Option("--image", help="Column of the image's path in the folder.")],
    report_column: Annotated[str, typer.Option("--report", help="Column of the report.")],
    patient_column: Annotated[str, typer.Option("--patient", help="Column of the patient id.")],
    out: OutFolder,
    projection_column: Annotated[
        str | None, typer.Option("--projection", help="Column of the projection (PA, AP, lateral).")
    ] = None,
    max_side: Annotated[int | None, typer.Option(min=32, help="Shrink larger images to this side.")] = None,
    seed: Annotated[int, typer.Option(help="Decides which patient is in which split.", **_SEEDS)] = 9223,
) -> None:
    """Prepare a dataset from a folder of images and a CSV, split by patient."""
    from cxreport.data.exclusions import Exclusions
    from cxreport.data.sources.folder import SECTION, folder_studies
    from cxreport.data.splits import SHARES
    from cxreport.data.store import write_dataset
    from cxreport.study import SPLITS

    exclusions = Exclusions()
    warnings: list[str] = []
    columns = {"id": id_column, "image": image_column, "report": report_column, "patient": patient_column}
    with bars() as bar:
        studies = folder_studies(
            source,
            csv,
            id_column=id_column,
            image_column=image_column,
            report_column=report_column,
            patient_column=patient_column,
            projection_column=projection_column,
            seed=seed,
            max_side=max_side,
            exclusions=exclusions,
            warnings=warnings,
            progress=lambda done, total: bar("images", done, total),
        )
        dataset = write_dataset(
            studies,
            out,
            source="folder",
            source_version="1",
            options={
                "columns": {**columns, "projection": projection_column},
                "report_section": SECTION,
                "shares": dict(zip(SPLITS, SHARES, strict=True)),
                "seed": seed,
                "max_side": max_side,
            },
            exclusions=exclusions,
        )
    tell_warnings(warnings)
    tell_dataset(dataset)


@app.command()
def train(
    recipe: Annotated[
        Path, typer.Argument(help="YAML file, or the name of a recipe that comes with cxreport.")
    ],
    data: Annotated[Path, typer.Option(help="Prepared dataset.")],
    out: Annotated[Path, typer.Option(help="Run folder to write; absent or empty, unless with --resume.")],
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

    chosen = Recipe.load(recipe, changes or [])

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

    generator, recipe = load_model(model / "model" if (model / "model").is_dir() else model)
    generator.to("cuda" if torch.cuda.is_available() else "cpu")
    if prepared and out is not None:
        from cxreport.data.store import PreparedDataset

        with bars() as bar:
            summary = draft_split(
                generator, recipe, PreparedDataset.open(prepared[0]), split, out, progress=bar
            )
        for note in summary.notes:
            typer.echo(note, err=True)
        facts = {"predictions": str(out), "studies": summary.studies, "controls": list(summary.controls)}
        facts |= {"resumed": summary.resumed, "seconds_per_study": summary.seconds_per_study}
        print_json(facts) if as_json else typer.echo(f"{out}: {summary.studies} drafts. {DISCLAIMER}")
        return
    with bars() as bar:
        drafts = draft_files(generator, recipe, inputs, progress=bar)
    if out is not None:
        write_predictions(drafts.records, out)
    tell_exclusions(drafts.exclusions)
    print_json(drafts_tree(drafts)) if as_json else print_drafts(drafts)


@app.command()
def evaluate(
    predictions: Annotated[Path | None, typer.Argument(help="predictions.jsonl")] = None,
    hypotheses: Annotated[Path | None, typer.Option(help="Text file, one draft a line.")] = None,
    references: Annotated[Path | None, typer.Option(help="Text file, one report a line.")] = None,
    protocol: Annotated[str, typer.Option(help="Protocol of text files.")] = "raw",
    out: Annotated[Path | None, typer.Option(help="scores.json to write.")] = None,
    seed: Annotated[int, typer.Option(help="Decides the resamples of the intervals.", **_SEEDS)] = 9223,
    min_positives: Annotated[
        int, typer.Option(min=1, help="True items that a kind of finding needs to enter macro averages.")
    ] = 20,
    as_json: AsJson = False,
) -> None:
    """Score drafts against their references, with 95 % intervals and every control."""
    from cxreport.metrics.evaluate import evaluate_file, evaluate_texts

    texts = [hypotheses, references]
    if (predictions is None) == (texts == [None, None]):
        raise typer.BadParameter("give predictions.jsonl, or --hypotheses and --references.")
    if predictions is not None:
        scores = evaluate_file(predictions, seed=seed, min_positives=min_positives)
    elif hypotheses is not None and references is not None:
        scores = evaluate_texts(hypotheses, references, protocol=protocol, seed=seed)
    else:
        raise typer.BadParameter("--hypotheses and --references belong together.")
    text = json.dumps(scores, indent=2, ensure_ascii=False)
    if out is not None:
        with _output(out):
            out.write_text(text + "\n", encoding="utf-8")
    if as_json:
        typer.echo(text)
        return
    print_scores(scores)


def main() -> None:
    """Entry point of the ``cxreport`` command."""
    app()

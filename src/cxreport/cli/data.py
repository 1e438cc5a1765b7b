"""``cxreport data``: prepare datasets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxreport.cli.common import SEEDS, AsJson, OutFolder, data_app, import_app, output
from cxreport.errors import UserError
from cxreport.terminal import bars, print_checks, print_json, tell_dataset

if TYPE_CHECKING:
    from cxreport.data.sources import Release


class SplitBy(StrEnum):
    """How an import splits."""

    official = "official"
    patient = "patient"


class ImageFormat(StrEnum):
    """How an import stores images."""

    png = "png"
    jpeg = "jpeg"


Split = Annotated[SplitBy, typer.Option(help="The split of the release where it has one, or one by patient.")]
Seed = Annotated[int, typer.Option(help="Decides which patient is in which split.", **SEEDS)]
MaxSide = Annotated[int | None, typer.Option(min=32, help="Shrink larger images to this side.")]
StoredAs = Annotated[ImageFormat, typer.Option("--format", help="Of the stored images; JPEG is quality 95.")]
KeepIdentifiers = Annotated[
    bool, typer.Option("--keep-identifiers", help="Keep patient ids instead of salted hashes.")
]
SaltFile = Annotated[
    Path | None,
    typer.Option(help="File whose text salts the hashes of patient ids; random where left out."),
]
TextOnly = Annotated[bool, typer.Option("--text-only", help="Take the reports alone and read no image.")]
Workers = Annotated[
    int | None, typer.Option(min=1, max=256, help="Processes that read images; all cores where left out.")
]


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What every import command asks for."""

    out: Path
    split: SplitBy = SplitBy.official
    seed: int = 9223
    max_side: int | None = None
    image_format: ImageFormat = ImageFormat.png
    keep_identifiers: bool = False
    salt_file: Path | None = None
    text_only: bool = False
    workers: int | None = None


def run_import(release: Release, options: ImportOptions) -> None:
    """Import `release` with a progress bar, then tell what was made, left out and suspicious."""
    from cxreport.data.importing import import_release

    with bars() as bar, _resumable():
        dataset = import_release(
            release,
            options.out,
            split=options.split.value,
            seed=options.seed,
            max_side=options.max_side,
            image_format=options.image_format.value,
            keep_identifiers=options.keep_identifiers,
            text_only=options.text_only,
            salt=_salt(options.salt_file),
            workers=options.workers,
            progress=bar,
        )
    tell_dataset(dataset)


@contextmanager
def _resumable() -> Iterator[None]:
    """Tell who interrupts an import that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("The same command goes on after the last finished shard.", err=True)
        raise


def _salt(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        salt = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read --salt-file {path} as text: {error}.") from None
    if not salt:
        raise UserError(f"--salt-file {path} is empty; put a secret line of random characters into it.")
    return salt


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
    seed: Seed = 9223,
    max_side: MaxSide = None,
    image_format: StoredAs = ImageFormat.png,
    keep_identifiers: KeepIdentifiers = False,
    salt_file: SaltFile = None,
    workers: Workers = None,
) -> None:
    """Prepare a dataset from a folder of images and a CSV, split by patient."""
    from cxreport.data.sources.folder import folder

    release = folder(
        source,
        csv,
        id_column=id_column,
        image_column=image_column,
        report_column=report_column,
        patient_column=patient_column,
        projection_column=projection_column,
    )
    run_import(
        release,
        ImportOptions(
            out,
            split=SplitBy.patient,
            seed=seed,
            max_side=max_side,
            image_format=image_format,
            keep_identifiers=keep_identifiers,
            salt_file=salt_file,
            workers=workers,
        ),
    )


@data_app.command("check")
def data_check(
    folder: Annotated[Path, typer.Argument(help="Prepared dataset.")],
    as_json: AsJson = False,
    workers: Workers = None,
) -> None:
    """Look for leaks between splits and other faults; exit status 0 when clean, 1 when not."""
    from cxreport.data.check import check_dataset
    from cxreport.data.store import PreparedDataset

    dataset = PreparedDataset.open(folder)
    with bars() as bar:
        checked = check_dataset(dataset, workers=workers, progress=bar)
    if as_json:
        print_json(checked.as_json())
    else:
        print_checks(checked)
    if not checked.clean:
        raise typer.Exit(1)


@data_app.command("subset")
def data_subset(
    folder: Annotated[Path, typer.Argument(help="Prepared dataset.")],
    fraction: Annotated[float, typer.Option(help="Share of the split, such as 0.01 or 0.1.")],
    out: Annotated[Path, typer.Option(help="JSON file of ids to write.")],
    split: Annotated[str, typer.Option(help="Split to take from.")] = "train",
    seed: Annotated[int, typer.Option(help="The same seed nests: 1 % lies inside 10 %.", **SEEDS)] = 9223,
) -> None:
    """Write the ids of a part of a split that has the same share of every label."""
    from cxreport.data.store import PreparedDataset
    from cxreport.data.subsets import write_subset

    dataset = PreparedDataset.open(folder)
    with output(out):
        subset = write_subset(dataset, out, fraction=fraction, seed=seed, split=split)
    if subset["stratified_by"] is None:
        typer.echo("No study has a label, so the subset is a plain random one.", err=True)
    typer.echo(f"{out}: {subset['count']} of the {split} split; sha256 {subset['sha256'][:12]}")


@data_app.command("show")
def data_show(
    folder: Annotated[Path, typer.Argument(help="Prepared dataset.")],
    out: Annotated[Path, typer.Option(help="HTML file to write.")],
    samples: Annotated[int, typer.Option(min=0, max=200, help="Studies to show.")] = 24,
    seed: Annotated[int, typer.Option(help="Decides which studies are shown.", **SEEDS)] = 9223,
) -> None:
    """Write a page of what the dataset holds: counts, labels, lengths, words, some studies."""
    from cxreport.data.show import write_show
    from cxreport.data.store import PreparedDataset

    dataset = PreparedDataset.open(folder)
    with output(out), bars() as bar:
        write_show(dataset, out, samples=samples, seed=seed, progress=bar)
    typer.echo(str(out))

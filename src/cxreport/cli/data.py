"""``cxreport data``: prepare datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxreport.cli.common import SEEDS, OutFolder, import_app
from cxreport.terminal import bars, tell_dataset, tell_warnings


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
    seed: Annotated[int, typer.Option(help="Decides which patient is in which split.", **SEEDS)] = 9223,
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

"""``cxreport contour show``: look at the chest that is found in images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from cxreport.cli.common import contour_app, output
from cxreport.errors import UserError


@contour_app.command("show")
def contour_show(
    folder: Annotated[
        Path, typer.Argument(help="Prepared dataset (its train split), or a folder of images.")
    ],
    out: Annotated[Path, typer.Option(help="PNG file to write.")],
    images: Annotated[int, typer.Option(min=1, help="Number of images to show.")] = 60,
) -> None:
    """Write a contact sheet: hull yellow, lungs green, the rectangle that stands in red."""
    from cxreport.encoders.contour_sheet import contour_sheet

    with output(out):
        shown, failures = contour_sheet(_pictures(folder, images), out)
    typer.echo(f"{out}: {shown} images, {failures} without a contour")


def _pictures(folder: Path, most: int) -> Iterator[Any]:
    """The first frontal views of a dataset's train split, or the first images of a folder by name."""
    from cxreport.data.images import decode, read_image
    from cxreport.data.store import PreparedDataset

    def readable(path: Path) -> Any:
        try:
            return read_image(path)
        except UserError as error:
            typer.echo(f"Left out: {error}", err=True)
            return None

    if (folder / "dataset.json").is_file():
        studies = PreparedDataset.open(folder).split("train")
        views = (view for study in studies for view in study.views if view.projection != "lateral")
    elif folder.is_dir():
        suffixes = (".png", ".jpg", ".jpeg", ".dcm")
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes)
        views = (view for path in paths if (view := readable(path)) is not None)
    else:
        raise UserError(f"{folder} is neither a prepared dataset nor a folder of images.")
    for _, view in zip(range(most), views, strict=False):
        yield decode(view, 512)

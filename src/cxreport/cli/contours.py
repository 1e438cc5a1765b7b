"""``cxreport contour show``: look at the chest that is found in images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from cxreport.cli.common import contour_app, output
from cxreport.errors import UserError

_SIZE = 512


@contour_app.command("show")
def contour_show(
    folders: Annotated[
        list[Path],
        typer.Argument(
            help="Prepared datasets (their train splits), or folders of images.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option(help="PNG file to write.")],
    images: Annotated[int, typer.Option(min=1, help="Number of images of each folder.")] = 60,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Draw the images with this seed; without it the first are shown."),
    ] = None,
) -> None:
    """Write a contact sheet: hull yellow, lungs green, the rectangle that stands in red."""
    from cxreport.encoders.contour_sheet import contour_sheet

    pictures = (picture for folder in folders for picture in _pictures(folder, images, seed))
    with output(out):
        shown, failures = contour_sheet(pictures, out)
    typer.echo(f"{out}: {shown} images, {failures} without a contour")


def _pictures(folder: Path, most: int, seed: int | None) -> Iterator[Any]:
    """Grey (H, W) frontal views of a dataset's train split, or images of a folder, in their order."""
    if (folder / "dataset.json").is_file():
        yield from _prepared(folder, most, seed)
    elif folder.is_dir():
        yield from _files(folder, most, seed)
    else:
        raise UserError(f"{folder} is neither a prepared dataset nor a folder of images.")


def _prepared(folder: Path, most: int, seed: int | None) -> Iterator[Any]:
    from cxreport.data.images import decode
    from cxreport.data.store import PreparedDataset

    studies = PreparedDataset.open(folder).split("train")
    places = [
        (study, view)
        for study, projections in enumerate(studies.projections)
        for view, projection in enumerate(projections)
        if projection != "lateral"
    ]
    for place in _drawn(len(places), most, seed):
        study, view = places[place]
        yield decode(studies[study].views[view], _SIZE)


def _files(folder: Path, most: int, seed: int | None) -> Iterator[Any]:
    from cxreport.data.images import decode, read_image

    suffixes = (".png", ".jpg", ".jpeg", ".dcm")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes)
    left = most
    for place in _drawn(len(paths), most if seed is not None else len(paths), seed):
        try:
            picture = decode(read_image(paths[place]), _SIZE)
        except UserError as error:
            typer.echo(f"Left out: {error}", err=True)
            continue
        yield picture
        left -= 1
        if not left:
            return


def _drawn(count: int, most: int, seed: int | None) -> list[int]:
    """`most` of `count` places in their order: the first, or with `seed` a random draw."""
    import numpy as np

    most = min(most, count)
    if seed is None:
        return list(range(most))
    return sorted(np.random.default_rng(seed).choice(count, most, replace=False).tolist())

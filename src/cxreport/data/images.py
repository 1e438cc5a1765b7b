"""Image files of any origin as views: 8-bit grey PNG bytes without metadata, and views as arrays.

A file is judged by its content, never by its name, and its declared size before anything is decoded.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageOps

from cxreport.data.pixels import MAX_PIXELS, check_size, row_blocks, stretched
from cxreport.errors import UserError
from cxreport.study import Projection, View

ImageFormat = Literal["png", "jpeg"]
JPEG_QUALITY = 95
MAX_FILE_BYTES = 2**28

# What Pillow raises on hostile bytes, by experience and by its source.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, struct.error, zlib.error)
_FORMATS = ("PNG", "JPEG")


@dataclass(frozen=True, slots=True)
class Inspected:
    """A readable image; `warnings` are sentences on why it may not be a fit chest X-ray."""

    view: View
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """What an image file shows: ``grey`` (H, W) uint8, and what is known about it."""

    grey: NDArray[np.uint8]
    projection: Projection | None = None
    warnings: tuple[str, ...] = ()

    def inspected(self, image_format: ImageFormat = "png") -> Inspected:
        """The same with its pixels encoded."""
        return Inspected(view_of(self.grey, self.projection, image_format=image_format), self.warnings)


def read_image(path: Path | str, *, max_side: int | None = None) -> View:
    """The view in a PNG, JPEG or DICOM file; see :func:`inspect`, whose warnings this leaves out."""
    return inspect(path, max_side=max_side).view


def inspect(path: Path | str, *, max_side: int | None = None, image_format: ImageFormat = "png") -> Inspected:
    """The view in a PNG, JPEG or DICOM file and what is suspicious about it.

    Colour becomes luminance, transparency black, 16 bits become 8, EXIF orientation is applied and no
    metadata is carried on. With `max_side` a larger image shrinks until its longer side fits. The
    projection comes from the DICOM header; it is None for PNG and JPEG. `image_format` is that of the
    view's bytes; ``jpeg`` has quality 95. For a file of a stranger use
    :class:`cxreport.data.isolation.IsolatedReader`, which gives the same in a process of its own.

    Raises:
        UserError: the file is absent, empty, truncated, of another kind, too large, animated, or shows
            one single grey.
    """
    return picture_in(Path(path), max_side=max_side).inspected(image_format)


def picture_in(path: Path, *, name: str | None = None, max_side: int | None = None) -> Picture:
    """The picture in a file, not yet encoded; sentences call it `name`. See :func:`inspect`."""
    name = name or str(path)
    try:
        if not path.is_file():
            raise UserError(f"There is no file {name}." if not path.exists() else f"{name} is not a file.")
        file = path.open("rb")
    except (OSError, ValueError) as error:
        raise UserError(
            f"Cannot read {name}: {getattr(error, 'strerror', None) or 'no such name'}."
        ) from None
    with file:
        return picture_of(file, name, max_side=max_side)


def picture_of(file: BinaryIO, name: str, *, max_side: int | None = None) -> Picture:
    """The picture in the bytes of an image file, which sentences call `name`; see :func:`inspect`."""
    size = file.seek(0, io.SEEK_END)
    if size == 0:
        raise UserError(f"{name} is empty (0 bytes).")
    if size > MAX_FILE_BYTES:
        raise UserError(f"{name} has {size >> 20} MiB, more than the {MAX_FILE_BYTES >> 20} allowed.")
    file.seek(0)
    start = file.read(132)
    if start[128:132] == b"DICM":
        from cxreport.data.dicom import read_dicom

        dicom = read_dicom(file, name)
        picture = Picture(dicom.pixels, dicom.projection, dicom.warnings)
    elif start.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")):
        picture = Picture(_grey_of(file, name, max_side))
    else:
        raise UserError(f"{name} is not a PNG, JPEG or DICOM file, whatever its name says.")
    if picture.grey.min() == picture.grey.max():
        raise UserError(f"{name} shows one single grey; it is not a radiograph.")
    return replace(picture, grey=_small(picture.grey, max_side))


def view_of(
    grey: NDArray[np.uint8],
    projection: Projection | None = None,
    *,
    max_side: int | None = None,
    image_format: ImageFormat = "png",
) -> View:
    """Encode `grey` (H, W) as a view, shrunk until its longer side is at most `max_side`."""
    image = _shrunk(Image.fromarray(grey), max_side)
    encoded = io.BytesIO()
    if image_format == "jpeg":
        image.save(encoded, "JPEG", quality=JPEG_QUALITY)
    else:
        # Z_RLE takes half the time of level 4 and leaves chest X-rays 2 to 6 % smaller.
        image.save(encoded, "PNG", compress_type=zlib.Z_RLE)
    return View(encoded.getvalue(), image.width, image.height, projection)


def _small(grey: NDArray[np.uint8], max_side: int | None) -> NDArray[np.uint8]:
    if max_side is None or max(grey.shape) <= max_side:
        return grey
    return np.asarray(_shrunk(Image.fromarray(grey), max_side))


def _shrunk(image: Image.Image, max_side: int | None) -> Image.Image:
    if max_side is not None:
        image.thumbnail((max_side, max_side), Image.Resampling.BICUBIC, reducing_gap=None)
    return image


def decode(view: View, size: int, *, keep_aspect: bool = False) -> NDArray[np.uint8]:
    """The picture of `view` as (size, size) uint8, antialiased, its aspect ratio not kept.

    With `keep_aspect` the shorter side has `size` pixels. Raises UserError when the bytes of the view are
    damaged.
    """
    try:
        with _quiet_pillow(), Image.open(io.BytesIO(view.image), formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UserError(f"A view declares {image.width} x {image.height} pixels; prepare it again.")
            short = min(image.size)
            width, height = (size * side // short if keep_aspect else size for side in image.size)
            image.draft("L", (width, height))
            grey = _resized(image.convert("L"), width, height)
    except (*_DAMAGE, Image.DecompressionBombError):
        raise UserError("A view of the dataset is damaged; prepare the dataset again.") from None
    return np.array(grey)


def square_of(grey: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """What :func:`decode` gives for a PNG view with the pixels `grey` (H, W)."""
    return np.array(_resized(Image.fromarray(grey), size, size))


def _resized(image: Image.Image, width: int, height: int) -> Image.Image:
    return image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=3.0)


def _grey_of(file: BinaryIO, name: str, max_side: int | None) -> NDArray[np.uint8]:
    file.seek(0)
    try:
        with _quiet_pillow(), Image.open(file, formats=_FORMATS) as opened:
            check_size(opened.width, opened.height, name)
            frames = getattr(opened, "n_frames", 1)
            if frames > 1:
                raise UserError(f"{name} has {frames} frames; a view is a single image.")
            opened.load()
            ImageOps.exif_transpose(opened, in_place=True)
            if opened.mode == "L" and "transparency" not in opened.info:
                return np.array(_shrunk(opened, max_side))
            return _eight_bits(opened, name)
    except Image.DecompressionBombError:
        raise UserError(
            f"{name} declares more than the {MAX_PIXELS // 10**6} million pixels that are read; shrink it."
        ) from None
    except _DAMAGE as error:
        damage = type(error).__name__
        raise UserError(f"{name} is damaged or truncated ({damage}); export it again.") from None


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Pillow warns of damaged EXIF blocks, which nobody needs, and of sizes that are checked here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _eight_bits(image: Image.Image, name: str) -> NDArray[np.uint8]:
    """Grey uint8 (H, W) of any Pillow mode that PNG and JPEG have."""
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image)
        # PNG stores 10 to 14 bit detectors in 16 bits without saying so: white is the full scale of the
        # bits in use.
        bits = max(8, int(values.max()).bit_length())
        return stretched(values, 0, 2**bits - 1, name)
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        grey = np.empty((image.height, image.width), np.uint8)
        for rows in row_blocks(grey):
            band = image.crop((0, rows.start, image.width, min(rows.stop, image.height))).convert("RGBA")
            grey[rows] = np.asarray(
                ImageChops.multiply(band.convert("L"), band.getchannel("A"))
            )  # over black
        return grey
    return np.array(image.convert("RGB").convert("L") if image.mode == "P" else image.convert("L"))

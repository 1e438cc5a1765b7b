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
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from cxreport.data.pixels import MAX_PIXELS, check_size, stretched
from cxreport.errors import UserError
from cxreport.study import Projection, View

ImageFormat = Literal["png", "jpeg"]
JPEG_QUALITY = 95
MAX_FILE_BYTES = 2**29

# What Pillow raises on hostile bytes, by experience and by its source.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, struct.error, zlib.error)
_FORMATS = ("PNG", "JPEG")


@dataclass(frozen=True, slots=True)
class Inspected:
    """A readable image; `warnings` are sentences on why it may not be a fit chest X-ray."""

    view: View
    warnings: tuple[str, ...] = ()


def read_image(path: Path | str, *, max_side: int | None = None) -> View:
    """The view in a PNG, JPEG or DICOM file; see :func:`inspect`, whose warnings this leaves out."""
    return inspect(path, max_side=max_side).view


def inspect(path: Path | str, *, max_side: int | None = None, image_format: ImageFormat = "png") -> Inspected:
    """The view in a PNG, JPEG or DICOM file and what is suspicious about it.

    Colour becomes luminance, transparency black, 16 bits become 8, EXIF orientation is applied and no
    metadata is carried on. With `max_side` a larger image shrinks until its longer side fits. The
    projection comes from the DICOM header; it is None for PNG and JPEG. `image_format` is that of the
    view's bytes; ``jpeg`` has quality 95.

    Raises:
        UserError: the file is absent, empty, truncated, of another kind, too large, animated, or shows
            one single grey.
    """
    path = Path(path)
    content_start = _start_of(path)
    projection: Projection | None = None
    notes: tuple[str, ...] = ()
    if content_start[128:132] == b"DICM":
        from cxreport.data.dicom import read_dicom

        dicom = read_dicom(path)
        grey, projection, notes = dicom.pixels, dicom.projection, dicom.warnings
    elif content_start.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")):
        grey = _grey_of(path)
    else:
        raise UserError(f"{path} is not a PNG, JPEG or DICOM file, whatever its name says.")
    if grey.min() == grey.max():
        raise UserError(f"{path} shows one single grey; it is not a radiograph.")
    return Inspected(view_of(grey, projection, max_side=max_side, image_format=image_format), notes)


def view_of(
    grey: NDArray[np.uint8],
    projection: Projection | None = None,
    *,
    max_side: int | None = None,
    image_format: ImageFormat = "png",
) -> View:
    """Encode `grey` (H, W) as a view, shrunk until its longer side is at most `max_side`."""
    image = Image.fromarray(grey)
    if max_side is not None:
        image.thumbnail((max_side, max_side), Image.Resampling.BICUBIC, reducing_gap=None)
    encoded = io.BytesIO()
    if image_format == "jpeg":
        image.save(encoded, "JPEG", quality=JPEG_QUALITY)
    else:
        image.save(encoded, "PNG", compress_level=4)
    return View(encoded.getvalue(), image.width, image.height, projection)


def decode(view: View, size: int) -> NDArray[np.uint8]:
    """The picture of `view` as (size, size) uint8, antialiased, its aspect ratio not kept.

    Raises UserError when the bytes of the view are damaged.
    """
    try:
        with _quiet_pillow(), Image.open(io.BytesIO(view.image), formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UserError(f"A view declares {image.width} x {image.height} pixels; prepare it again.")
            image.draft("L", (size, size))
            grey = image.convert("L").resize((size, size), Image.Resampling.BILINEAR, reducing_gap=3.0)
    except (*_DAMAGE, Image.DecompressionBombError):
        raise UserError("A view of the dataset is damaged; prepare the dataset again.") from None
    return np.array(grey)


def _start_of(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise UserError(f"There is no file {path}." if not path.exists() else f"{path} is not a file.")
        size = path.stat().st_size
        if size == 0:
            raise UserError(f"{path} is empty (0 bytes).")
        if size > MAX_FILE_BYTES:
            raise UserError(f"{path} has {size >> 20} MiB, more than the {MAX_FILE_BYTES >> 20} allowed.")
        with path.open("rb") as file:
            return file.read(132)
    except (OSError, ValueError) as error:
        raise UserError(f"Cannot read {path}: {getattr(error, 'strerror', None) or error}.") from None


def _grey_of(path: Path) -> NDArray[np.uint8]:
    try:
        with _quiet_pillow(), Image.open(path, formats=_FORMATS) as opened:
            check_size(opened.width, opened.height, path)
            frames = getattr(opened, "n_frames", 1)
            if frames > 1:
                raise UserError(f"{path} has {frames} frames; a view is a single image.")
            opened.load()
            return _eight_bits(ImageOps.exif_transpose(opened), path)
    except Image.DecompressionBombError:
        raise UserError(
            f"{path} declares more than the {MAX_PIXELS // 10**6} million pixels that are read; shrink it."
        ) from None
    except _DAMAGE as error:
        name = type(error).__name__
        raise UserError(f"{path} is damaged or truncated ({name}); export it again.") from None


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Pillow warns of damaged EXIF blocks, which nobody needs, and of sizes that are checked here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _eight_bits(image: Image.Image, path: Path) -> NDArray[np.uint8]:
    """Grey uint8 (H, W) of any Pillow mode that PNG and JPEG have."""
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image)
        # PNG stores 10 to 14 bit detectors in 16 bits without saying so: white is the full scale of the
        # bits in use.
        bits = max(8, int(values.max()).bit_length())
        return stretched(values, 0, 2**bits - 1, str(path))
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        colour = image.convert("RGBA")
        black = Image.new("RGBA", colour.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, colour)
    return np.array(image.convert("RGB").convert("L") if image.mode == "P" else image.convert("L"))

"""One image file of a release read in a worker process; nothing that is wrong with it gets further."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxreport.data.hashing import SIDE, perceptual_hash
from cxreport.data.images import ImageFormat, decode, picture_in, square_of, view_of
from cxreport.data.sources import ImageFile
from cxreport.errors import UserError
from cxreport.study import View

try:
    import resource
except ImportError:
    resource = None  # type: ignore[assignment]

WORKER_BYTES = 8 * 2**30
"""Address space of a worker; an image of the most pixels that are read needs less than half."""
IMAGE_SECONDS = 60
"""Processor time; a worker that needs more for one image is killed. A busy machine refuses nothing."""


@dataclass(frozen=True, slots=True)
class ImageTask:
    """An image, how it is stored, and whether its perceptual hash is wanted."""

    image: ImageFile
    max_side: int | None = None
    image_format: ImageFormat = "png"
    hashed: bool = False


@dataclass(frozen=True, slots=True)
class ReadImage:
    """The view, or why there is none: ``reason`` can be counted, ``detail`` is a sentence.

    ``hash`` is the perceptual hash in hex where it was wanted.
    """

    view: View | None
    reason: str = ""
    detail: str = ""
    warnings: tuple[str, ...] = ()
    hash: str = ""


def read(task: ImageTask) -> ReadImage:
    """Decode, shrink and encode one image."""
    path, name = task.image.path, task.image.name
    try:
        with _limited():
            picture = picture_in(path, max_side=task.max_side)
            view = view_of(
                picture.grey, task.image.projection or picture.projection, image_format=task.image_format
            )
            found = _hash(picture.grey, view, task.image_format) if task.hashed else ""
    except UserError as error:
        reason = "unreadable image" if path.is_file() else "no such image file"
        return ReadImage(None, reason, str(error).replace(str(path), name))
    except MemoryError:
        return ReadImage(None, "unreadable image", f"{name} needs more memory than there is.")
    return ReadImage(view, warnings=tuple(f"{name}: {warning}" for warning in picture.warnings), hash=found)


def _hash(grey: NDArray[np.uint8], view: View, image_format: ImageFormat) -> str:
    """The perceptual hash of `view` as it will be read back."""
    square = square_of(grey, SIDE) if image_format == "png" else decode(view, SIDE)
    return perceptual_hash(square).tobytes().hex()


def died(task: ImageTask) -> ReadImage:
    """What is told of an image whose reader was killed."""
    return ReadImage(
        None,
        "image that kills its reader",
        f"{task.image.name} crashed the process that read it, or took too much memory or more than "
        f"{IMAGE_SECONDS} s of processor time; leave it out or export it again.",
    )


@contextmanager
def _limited() -> Iterator[None]:
    """In a worker process: have the system end it when the block takes too long, even inside a codec, and
    refuse memory beyond the limit. Where the system cannot (Windows), or in the main process, nothing."""
    if multiprocessing.parent_process() is None or resource is None:
        yield
        return
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (WORKER_BYTES, hard))
    signal.setitimer(signal.ITIMER_PROF, IMAGE_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)

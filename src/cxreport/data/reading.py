"""One image file of a release read in a worker process; nothing that is wrong with it gets further."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cxreport.data.hashing import SIDE, perceptual_hash
from cxreport.data.images import ImageFormat, decode, inspect
from cxreport.data.sources import ImageFile
from cxreport.errors import UserError
from cxreport.study import View

IMAGE_SECONDS = 120
"""A worker that needs longer for one image is killed."""


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
        with _time_limit():
            picture = inspect(path, max_side=task.max_side, image_format=task.image_format)
    except UserError as error:
        reason = "unreadable image" if path.is_file() else "no such image file"
        return ReadImage(None, reason, str(error).replace(str(path), name))
    except MemoryError:
        return ReadImage(None, "unreadable image", f"{name} needs more memory than there is.")
    view = picture.view
    if task.image.projection is not None:
        view = View(view.image, view.width, view.height, task.image.projection)
    found = perceptual_hash(decode(view, SIDE)).tobytes().hex() if task.hashed else ""
    return ReadImage(view, warnings=tuple(f"{name}: {warning}" for warning in picture.warnings), hash=found)


def died(task: ImageTask) -> ReadImage:
    """What is told of an image whose reader was killed."""
    return ReadImage(
        None,
        "image that kills its reader",
        f"{task.image.name} crashed the process that read it, or took too much memory or more than "
        f"{IMAGE_SECONDS} s; leave it out or export it again.",
    )


@contextmanager
def _time_limit() -> Iterator[None]:
    """Have the system kill this worker when the block takes too long, even inside a codec."""
    if multiprocessing.parent_process() is None or not hasattr(signal, "alarm"):
        yield
        return
    signal.alarm(IMAGE_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)

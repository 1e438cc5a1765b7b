"""Writing into a run folder: a kill at any moment leaves the old file or the new one, never half of one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from cxreport.errors import UserError


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn a full disk or a forbidden folder into a UserError that names `folder`."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"Cannot write to the run folder {folder}: {reason}; make room or choose another --out, "
            "and continue with --resume if an epoch had finished."
        ) from error


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside the file `path`; what was written there takes its place at the end."""
    part = path.with_name(path.name + ".part")
    remove(part)
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        remove(part)


def write_text(path: Path, text: str) -> None:
    """Replace a text file in one step."""
    with replaced(path) as part:
        part.write_text(text, encoding="utf-8", newline="")


def mend(model: Path) -> None:
    """Put back a model folder that a kill left under ``save_model``'s temporary name; remove leftovers."""
    for other in model.parent.glob(f".{model.name}.*"):
        if not model.exists() and other.name.startswith(f".{model.name}.old.") and any(other.iterdir()):
            other.rename(model)
        else:
            remove(other)


def remove(path: Path) -> None:
    """Delete a file or folder that may be absent."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)

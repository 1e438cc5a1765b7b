"""Files of a release: names that stay inside its folder, and sentences about those that are absent."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path, PurePosixPath, PureWindowsPath

from cxreport.data.exclusions import Exclusions
from cxreport.errors import UserError

OUTSIDE = "image path leaves the folder"
"""The reason for a path of a table that :func:`inside` refuses."""


def inside(root: Path, name: str) -> Path | None:
    """The path `name`, as a table gives it, under `root`; None where it leaves `root`.

    Absolute paths, ``..`` that climbs out, and links that lead out are refused. The file need not exist.
    Back slashes of Windows tables count as slashes.
    """
    relative = PurePosixPath(name.replace("\\", "/"))
    if not name.strip() or "\0" in name or relative.is_absolute() or PureWindowsPath(name).drive:
        return None
    path = root.joinpath(relative)
    try:
        real = path.resolve() if relative.name == ".." else _real_folder(path.parent) / path.name
        if real.is_symlink():
            real = real.resolve()
        return path if real.is_relative_to(_real_folder(root)) else None
    except (OSError, ValueError, RuntimeError):
        return None


def inside_or_count(root: Path, name: str, left_out: Exclusions) -> Path | None:
    """As :func:`inside`; a path that leaves `root` is counted in `left_out` under :data:`OUTSIDE`."""
    path = inside(root, name)
    if path is None:
        left_out.add(name, OUTSIDE, f"The image path {name} leaves the folder.")
    return path


def release_folder(root: Path) -> Path:
    """`root`, which must be a folder."""
    if not root.is_dir():
        raise UserError(f"There is no folder {root}.")
    return root


def first_file(root: Path, *names: str) -> Path | None:
    """The first of `names` that is a file under `root`."""
    return next((root / name for name in names if (root / name).is_file()), None)


def needed_file(root: Path, *names: str, get: str) -> Path:
    """As :func:`first_file`; UserError that names the file and says how to `get` it when none is there."""
    found = first_file(root, *names)
    if found is None:
        release_folder(root)
        raise UserError(f"There is no file {' or '.join(names)} in {root}; {get}.")
    return found


@lru_cache(maxsize=4096)
def _real_folder(folder: Path) -> Path:
    return folder.resolve()

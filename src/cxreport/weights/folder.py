"""A verified folder: safetensors and JSON, every file checked before it is used.

It holds ``config.json`` (what made it, and the SHA-256 of every other file), ``model.safetensors``,
``provenance.json`` and what else its format adds. Nothing in it is a pickle.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cxreport.errors import UserError

CONFIG, WEIGHTS, PROVENANCE = "config.json", "model.safetensors", "provenance.json"
PICKLE_SUFFIXES = frozenset({".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle"})
_PICKLE_STARTS = (b"PK\x03\x04", *(bytes([0x80, version]) for version in range(2, 6)))
"""torch's zip files and pickle protocols 2 to 5."""


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of folder: the name in its config, what people call it, and how they get a good one."""

    name: str
    noun: str
    remedy: str


def write_folder(
    folder: Path,
    form: Format,
    config: dict[str, Any],
    module: nn.Module,
    provenance: dict[str, Any],
    write_more: Callable[[Path], None] = lambda part: None,
) -> None:
    """Write a folder of that format; an older one of that name is replaced in one step.

    `write_more` puts further files into the folder that it is given. Raises UserError when `folder` holds
    something else or cannot be written.
    """
    with replacing(folder, form.noun) as part:
        write_tensors(part / WEIGHTS, module.state_dict())
        write_more(part)
        write_json(part / PROVENANCE, provenance)
        tree = {"format": form.name} | config | {"files": digests_of(part)}
        write_json(part / CONFIG, tree | {"sha256": _config_digest(tree)})


@contextmanager
def replacing(folder: Path, noun: str) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `folder`, itself a `noun` or free, in one step.

    Raises UserError when `folder` holds something else or cannot be written.
    """
    if folder.exists() and not (folder / CONFIG).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and is not a {noun}; choose another name or remove it.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            part.chmod(0o755)
            yield part
            _replace(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"Cannot write the {noun} {folder}: {reason}.") from error


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """A safetensors file; tensors may be views and on any device."""
    save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, path, metadata)


def read_folder(folder: Path, form: Format) -> dict[str, Any]:
    """config.json, when it and every file that it names are as they were written.

    Raises UserError, naming the file, when one is missing, altered, truncated or a pickle.
    """
    refuse_pickle(folder)
    path = folder / CONFIG
    if not folder.is_dir():
        raise UserError(f"{folder} is not a {form.noun}; name the folder that holds {CONFIG}.")
    if not path.is_file():
        for other in sorted(folder.iterdir()):
            refuse_pickle(other)
        raise UserError(f"{folder} is not a {form.noun}: {CONFIG} is missing.")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not readable JSON: {error}.") from None
    if not isinstance(config, dict) or config.get("format") != form.name:
        raise UserError(
            f"{path} is not of format {form.name}; the {form.noun} was written by another version."
        )
    digest = config.pop("sha256", None)
    if digest != _config_digest(config):
        raise UserError(f"{path} was altered after the {form.noun} was written; restore it or {form.remedy}.")
    verify_files(folder, config["files"], form.remedy)
    return config


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file; UserError when it is none."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is not a safetensors file: {error}.") from None


def read_provenance_file(folder: Path) -> dict[str, Any]:
    """What a folder, which is verified already, was made from."""
    provenance: dict[str, Any] = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
    return provenance


def refuse_pickle(path: Path) -> None:
    """UserError when `path` is a pickle by its name or first bytes: opening one can run any program."""
    pickled = path.suffix.lower() in PICKLE_SUFFIXES
    if not pickled and path.is_file():
        with path.open("rb") as file:
            pickled = file.read(4).startswith(_PICKLE_STARTS)
    if pickled:
        raise UserError(
            f"{path} is a pickle, which can run any program when read; convert it to safetensors first."
        )


def check_fit(path: Path, weights: dict[str, Tensor], own: dict[str, Tensor], maker: str) -> None:
    """UserError that lists the keys where `weights` of `path` are not those that its `maker` asks for."""

    def kind(tensor: Tensor) -> tuple[torch.Size, torch.dtype]:
        return tensor.shape, tensor.dtype

    both = weights.keys() & own.keys()
    problems = {
        "lacks": sorted(own.keys() - both),
        "has the unknown": sorted(weights.keys() - both),
        "has another shape or type of": sorted(key for key in both if kind(weights[key]) != kind(own[key])),
    }
    for problem, keys in problems.items():
        if keys:
            more = f" and {len(keys) - 5} more" if len(keys) > 5 else ""
            raise UserError(f"{path} does not fit {maker}: it {problem} {', '.join(keys[:5])}{more}.")


def _replace(part: Path, folder: Path) -> None:
    """Put `part` in the place of `folder`; after a kill in between the next save clears up."""
    old = f".{folder.name}.old."
    if folder.exists():
        os.replace(folder, tempfile.mkdtemp(prefix=old, dir=folder.parent))
    os.replace(part, folder)
    for leftover in folder.parent.glob(f"{glob.escape(old)}*"):
        shutil.rmtree(leftover)


def verify_files(folder: Path, digests: dict[str, str], remedy: str) -> None:
    """UserError unless every file of `digests` is as it was written; `remedy` is how to get a good one."""
    for name, expected in digests.items():
        path = folder / name
        if not path.is_file():
            raise UserError(f"{path} is missing; restore it or {remedy}.")
        refuse_pickle(path)
        if digest_of(path) != expected:
            raise UserError(
                f"{path} is damaged or was altered (its SHA-256 differs); restore it or {remedy}."
            )


def digests_of(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file in `folder`."""
    return {path.name: digest_of(path) for path in sorted(folder.iterdir())}


def write_json(path: Path, tree: dict[str, Any]) -> None:
    """A readable JSON file."""
    path.write_text(json.dumps(tree, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def digest_of(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_sha256(module: nn.Module) -> str:
    """SHA-256 (hex) over names, types, shapes and values of a module's weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        tensor = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _config_digest(config: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True, ensure_ascii=False).encode()).hexdigest()

"""Model folders: safetensors and JSON, every file verified before it is used.

A model folder holds ``config.json`` (the recipe and the SHA-256 of every other file), ``model.safetensors``,
``provenance.json`` and what the generator adds, such as ``tokenizer.json``. Nothing in it is a pickle.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from cxreport.errors import UserError
from cxreport.generators import generator_class
from cxreport.generators.base import Generator
from cxreport.recipe import Recipe

FORMAT = "cxreport-model-1"
CONFIG, WEIGHTS, PROVENANCE = "config.json", "model.safetensors", "provenance.json"
PICKLE_SUFFIXES = frozenset({".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle"})
_PICKLE_STARTS = (b"PK\x03\x04", *(bytes([0x80, version]) for version in range(2, 6)))
"""torch's zip files and pickle protocols 2 to 5."""


def save_model(folder: Path, generator: Generator, recipe: Recipe, provenance: dict[str, Any]) -> None:
    """Write a model folder; an older model folder of that name is replaced in one step.

    Raises UserError when `folder` holds something else or cannot be written.
    """
    if folder.exists() and not (folder / CONFIG).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and is not a model folder; choose another name or remove it.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            _write(part, generator, recipe, provenance)
            _replace(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"Cannot write the model folder {folder}: {reason}.") from error


def load_model(folder: Path) -> tuple[Generator, Recipe]:
    """Read a model folder: the generator in evaluation mode, on the CPU, and the recipe that made it.

    Raises UserError, naming the file, when one is missing, altered, truncated or a pickle, and when the
    weights do not fit the generator key by key.
    """
    config = _verified_config(folder)
    recipe = Recipe.parse(config["recipe"], str(folder / CONFIG))
    generator = generator_class(recipe.model.generator).load_assets(recipe.model, folder)
    path = folder / WEIGHTS
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is not a safetensors file: {error}.") from None
    _check_fit(path, weights, generator.state_dict())
    generator.load_state_dict(weights)
    return generator.eval(), recipe


def read_provenance(folder: Path) -> dict[str, Any]:
    """What the model was made from, after verifying the folder; UserError as :func:`load_model`."""
    _verified_config(folder)
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


def _write(part: Path, generator: Generator, recipe: Recipe, provenance: dict[str, Any]) -> None:
    part.chmod(0o755)
    weights = {key: value.detach().cpu().contiguous() for key, value in generator.state_dict().items()}
    save_file(weights, part / WEIGHTS)
    generator.save_assets(part)
    _write_json(part / PROVENANCE, provenance)
    digests = {path.name: _digest(path) for path in sorted(part.iterdir())}
    config = {"format": FORMAT, "recipe": recipe.model_dump(mode="json"), "files": digests}
    _write_json(part / CONFIG, config | {"sha256": _config_digest(config)})


def _replace(part: Path, folder: Path) -> None:
    """Put `part` in the place of `folder`; after a kill in between the next save clears up."""
    old = f".{folder.name}.old."
    if folder.exists():
        os.replace(folder, tempfile.mkdtemp(prefix=old, dir=folder.parent))
    os.replace(part, folder)
    for leftover in folder.parent.glob(f"{glob.escape(old)}*"):
        shutil.rmtree(leftover)


def _verified_config(folder: Path) -> dict[str, Any]:
    """config.json, when it and every file that it names are as they were written."""
    refuse_pickle(folder)
    path = folder / CONFIG
    if not folder.is_dir():
        raise UserError(f"{folder} is not a model folder; name the folder that holds {CONFIG}.")
    if not path.is_file():
        for other in sorted(folder.iterdir()):
            refuse_pickle(other)
        raise UserError(f"{folder} is not a model folder: {CONFIG} is missing.")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not readable JSON: {error}.") from None
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise UserError(f"{path} is not of format {FORMAT}; the model was written by another version.")
    digest = config.pop("sha256", None)
    if digest != _config_digest(config):
        raise UserError(f"{path} was altered after the model was written; restore it or train again.")
    for name, expected in config["files"].items():
        _verify(folder / name, expected)
    return config


def _verify(path: Path, expected: str) -> None:
    if not path.is_file():
        raise UserError(f"{path} is missing; restore it or train again.")
    refuse_pickle(path)
    if _digest(path) != expected:
        raise UserError(f"{path} is damaged or was altered (its SHA-256 differs); restore it or train again.")


def _check_fit(path: Path, weights: dict[str, Tensor], own: dict[str, Tensor]) -> None:
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
            raise UserError(f"{path} does not fit its recipe: it {problem} {', '.join(keys[:5])}{more}.")


def _write_json(path: Path, tree: dict[str, Any]) -> None:
    path.write_text(json.dumps(tree, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _config_digest(config: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True, ensure_ascii=False).encode()).hexdigest()

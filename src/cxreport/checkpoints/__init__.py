"""Model folders: safetensors and JSON, every file verified before it is used.

A model folder (:mod:`cxreport.weights.folder`) holds ``config.json`` with the recipe, ``model.safetensors``,
``provenance.json`` and what the generator adds, such as ``tokenizer.json``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cxreport.errors import UserError
from cxreport.generators import generator_class
from cxreport.generators.base import Generator
from cxreport.model_options import PrefixOptions
from cxreport.recipe import Recipe
from cxreport.weights.folder import (
    CONFIG,
    WEIGHTS,
    Format,
    check_fit,
    read_folder,
    read_provenance_file,
    read_tensors,
    write_folder,
)

__all__ = ["CONFIG", "MODEL", "load_model", "read_provenance", "save_model"]

_PLACES = {"classifier", "visual_bank", "report_bank"}
"""Options of a generator that say where something lay that the model folder now holds."""

MODEL = Format("cxreport-model-1", "model folder", "train again")


def save_model(folder: Path, generator: Generator, recipe: Recipe, provenance: dict[str, Any]) -> None:
    """Write a model folder; an older model folder of that name is replaced in one step.

    The recipe in it does not say where first weights, those of a classifier or banks lay: a model folder
    holds no path of these. Raises UserError when `folder` holds something else or cannot be written.
    """
    tree = recipe.model_dump(mode="json") | {"start": None}
    if "encoder" in tree["model"]:
        tree["model"]["encoder"]["init"] = None
    for option in _PLACES & tree["model"].keys():
        tree["model"][option] = None
    write_folder(folder, MODEL, {"recipe": tree}, generator, provenance, generator.save_assets)


def load_model(folder: Path, language_model: str | None = None) -> tuple[Generator, Recipe]:
    """Read a model folder: the generator in evaluation mode, on the CPU, and the recipe that made it.

    `language_model` is where the language model lies that it was trained with, if no longer where the recipe
    says; the weights there must be the same.

    Raises UserError, naming the file, when one is missing, altered, truncated or a pickle, and when the
    weights do not fit the generator key by key.
    """
    config = read_folder(folder, MODEL)
    recipe = Recipe.parse(config["recipe"], str(folder / CONFIG))
    if language_model is not None:
        recipe = _with_language_model(recipe, language_model)
    generator = generator_class(recipe.model.generator).load_assets(recipe.model, folder)
    weights = read_tensors(folder / WEIGHTS)
    check_fit(folder / WEIGHTS, weights, generator.state_dict(), "its recipe")
    generator.load_state_dict(weights)
    return generator.eval(), recipe


def begin_from(generator: Generator, options: Any, folder: Path) -> str:
    """Give `generator`, made of `options`, the weights that it shares with the one in a model folder.

    These are all parameters, and the buffers of encoder and language model; where `options` name another
    encoder, or weights for it, only what was trained of the language model. What a generator remembers of its
    train studies stays there. Returns a sentence for people. Raises UserError where the folder cannot be
    read, either has no language model or another one, weights of one name differ in shape, and where nothing
    is shared.
    """
    config = read_folder(folder, MODEL)
    theirs: Any = Recipe.parse(config["recipe"], str(folder / CONFIG)).model
    for each in (theirs, options):
        if not isinstance(each, PrefixOptions):
            raise UserError(
                f"start is for generators on a language model, and {each.generator} has its own vocabulary;"
                " take the encoder of a run with --init."
            )
    own = generator.state_dict()
    parameters = {name for name, _ in generator.named_parameters()}
    movable = {name for name in own if name in parameters or name.startswith("encoder.")}
    wanted = {name for name in own if name.startswith("language_model.")}
    wanted |= movable if options.encoder == theirs.encoder else set()
    given = {name: value for name, value in read_tensors(folder / WEIGHTS).items() if name in wanted}
    other = [name for name, value in given.items() if value.shape != own[name].shape]
    if other:
        raise UserError(
            f"{folder} does not fit: {other[0]} is {tuple(given[other[0]].shape)} there and"
            f" {tuple(own[other[0]].shape)} here; start with the encoder and the sizes that it has."
        )
    if not parameters & given.keys():
        raise UserError(f"{folder} shares no weights with this generator; start from one with its encoder.")
    generator.load_state_dict(own | given)
    new = sorted({name.split(".")[0] for name in movable - given.keys()})
    return f"{len(given)} tensors are those of {folder}; new: {', '.join(new) or 'none'}."


def _with_language_model(recipe: Recipe, path: str) -> Recipe:
    model = recipe.model
    if not isinstance(model, PrefixOptions):
        raise UserError(f"--language-model: the generator {model.generator} has no language model.")
    found = model.language_model.model_copy(update={"path": path})
    return recipe.model_copy(update={"model": model.model_copy(update={"language_model": found})})


def read_provenance(folder: Path) -> dict[str, Any]:
    """What the model was made from, after verifying the folder; UserError as :func:`load_model`."""
    read_folder(folder, MODEL)
    return read_provenance_file(folder)

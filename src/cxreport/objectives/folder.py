"""Folders of pre-training: encoder folders with the rest of an objective in ``objective.safetensors``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cxreport.encoders import build_encoder
from cxreport.encoders.folder import ENCODER, load_weights, read_options, save_encoder
from cxreport.errors import UserError
from cxreport.objectives import build_objective
from cxreport.objectives.base import Objective
from cxreport.options import EncoderOptions
from cxreport.pretraining import PretrainDataOptions, PretrainRecipe
from cxreport.weights.folder import check_fit, read_folder, read_tensors, write_tensors

WEIGHTS, RECIPE, DATA = "objective.safetensors", "objective.json", "data.json"
_ENCODER = "encoder."


def save_objective(
    folder: Path,
    objective: Objective,
    options: EncoderOptions,
    recipe: PretrainRecipe,
    provenance: dict[str, Any],
) -> None:
    """Write the encoder that `options` built and the rest of `objective`; UserError as ``save_encoder``."""
    rest = {name: value for name, value in objective.state_dict().items() if not name.startswith(_ENCODER)}

    def write_more(part: Path) -> None:
        write_tensors(part / WEIGHTS, rest)
        (part / RECIPE).write_text(recipe.objective.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (part / DATA).write_text(recipe.data.model_dump_json(indent=2) + "\n", encoding="utf-8")
        objective.save_assets(part)

    save_encoder(folder, objective.encoder, options, provenance, write_more)


def load_objective(folder: Path) -> Objective:
    """The objective of a folder in evaluation mode; UserError where a file or a key is not as written."""
    read_folder(folder, ENCODER)
    encoder = build_encoder(read_options(folder))
    load_weights(encoder, folder)
    tree = (folder / RECIPE).read_text(encoding="utf-8")
    options = PretrainRecipe.changed(
        {"name": "folder", "objective": json.loads(tree)}, [], str(folder / RECIPE)
    ).objective
    objective = build_objective(encoder, options)
    objective.load_assets(folder)
    own = {name: value for name, value in objective.state_dict().items() if not name.startswith(_ENCODER)}
    weights = read_tensors(folder / WEIGHTS)
    check_fit(folder / WEIGHTS, weights, own, f"objective.name={options.name}")
    objective.load_state_dict(objective.state_dict() | weights)
    return objective.eval()


def data_options(folder: Path) -> PretrainDataOptions:
    """How the images of a folder's objective were prepared; UserError where the folder does not say."""
    read_folder(folder, ENCODER)
    if not (folder / DATA).is_file():
        raise UserError(f"{folder} has no {DATA}, which says how images are prepared; train it again.")
    return PretrainDataOptions.model_validate_json((folder / DATA).read_text(encoding="utf-8"))

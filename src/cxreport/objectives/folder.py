"""Folders of pre-training: encoder folders with the rest of an objective in ``objective.safetensors``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn

from cxreport.encoders import build_encoder
from cxreport.encoders.folder import ENCODER, load_weights, read_options, save_encoder
from cxreport.objectives import build_objective
from cxreport.options import EncoderOptions
from cxreport.pretraining import PretrainRecipe
from cxreport.weights.folder import check_fit, read_folder, read_tensors, write_tensors

WEIGHTS, RECIPE = "objective.safetensors", "objective.json"
_ENCODER = "encoder."


def save_objective(
    folder: Path, objective: Any, options: EncoderOptions, recipe: PretrainRecipe, provenance: dict[str, Any]
) -> None:
    """Write the encoder that `options` built and the rest of `objective`; UserError as ``save_encoder``."""
    rest = {name: value for name, value in objective.state_dict().items() if not name.startswith(_ENCODER)}

    def write_more(part: Path) -> None:
        write_tensors(part / WEIGHTS, rest)
        (part / RECIPE).write_text(recipe.objective.model_dump_json(indent=2) + "\n", encoding="utf-8")

    save_encoder(folder, objective.encoder, options, provenance, write_more)


def load_objective(folder: Path) -> nn.Module:
    """The objective of a folder in evaluation mode; UserError where a file or a key is not as written."""
    read_folder(folder, ENCODER)
    encoder = build_encoder(read_options(folder))
    load_weights(encoder, folder)
    tree = (folder / RECIPE).read_text(encoding="utf-8")
    options = PretrainRecipe.changed(
        {"name": "folder", "objective": json.loads(tree)}, [], str(folder / RECIPE)
    ).objective
    objective: nn.Module = build_objective(encoder, options)
    own = {name: value for name, value in objective.state_dict().items() if not name.startswith(_ENCODER)}
    weights = read_tensors(folder / WEIGHTS)
    check_fit(folder / WEIGHTS, weights, own, f"objective.name={options.name}")
    objective.load_state_dict(objective.state_dict() | weights)
    return objective.eval()

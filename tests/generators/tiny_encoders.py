"""Folders of encoders and classifiers of a few thousand weights, made on the spot."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from tiny_language import ROOT
from tiny_studies import DATA

from cxreport.encoders import build_encoder
from cxreport.encoders.folder import save_encoder
from cxreport.objectives.disease import DiseaseClassification
from cxreport.objectives.folder import save_objective
from cxreport.options import EncoderOptions
from cxreport.pretraining import DiseaseOptions, PretrainRecipe

OPTIONS = EncoderOptions(width=4)


@cache
def encoder_folder() -> Path:
    """A ``resnet_small`` of width 4."""
    folder = ROOT / "encoder"
    with torch.random.fork_rng():
        torch.manual_seed(3)
        save_encoder(folder, build_encoder(OPTIONS), OPTIONS, {})
    return folder


@cache
def classifier_folder(targets: str = "labels") -> Path:
    """An untrained classifier over the same encoder, for the images of tiny studies."""
    folder = ROOT / f"classifier-{targets}"
    recipe = PretrainRecipe.parse(
        {
            "name": "tiny",
            "data": {"image_size": DATA.image_size, "views": list(DATA.views)},
            "encoder": OPTIONS.model_dump(mode="json"),
            "objective": {"name": "disease", "targets": targets},
        }
    )
    assert isinstance(recipe.objective, DiseaseOptions)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        classifier = DiseaseClassification(build_encoder(OPTIONS), recipe.objective)
        save_objective(folder, classifier, OPTIONS, recipe, {})
    return folder

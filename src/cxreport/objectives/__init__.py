"""Pre-training objectives: one file per loss, each a :class:`cxreport.objectives.base.Objective`.

A new objective is one file, its options in ``cxreport.pretraining`` and one line in :data:`OBJECTIVES`. What
differs between objectives is asked of the class (``prepare``, ``loss``, ``measured``, ``show``,
``save_assets``), so that neither the loop nor the command branches on which one it runs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from cxreport.objectives.base import Objective

OBJECTIVES = {
    "masked": "cxreport.objectives.masked:MaskedAutoencoder",
    "autoregressive": "cxreport.objectives.autoregressive:AutoregressivePretraining",
    "contrastive": "cxreport.objectives.contrastive:ContrastivePretraining",
    "disease": "cxreport.objectives.disease:DiseaseClassification",
}
"""Name (the recipe's ``objective.name``) to ``module:Class``, built from an encoder and the options."""


def build_objective(encoder: nn.Module, options: Any) -> Objective:
    """The objective that `options` name, around `encoder`; UserError where they do not fit."""
    module, _, attribute = OBJECTIVES[options.name].partition(":")
    objective: Objective = getattr(import_module(module), attribute)(encoder, options)
    return objective

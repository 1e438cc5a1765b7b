"""Pre-training objectives: one file per loss, each a module with ``encoder`` and ``loss(batch)``.

A new objective is one file, its options in ``cxreport.pretraining`` and one line in :data:`OBJECTIVES`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

OBJECTIVES = {
    "masked": "cxreport.objectives.masked:MaskedAutoencoder",
    "autoregressive": "cxreport.objectives.autoregressive:AutoregressivePretraining",
}
"""Name (the recipe's ``objective.name``) to ``module:Class``, built from an encoder and the options."""


def build_objective(encoder: nn.Module, options: Any) -> Any:
    """The objective that `options` name, around `encoder`; UserError where they do not fit."""
    module, _, attribute = OBJECTIVES[options.name].partition(":")
    return getattr(import_module(module), attribute)(encoder, options)

"""Generators: studies to draft reports. One registry names them all.

A new generator is one file, its options in ``cxreport.model_options`` and one line in :data:`GENERATORS`;
the shared tests enrol it by itself.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from cxreport.errors import UserError

if TYPE_CHECKING:
    from cxreport.generators.base import Generator

GENERATORS = {
    "r2gen": "cxreport.generators.r2gen:R2Gen",
    "r2gencmn": "cxreport.generators.r2gencmn:R2GenCMN",
    "r2gengpt": "cxreport.generators.r2gengpt:R2GenGPT",
    "r2gencsr": "cxreport.generators.r2gencsr:R2GenCSR",
    "mambaxray": "cxreport.generators.mambaxray:MambaXray",
    "ammrg": "cxreport.generators.ammrg:AMMRG",
    "most_frequent": "cxreport.generators.memorised:MostFrequent",
    "all_normal": "cxreport.generators.memorised:AllNormal",
    "random": "cxreport.generators.memorised:RandomReport",
    "nearest_neighbour": "cxreport.generators.neighbour:NearestNeighbour",
    "classifier_template": "cxreport.generators.classifier_template:ClassifierTemplate",
}
"""Name (the recipe's ``model.generator``) to ``module:Class``."""


def generator_class(name: str) -> type[Generator]:
    """The generator called `name`; UserError for an unknown one."""
    if name not in GENERATORS:
        known = ", ".join(sorted(GENERATORS))
        raise UserError(f"Unknown generator {name!r} in model.generator; choose {known}.")
    module, _, attribute = GENERATORS[name].partition(":")
    found: type[Generator] = getattr(import_module(module), attribute)
    return found

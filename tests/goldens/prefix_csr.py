"""R2GenCSR's prefix of context residuals, over given tokens of the study and of its context samples."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cxreport.checkpoints.name_map import load_published
from cxreport.checkpoints.published.r2gengpt import projection_names
from cxreport.generators.r2gencsr import R2GenCSR
from cxreport.memories.context import NEGATIVE, POSITIVE
from cxreport.model_options import LanguageModelOptions, R2GenCSROptions
from goldens import Item, Values
from goldens.prefix_lm import LANGUAGE, given_batch, given_encoder, given_language_model, read

MODES: dict[str, dict[str, Any]] = {
    "no_context": {"context": "none"},
    "default": {"residual": "published"},
    "before_proj_res": {"residual": "before"},
    "after_proj_res_visual_only": {"residual": "after"},
    "views_concatenated": {"residual": "published", "views": "concatenate"},
}
"""The published code's modes, as our options."""


class GivenContexts(R2GenCSR):
    """Has the item's context samples, whatever the study is."""

    given: dict[str, Tensor]

    def _chosen(self, batch: Any, query: Tensor) -> Any:
        return {}

    def _vectors(self, places: Any, query: Tensor) -> dict[str, Tensor]:
        return self.given


def prefix_csr(item: Item) -> tuple[Values, Values]:
    """What the language model reads in every mode, and its loss."""
    others = {key: value for key, value in item.weights.items() if not key.startswith(LANGUAGE)}
    config = item.json["config"]
    ours: dict[str, Any] = {}
    for mode, changes in MODES.items():
        options = R2GenCSROptions(
            language_model=LanguageModelOptions(path="given"),
            instruction=item.json["text"]["prompt"],
            max_length=config["max_length"],
            context_pairs=config["context_pair"],
            published=True,
            **changes,
        )
        views = config["views"]
        generator = GivenContexts(options, given_encoder(item, views), given_language_model(item)).eval()
        projector = torch.nn.ModuleDict({"projection": generator.projection, "norm": generator.norm})
        load_published(projector, others, projection_names())
        generator.given = {
            side: item.inputs[f"context_{side}"].flatten(1, -2).mean(dim=1)[None]
            for side in (NEGATIVE, POSITIVE)
        }
        if options.context != "none":
            generator.contexts = object()  # type: ignore[assignment]
        found = read(generator, item, given_batch(item, views))
        ours |= {f"{mode}.{name}": value for name, value in found.items()}
    return ours, item.outputs

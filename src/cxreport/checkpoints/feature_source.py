"""What makes the vectors of a bank: the encoder of a folder of any kind that holds one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from cxreport.checkpoints import CONFIG, MODEL, load_model
from cxreport.data.batch import Batch
from cxreport.encoders import Encoder, build_encoder, entry_of
from cxreport.encoders.folder import ENCODER, load_weights, read_options
from cxreport.errors import UserError
from cxreport.generators.views import mean_of_views, spread
from cxreport.options import DataOptions
from cxreport.weights.folder import weights_sha256


@dataclass(frozen=True, slots=True)
class FeatureSource:
    """``features(batch)`` gives the pooled features (B, D) of a batch on any device, moved to ``device``.

    ``encoder`` names it and has the ``sha256`` of its weights; ``data`` are the images that it was made for.
    """

    features: Callable[[Batch], Tensor]
    encoder: dict[str, str]
    data: DataOptions


def open_features(path: Path, device: torch.device | str = "cpu") -> FeatureSource:
    """The encoder of `path`: a model folder, a folder of encoder weights, or the run folder of either.

    Raises UserError for anything else, and for files that are not as they were written.
    """
    folder = path / "model" if (path / "model" / CONFIG).is_file() else path
    try:
        form = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["format"]
    except (OSError, ValueError, KeyError, TypeError):
        form = None
    if form == ENCODER.name:
        options = read_options(folder)
        encoder = build_encoder(options)
        load_weights(encoder, folder)
        module: nn.Module = encoder
        size = options.image_size or entry_of(options.name).default_size
        name, data, features = options.name, DataOptions(image_size=size), encoder_features(encoder)
    elif form == MODEL.name:
        module, recipe = load_model(folder)
        described = getattr(recipe.model, "encoder", None)
        if described is None:
            raise UserError(
                f"{path} is a {recipe.model.generator}, which has no image encoder; name another."
            )
        name, data, features = described.name, recipe.data, module.features
    else:
        raise UserError(
            f"{path} has no encoder; name a run folder, a model folder or a folder of encoder weights."
        )
    module.eval().to(device)
    digest = weights_sha256(getattr(module, "encoder", module))
    return FeatureSource(lambda batch: features(batch.to(device)), {"name": name, "sha256": digest}, data)


def encoder_features(encoder: Encoder) -> Callable[[Batch], Tensor]:
    """The encoder's pooled vectors (B, D), averaged over the views that are present."""

    def features(batch: Batch) -> Tensor:
        pooled = encoder(batch.images[batch.view_mask]).pooled
        return mean_of_views(spread(pooled, batch.view_mask), batch.view_mask)

    return features

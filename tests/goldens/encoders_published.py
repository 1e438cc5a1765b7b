"""Encoders of other systems than Vision Mamba: VMamba."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from cxreport.checkpoints.name_map import load_published
from cxreport.checkpoints.published.vmamba import vmamba_names
from cxreport.encoders import Tokens, build_encoder
from cxreport.encoders.vmamba import VMamba
from cxreport.options import EncoderOptions
from goldens import CannotCompareError, Item, Values

INFORMATION = {"tokens_bf16_rounding"}
"""Outputs of ``vmamba_ss2d`` that its notes call no target: they depend on a rounding of the CUDA kernel."""


def vmamba_ss2d(item: Item) -> tuple[Values, Values]:
    """VMamba's maps from the stem to the pooled feature."""
    config = item.json["config"]
    widths = config["dims"]
    if widths != [widths[0] * 2**stage for stage in range(len(widths))]:
        raise CannotCompareError(f"{item.path}: the widths {widths} of the stages do not double.")
    encoder = build_encoder(
        EncoderOptions(
            name="vmamba_tiny",
            width=widths[0],
            depths=tuple(config["depths"]),
            state_size=config["d_state"],
            expansion=config["ssm_ratio"],
        )
    ).eval()
    assert isinstance(encoder, VMamba)
    load_published(encoder, item.weights, vmamba_names(encoder))
    places = {"patch_embed": "stem", "ss2d_0": "stages.0.0.scan", "block_0": "stages.0.0"}
    places |= {f"stage_{stage}": f"halvings.{stage}" for stage in range(len(widths) - 1)}
    seen = _outputs_of(encoder, list(places.values()))
    tokens: Tokens = encoder(item.inputs["image"])
    ours = {name: seen[place] for name, place in places.items()}
    ours |= {"tokens": tokens.patches, "pooled": tokens.pooled}
    ours["feature_map"] = tokens.patches.unflatten(1, tokens.grid)
    return ours, {name: value for name, value in item.outputs.items() if name not in INFORMATION}


def _outputs_of(module: torch.nn.Module, places: Sequence[str]) -> dict[str, torch.Tensor]:
    """Filled with the outputs of these submodules when `module` runs."""
    seen: dict[str, torch.Tensor] = {}
    for place in places:
        module.get_submodule(place).register_forward_hook(
            lambda _module, _given, found, place=place: seen.__setitem__(place, found)
        )
    return seen

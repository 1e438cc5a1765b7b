"""Vision Mamba with four scans, and what its causal form shares with it."""

from __future__ import annotations

from typing import Any

import torch

from cxreport.checkpoints.name_map import load_published
from cxreport.checkpoints.published.vision_mamba import vision_mamba_names
from cxreport.encoders.positions import resampled
from cxreport.encoders.vision_mamba import Shape, VisionMamba, with_class_token
from goldens import CannotCompareError, Item, Values


def arm_finetune(item: Item) -> tuple[Values, Values]:
    """The encoder with four scans, its pooled views, and positions taken over from stage 1."""
    config, given = item.json["config"], item.inputs
    encoder = encoder_of(config, scans=4)
    load_published(encoder, item.weights, vision_mamba_names(encoder))
    seen = first_block(encoder)
    first = encoder(given["image"])
    ours: dict[str, Any] = {**seen, "tokens": first.sequence}
    second = encoder(given["image_view2"])
    assert first.sequence is not None
    assert second.sequence is not None
    ours["tokens_two_views_mean"] = (first.sequence + second.sequence) / 2
    ours["pooled_clip"] = (first.pooled + second.pooled) / 2
    side = config["img_size"] // config["patch_size"]
    table = given["stage1_pos_embed"]
    zero = table.new_zeros(1, 1, table.shape[2])
    ours["pos_embed_from_stage1"] = with_class_token(resampled(table, (side, side)), zero)
    return ours, item.outputs


def encoder_of(config: dict[str, Any], scans: int) -> VisionMamba:
    if config["stride"] != config["patch_size"] or config["d_conv"] != 4 or config["channels"] != 3:
        raise CannotCompareError(
            "patches that overlap, other convolutions than 4 and grey images are not ours"
        )
    shape = Shape(
        width=config["embed_dim"],
        depths=(config["depth"],),
        scans=scans,
        patch=config["patch_size"],
        image_size=config["img_size"],
        state_size=config["d_state"],
        expansion=config["expand"],
    )
    return VisionMamba(shape).eval()


def first_block(encoder: VisionMamba) -> dict[str, torch.Tensor]:
    """Filled with the first outputs of the first block and of its mixer."""
    seen: dict[str, torch.Tensor] = {}

    def note(name: str, found: torch.Tensor) -> None:
        seen.setdefault(name, found)

    block = encoder.blocks[0]
    block.mixer.register_forward_hook(lambda _module, _given, found: note("layer0_mixer", found))
    block.register_forward_hook(lambda _module, _given, found: note("layer0", found))
    return seen

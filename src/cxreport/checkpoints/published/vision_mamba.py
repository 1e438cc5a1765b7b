"""State dicts of ARM's pre-training (stage 1) and of MambaXray-VL's encoder (stages 2 and 3).

The released files hold them under ``model``; in stage 2 and 3 with the prefix ``visual_encoder.``
(``NameMap.prefixed``). The AM-MRG and EMRRG copies of the encoder are the same.
"""

from __future__ import annotations

import torch

from cxreport.checkpoints.name_map import NameMap, weight_and_bias
from cxreport.encoders.positions import sin_cos_table
from cxreport.encoders.vision_mamba import TAPS, VisionMamba, cluster_numbers
from cxreport.objectives.autoregressive import AutoregressivePretraining

STAGE_1_DECODER = (
    "ar_token",
    "dec_pos_embed",
    "mask",
    "enc2dec.",
    "dec_block.",
    "ar_norm.",
    "ar_pred.",
    *(f"norm_{tap}." for tap in range(1, TAPS)),
)
"""Beginnings of stage-1 names that belong to the decoder of pre-training and not to the encoder."""

SCAN_SUFFIXES = ("", "_b", "_c", "_c_b")
"""Published names of the four scans: rows, rows backwards, columns, columns backwards."""


def vision_mamba_names(encoder: VisionMamba) -> NameMap:
    """The encoder's tensors: of stage 2 and 3 with four scans, of stage 1 for a causal encoder.

    In stage 1 the norm of the last tap, ``norm_4``, is the encoder's norm.
    """
    pairs = {"pos_embed": "positions"} | weight_and_bias("patch_embed.proj", "patch_embedding")
    if encoder.shape.scans > 1:
        pairs |= {"cls_token": "class_token"} | weight_and_bias("norm_f", "norm")
    else:
        pairs |= weight_and_bias(f"norm_{TAPS}", "norm")
    joined: dict[str, tuple[str, ...]] = {}
    for block in range(len(encoder.blocks)):
        theirs, ours = f"layers.{block}", f"blocks.{block}"
        for name, own in (("norm1", "mixer_norm"), ("norm2", "mlp_norm")):
            pairs |= weight_and_bias(f"{theirs}.{name}", f"{ours}.{own}")
        for name, own in (("w1", "gate"), ("w2", "value"), ("w3", "output")):
            pairs |= weight_and_bias(f"{theirs}.mlp.{name}", f"{ours}.mlp.{own}")
        for name in ("in", "out"):
            pairs[f"{theirs}.mixer.{name}_proj.weight"] = f"{ours}.mixer.{name}_projection.weight"
        suffixes = SCAN_SUFFIXES[: encoder.shape.scans]
        for name, own in _PER_SCAN.items():
            published = tuple(f"{theirs}.mixer.{name.format(suffix)}" for suffix in suffixes)
            joined[f"{ours}.mixer.{own}"] = published
    return NameMap(pairs, joined=joined)


def autoregressive_names(model: AutoregressivePretraining) -> NameMap:
    """A whole checkpoint of stage 1: the causal encoder and the decoder of pre-training."""
    pairs = {"ar_token": "token"} | weight_and_bias("enc2dec", "memories")
    pairs |= weight_and_bias("ar_norm", "norm") | weight_and_bias("ar_pred", "prediction")
    for tap in range(TAPS - 1):
        pairs |= weight_and_bias(f"norm_{tap + 1}", f"tap_norms.{tap}")
    for block in range(len(model.blocks)):
        for name, own in _DECODER_BLOCK.items():
            pairs |= weight_and_bias(f"dec_block.{block}.{name}", f"blocks.{block}.{own}")
    side = model.encoder.shape.image_size // model.encoder.shape.patch
    numbers = cluster_numbers((side, side))
    asked, seen = numbers[numbers > 0], numbers[numbers < numbers[-1]]
    mask = torch.zeros(len(asked), len(seen)).masked_fill(asked[:, None] <= seen, float("-inf"))
    table = sin_cos_table(side, side, model.token.shape[2])
    derived = {"dec_pos_embed": table.unsqueeze(0), "mask": mask}
    return vision_mamba_names(model.encoder).prefixed("", "encoder.") | NameMap(pairs, derived)


_DECODER_BLOCK = {
    "attn2.q": "query",
    "attn2.kv": "key_value",
    "attn2.proj": "output",
    "norm2_1": "query_norm",
    "norm2_2": "memory_norm",
    "norm2": "mlp_norm",
    "mlp.fc1": "mlp.0",
    "mlp.fc2": "mlp.2",
}

_PER_SCAN = {
    "conv1d{}.weight": "conv_weight",
    "conv1d{}.bias": "conv_bias",
    "x_proj{}.weight": "selection",
    "dt_proj{}.weight": "step_weight",
    "dt_proj{}.bias": "step_bias",
    "A{}_log": "decay_log",
    "D{}": "skip",
}

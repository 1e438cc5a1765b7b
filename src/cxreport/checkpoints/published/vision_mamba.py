"""State dicts of ARM's pre-training (stage 1) and of MambaXray-VL's encoder (stages 2 and 3).

The released files hold them under ``model``; in stage 2 and 3 with the prefix ``visual_encoder.``
(``NameMap.prefixed``). The AM-MRG and EMRRG copies of the encoder are the same.
"""

from __future__ import annotations

from cxreport.checkpoints.name_map import NameMap, weight_and_bias
from cxreport.encoders.vision_mamba import TAPS, VisionMamba

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


_PER_SCAN = {
    "conv1d{}.weight": "conv_weight",
    "conv1d{}.bias": "conv_bias",
    "x_proj{}.weight": "selection",
    "dt_proj{}.weight": "step_weight",
    "dt_proj{}.bias": "step_bias",
    "A{}_log": "decay_log",
    "D{}": "skip",
}

"""State dicts of MAE and timm's transformers, and of the HD X-ray MAE (``HD_Xray_Pretrain_MAE``)."""

from __future__ import annotations

from torch import Tensor

from cxreport.checkpoints.name_map import NameMap, weight_and_bias
from cxreport.encoders.vit import VisionTransformer


def transformer_names(encoder: VisionTransformer) -> NameMap:
    """The encoder's tensors; those of a decoder or head are not ours."""
    pairs = {"cls_token": "class_token"} | weight_and_bias("norm", "norm")
    derived: dict[str, Tensor] = {}
    if encoder.fixed_positions:
        derived["pos_embed"] = encoder.positions
        for theirs, place in (("conv1", 0), ("conv2", 2), ("proj", 4)):
            pairs |= weight_and_bias(f"patch_embed.{theirs}", f"embedding.{place}")
    else:
        pairs["pos_embed"] = "positions"
        pairs |= weight_and_bias("patch_embed.proj", "embedding")
    names = {
        "norm1": "attention_norm",
        "attn.qkv": "attention.query_key_value",
        "attn.proj": "attention.output",
        "norm2": "mlp_norm",
        "mlp.fc1": "mlp.0",
        "mlp.fc2": "mlp.2",
    }
    for block in range(len(encoder.blocks)):
        for theirs, ours in names.items():
            pairs |= weight_and_bias(f"blocks.{block}.{theirs}", f"blocks.{block}.{ours}")
    return NameMap(pairs, derived)

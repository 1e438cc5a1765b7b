"""State dicts of MAE and timm's transformers, and of the HD X-ray MAE (``HD_Xray_Pretrain_MAE``)."""

from __future__ import annotations

from torch import Tensor

from cxreport.checkpoints.name_map import NameMap, weight_and_bias
from cxreport.encoders.vit import VisionTransformer
from cxreport.objectives.masked import MaskedAutoencoder


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
    for block in range(len(encoder.blocks)):
        pairs |= _block(f"blocks.{block}", f"blocks.{block}")
    return NameMap(pairs, derived)


def masked_names(model: MaskedAutoencoder) -> NameMap:
    """A whole checkpoint of HD-MAE's pre-training, less its unused ``decoder_image``."""
    pairs = {"mask_token": "mask_token"} | weight_and_bias("decoder_embed", "decoder_embedding")
    pairs |= weight_and_bias("decoder_norm", "decoder_norm") | weight_and_bias("decoder_pred", "prediction")
    for block in range(len(model.decoder_blocks)):
        pairs |= _block(f"decoder_blocks.{block}", f"decoder_blocks.{block}")
    decoder = NameMap(pairs, {"decoder_pos_embed": model.decoder_positions})
    return transformer_names(model.encoder).prefixed("", "encoder.") | decoder


def _block(theirs: str, ours: str) -> dict[str, str]:
    names = {
        "norm1": "attention_norm",
        "attn.qkv": "attention.query_key_value",
        "attn.proj": "attention.output",
        "norm2": "mlp_norm",
        "mlp.fc1": "mlp.0",
        "mlp.fc2": "mlp.2",
    }
    pairs: dict[str, str] = {}
    for part, name in names.items():
        pairs |= weight_and_bias(f"{theirs}.{part}", f"{ours}.{name}")
    return pairs

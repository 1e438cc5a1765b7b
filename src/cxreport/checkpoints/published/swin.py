"""Swin's state dicts: transformers' layout (``microsoft/swin-*`` on the Hub) and Microsoft's own."""

from __future__ import annotations

from cxreport.checkpoints.name_map import NameMap, weight_and_bias
from cxreport.encoders.swin import Swin


def transformers_names(encoder: Swin) -> NameMap:
    """``SwinModel``: queries, keys and values apart; all but the tables that it computes itself."""
    pairs = weight_and_bias("embeddings.patch_embeddings.projection", "features.0.0")
    pairs |= weight_and_bias("embeddings.norm", "features.0.2") | weight_and_bias("layernorm", "norm")
    joined = {}
    block_names = {
        "layernorm_before": "norm1",
        "attention.output.dense": "attn.proj",
        "layernorm_after": "norm2",
        "intermediate.dense": "mlp.0",
        "output.dense": "mlp.3",
    }
    for theirs, ours in blocks_of(encoder, "encoder.layers"):
        for block_name, name in block_names.items():
            pairs |= weight_and_bias(f"{theirs}.{block_name}", f"{ours}.{name}")
        attention = f"{theirs}.attention.self"
        table = "relative_position_bias_table"
        pairs[f"{attention}.{table}"] = f"{ours}.attn.{table}"
        for part in ("weight", "bias"):
            apart = tuple(f"{attention}.{each}.{part}" for each in ("query", "key", "value"))
            joined[f"{ours}.attn.qkv.{part}"] = apart
    return NameMap(pairs | _mergings(encoder, "encoder.layers"), joined=joined)


def microsoft_names(encoder: Swin) -> NameMap:
    """``SwinTransformer`` of ``microsoft/Swin-Transformer``, as in AM-MRG's first stage."""
    pairs = weight_and_bias("patch_embed.proj", "features.0.0")
    pairs |= weight_and_bias("patch_embed.norm", "features.0.2") | weight_and_bias("norm", "norm")
    block_names = {
        "norm1": "norm1",
        "attn.qkv": "attn.qkv",
        "attn.proj": "attn.proj",
        "norm2": "norm2",
        "mlp.fc1": "mlp.0",
        "mlp.fc2": "mlp.3",
    }
    for theirs, ours in blocks_of(encoder, "layers"):
        for block_name, name in block_names.items():
            pairs |= weight_and_bias(f"{theirs}.{block_name}", f"{ours}.{name}")
        table = "attn.relative_position_bias_table"
        pairs[f"{theirs}.{table}"] = f"{ours}.{table}"
    return NameMap(pairs | _mergings(encoder, "layers"))


def blocks_of(encoder: Swin, layers: str) -> list[tuple[str, str]]:
    """Places of all blocks, theirs and ours: ours alternate with the mergings after the embedding."""
    return [
        (f"{layers}.{stage}.blocks.{block}", f"features.{2 * stage + 1}.{block}")
        for stage, blocks in enumerate(encoder.shape.depths)
        for block in range(blocks)
    ]


def _mergings(encoder: Swin, layers: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for stage in range(len(encoder.shape.depths) - 1):
        theirs, ours = f"{layers}.{stage}.downsample", f"features.{2 * stage + 2}"
        pairs |= weight_and_bias(f"{theirs}.norm", f"{ours}.norm")
        pairs[f"{theirs}.reduction.weight"] = f"{ours}.reduction.weight"
    return pairs

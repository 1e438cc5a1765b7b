"""R2GenGPT's delta files (``wang-zhanyu/R2GenGPT``, entry ``model``) and those of its descendants."""

from __future__ import annotations

from cxreport.checkpoints.name_map import NameMap, weight_and_bias
from cxreport.checkpoints.published.swin import blocks_of
from cxreport.encoders.swin import Swin

LOW_RANK = ".lora_"
"""Stands in the names of peft's low-rank updates."""


def projection_names() -> NameMap:
    """``llama_proj`` and ``layer_norm``: what every descendant has between its encoder and Llama."""
    return NameMap(weight_and_bias("llama_proj", "projection") | weight_and_bias("layer_norm", "norm"))


def low_rank_names(encoder: Swin) -> NameMap:
    """The delta variant's updates of query and value in every block of Swin, as peft names them."""
    pairs = {}
    for theirs, ours in blocks_of(encoder, "encoder.layers"):
        update = f"{ours}.attn.qkv.parametrizations.weight.0"
        for place, part in enumerate(("query", "value")):
            for name, own in (("A", "down"), ("B", "up")):
                key = f"{theirs}.attention.self.{part}{LOW_RANK}{name}.default.weight"
                pairs[key] = f"{update}.{own}.{place}"
    return NameMap(pairs)

"""R2GenGPT's delta files (``wang-zhanyu/R2GenGPT``, entry ``model``) and those of its descendants."""

from __future__ import annotations

from cxreport.checkpoints.name_map import NameMap, weight_and_bias


def projection_names() -> NameMap:
    """``llama_proj`` and ``layer_norm``: what every descendant has between its encoder and Llama."""
    return NameMap(weight_and_bias("llama_proj", "projection") | weight_and_bias("layer_norm", "norm"))

"""State dicts of AM-MRG: its disease queries (stage 1 and 2) and its Hopfield memories (stage 2)."""

from __future__ import annotations

from cxreport.checkpoints.name_map import NameMap, weight_and_bias
from cxreport.checkpoints.published.r2gengpt import projection_names
from cxreport.memories.disease_queries import DiseaseQueries
from cxreport.memories.hopfield import HopfieldMemory

BANK = "lookup_weights"
"""The vectors of a memory; fixed in stage 2 and drawn anew in every run, so no delta file has them."""
POSITION_IDS = "Qformer.bert.embeddings.position_ids"
"""A leftover table of integers in the published state dict."""
STAGE_2 = (
    *("llama_proj.", "layer_norm.", "output_proj.", "disease_tokens"),
    *("Qformer.", "Qformer_proj.", "HopfieldLayers.", "R_HopfieldLayers."),
)
"""Beginnings of stage-2 names beside the vision encoder's."""


def disease_queries_names(queries: DiseaseQueries) -> NameMap:
    """``disease_tokens``, ``Qformer.bert.*`` and ``Qformer_proj``, without :data:`POSITION_IDS`."""
    pairs = {"disease_tokens": "queries"} | weight_and_bias("Qformer.bert.embeddings.LayerNorm", "norm")
    if "projection.weight" in queries.state_dict():
        pairs |= weight_and_bias("Qformer_proj", "projection")
    for number, layer in enumerate(queries.layers):
        theirs, ours = f"Qformer.bert.encoder.layer.{number}", f"layers.{number}"
        parts = {"attention": "self_attention"}
        if getattr(layer, "cross_attention", None) is not None:
            parts["crossattention"] = "cross_attention"
        for name, own in parts.items():
            for part in ("query", "key", "value"):
                pairs |= weight_and_bias(f"{theirs}.{name}.self.{part}", f"{ours}.{own}.{part}")
            pairs |= weight_and_bias(f"{theirs}.{name}.output.dense", f"{ours}.{own}.output")
            pairs |= weight_and_bias(f"{theirs}.{name}.output.LayerNorm", f"{ours}.{own}.norm")
        pairs |= weight_and_bias(f"{theirs}.intermediate_query.dense", f"{ours}.expand")
        pairs |= weight_and_bias(f"{theirs}.output_query.dense", f"{ours}.contract")
        pairs |= weight_and_bias(f"{theirs}.output_query.LayerNorm", f"{ours}.norm")
    return NameMap(pairs)


def hopfield_names(memory: HopfieldMemory) -> NameMap:
    """``hflayers.HopfieldLayer``; the biases of its three projections stand in one row."""
    core = "hopfield.association_core"
    parts = {"q": "query", "k": "key", "v": "value"}
    pairs = {BANK: "patterns"} | weight_and_bias(f"{core}.out_proj", "output")
    pairs |= {f"{core}.{theirs}_proj_weight": f"{ours}.weight" for theirs, ours in parts.items()}
    norms = {
        "stored_pattern": "pattern_norm",
        "state_pattern": "state_norm",
        "pattern_projection": "value_norm",
    }
    for theirs, ours in norms.items():
        pairs |= weight_and_bias(f"hopfield.norm_{theirs}", ours)
    return NameMap(pairs, split={f"{core}.in_proj_bias": tuple(f"{ours}.bias" for ours in parts.values())})


def stage2_names(
    queries: DiseaseQueries, visual: HopfieldMemory | None, reports: HopfieldMemory | None
) -> NameMap:
    """What a delta file of stage 2 has beside the vision encoder.

    Ours are the names of a module with the parts ``queries``, ``visual_memory``, ``report_memory``,
    ``memory_projection`` (the one linear layer behind all three), ``projection`` and ``norm``; the vectors of
    the memories are not among them, and neither is a memory that is None.
    """
    names = disease_queries_names(queries).prefixed("", "queries.") | projection_names()
    memories = {
        "HopfieldLayers.": ("visual_memory.", visual),
        "R_HopfieldLayers.": ("report_memory.", reports),
    }
    for theirs, (ours, memory) in memories.items():
        if memory is None:
            continue
        whole = hopfield_names(memory)
        learnt = {key: value for key, value in whole.pairs.items() if key != BANK}
        names |= NameMap(learnt, split=whole.split).prefixed(theirs, ours)
    return names | NameMap(weight_and_bias("output_proj", "memory_projection"))

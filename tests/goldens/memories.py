"""Memories and queries that generators and objectives share."""

from __future__ import annotations

from typing import Any

from cxreport.checkpoints.name_map import load_published
from cxreport.checkpoints.published.ammrg import POSITION_IDS, disease_queries_names
from cxreport.memories.disease_queries import DiseaseQueries, DiseaseQueriesOptions
from goldens import Item, Values


def qformer(item: Item) -> tuple[Values, Values]:
    """AM-MRG's disease queries, layer by layer, with and without a mask over the vision tokens."""
    config, given = item.json["config"], item.inputs
    options = DiseaseQueriesOptions(
        width=config["hidden_size"],
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        feed_forward=config["intermediate_size"],
        image_width=config["encoder_width"],
        cross_attention_every=config["cross_attention_freq"],
        queries=config["queries"],
    )
    queries = DiseaseQueries(config["visual_width"], options).eval()
    weights = {key: value for key, value in item.weights.items() if key != POSITION_IDS}
    load_published(queries, weights, disease_queries_names(queries))
    tokens = given["visual_tokens"]
    ours: dict[str, Any] = {"encoder_hidden": queries.projection(tokens)}
    states: dict[str, Any] = {}
    for number, layer in enumerate(queries.layers):
        layer.register_forward_hook(
            lambda _module, _given, found, name=f"layer_{number}": states.__setitem__(name, found[0])
        )
    ours["last_hidden_state_masked"], _ = queries(tokens, given["visual_mask"].bool())
    ours["last_hidden_state"], _ = queries(tokens)
    return ours | states, item.outputs

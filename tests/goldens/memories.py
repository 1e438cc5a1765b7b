"""Memories and queries that generators and objectives share."""

from __future__ import annotations

from typing import Any

from cxreport.checkpoints.name_map import load_published
from cxreport.checkpoints.published.ammrg import POSITION_IDS, disease_queries_names, hopfield_names
from cxreport.memories.disease_queries import DiseaseQueries, DiseaseQueriesOptions
from cxreport.memories.hopfield import STOP, HopfieldMemory, HopfieldOptions
from goldens import CannotCompareError, Item, Values


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


def hopfield(item: Item) -> tuple[Values, Values]:
    """The Hopfield layer of AM-MRG with 0, 1 and 3 updates and until it has settled."""
    config, states = item.json["config"], item.inputs["state"]
    parts = ("stored_pattern", "state_pattern", "pattern_projection")
    if not all(config[f"normalize_{part}"] for part in parts) or config["update_steps_eps"] != STOP:
        raise CannotCompareError(f"{item.path} is not configured as in AM-MRG: all norms, stop at {STOP}.")
    ours: dict[str, Any] = {}
    for name, steps in (("steps0", 0), ("steps1", 1), ("steps3", 3), ("converged", None)):
        options = HopfieldOptions(
            width=config["input_size"],
            head_width=config["hidden_size"],
            value_width=config["pattern_size"],
            output_width=config["output_size"],
            heads=config["num_heads"],
            scaling=config["scaling"],
            steps=steps,
        )
        memory = HopfieldMemory(config["quantity"], options).eval()
        load_published(memory, item.weights, hopfield_names(memory))
        found = memory(states)
        ours |= {f"output_{name}": found.output, f"association_{name}": found.association}
    _, values = memory.project()
    return ours | {"projected_patterns": values.expand(len(states), -1, -1, -1)}, item.outputs

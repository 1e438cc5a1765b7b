"""R2Gen and its decoding, over given patch features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from cxreport.checkpoints.name_map import load_published
from cxreport.checkpoints.published.r2gen import r2gen_network_names
from cxreport.data.words import END
from cxreport.generators.decoding import Hypothesis, beam_search, greedy_search
from cxreport.generators.memory_transformer import MemoryStepper, MemoryTransformer
from cxreport.recipe import R2GenOptions
from goldens import Item, Values


def r2gen(item: Item) -> tuple[Values, Values]:
    """R2Gen's encoder-decoder over given patch features: ours and published outputs."""
    config, given = item.json["config"], item.inputs
    options = R2GenOptions(
        width=config["d_model"],
        feed_forward=config["d_ff"],
        heads=config["num_heads"],
        layers=config["num_layers"],
        memory_slots=config["rm_num_slots"],
        memory_heads=config["rm_num_heads"],
    )
    network = MemoryTransformer(config["vocab"], config["d_vf"], options).eval()
    load_published(network, item.weights, r2gen_network_names(network))
    ids, mask, limit = given["ids"], given["mask"][:, 1:], config["max_seq_length"]
    context = network.encode(given["att_feats"])
    embedding = network.embed(ids[:, :-1])
    memory = network.memory(embedding)
    decoded = network.decode(context, None, ids[:, :-1])
    logprobs = network.log_probabilities(decoded)
    taken = -logprobs.gather(2, ids[:, 1:].unsqueeze(2)).squeeze(2)
    ours: dict[str, Any] = {
        "patch_embedding": network.project(given["att_feats"]),
        "encoder_out": context,
        "target_embedding": embedding,
        "relational_memory": memory,
        "mcln_in": embedding,
        "mcln_out": network.decoder_layers[0].self_attention_norm(embedding, memory),
        "decoder_out": decoded,
        "logprobs": logprobs,
        "loss": (taken * mask).sum() / mask.sum(),
    }
    studies, device, size = ids.shape[0], ids.device, config["beam_size"]
    found = beam_search(MemoryStepper(network, context, None), studies, size, limit, device, keep=size)
    best = beam_search(MemoryStepper(network, context, None), studies, size, limit, device)
    ours["beam3_ids"] = _padded([study[0] for study in best], limit)
    ours["beam3_all_ids"] = torch.stack([_padded(study, limit) for study in found])
    ours["beam3_all_scores"] = torch.tensor([[text.score for text in study] for study in found])
    ours["beam3_all_lengths"] = torch.tensor([[len(text.ids) for text in study] for study in found])
    for name, block in (("greedy_ids", False), ("greedy_block_trigrams_ids", True)):
        texts = greedy_search(MemoryStepper(network, context, None), studies, limit, device, block)
        ours[name] = _padded(texts, limit)
    return ours, item.outputs


def _padded(texts: Sequence[Hypothesis], length: int) -> torch.Tensor:
    rows = [torch.tensor(text.ids) for text in texts]
    return torch.stack([functional.pad(row, (0, length - len(row)), value=END) for row in rows])

"""R2Gen and R2GenCMN and their decoding, over given patch features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from cxreport.checkpoints.name_map import load_published
from cxreport.checkpoints.published.r2gen import r2gen_network_names
from cxreport.checkpoints.published.r2gencmn import r2gencmn_network_names
from cxreport.data.words import END
from cxreport.generators.cross_modal_transformer import CrossModalTransformer
from cxreport.generators.decoding import Hypothesis, beam_search, greedy_search
from cxreport.generators.encoder_decoder import EncoderDecoder
from cxreport.generators.memory_transformer import MemoryTransformer
from cxreport.model_options import R2GenCMNOptions, R2GenOptions
from goldens import Item, Values


def r2gen(item: Item) -> tuple[Values, Values]:
    """R2Gen's encoder-decoder over given patch features: ours and published outputs."""
    config = item.json["config"]
    options = R2GenOptions(
        **_shape(config), memory_slots=config["rm_num_slots"], memory_heads=config["rm_num_heads"]
    )
    network = MemoryTransformer(config["vocab"], config["d_vf"], options).eval()
    load_published(network, item.weights, r2gen_network_names(network))
    embedding = network.embed(item.inputs["ids"][:, :-1])
    memory = network.memory(embedding)
    own: dict[str, Any] = {
        "relational_memory": memory,
        "mcln_in": embedding,
        "mcln_out": network.decoder[0].self_attention_norm(embedding, memory),
    }
    return own | _written(network, item), item.outputs


def r2gencmn(item: Item) -> tuple[Values, Values]:
    """R2GenCMN's encoder-decoder over given patch features, and what it reads in its memory."""
    config, given = item.json["config"], item.inputs
    options = R2GenCMNOptions(**_shape(config), memory_rows=config["cmm_size"], memory_top=config["topk"])
    network = CrossModalTransformer(config["vocab"], config["d_vf"], options).eval()
    load_published(network, item.weights, r2gencmn_network_names(network))
    own: dict[str, Any] = {}
    asked = {"visual": network.project(given["att_feats"]), "text": network.embed(given["ids"][:, :-1])}
    for name, x in asked.items():
        reading = network.memory(x)
        own |= {f"{name}_response": reading.response, f"{name}_topk_weights": reading.weights.transpose(1, 2)}
    return own | _written(network, item), item.outputs


def _shape(config: dict[str, Any]) -> dict[str, int]:
    return {
        "width": config["d_model"],
        "feed_forward": config["d_ff"],
        "heads": config["num_heads"],
        "layers": config["num_layers"],
    }


def _written(network: EncoderDecoder, item: Item) -> dict[str, Any]:
    """What both systems compute and write."""
    config, given = item.json["config"], item.inputs
    ids, mask, limit = given["ids"], given["mask"][:, 1:], config["max_seq_length"]
    context = network.encode(given["att_feats"])
    decoded = network.decode(context, None, ids[:, :-1])
    logprobs = network.log_probabilities(decoded)
    taken = -logprobs.gather(2, ids[:, 1:].unsqueeze(2)).squeeze(2)
    ours: dict[str, Any] = {
        "patch_embedding": network.project(given["att_feats"]),
        "encoder_out": context,
        "target_embedding": network.embed(ids[:, :-1]),
        "decoder_out": decoded,
        "logprobs": logprobs,
        "loss": (taken * mask).sum() / mask.sum(),
    }
    studies, device, size = ids.shape[0], ids.device, config["beam_size"]
    found = beam_search(network.stepper(context, None), studies, size, limit, device, keep=size)
    best = beam_search(network.stepper(context, None), studies, size, limit, device)
    ours["beam3_ids"] = _padded([study[0] for study in best], limit)
    ours["beam3_all_ids"] = torch.stack([_padded(study, limit) for study in found])
    ours["beam3_all_scores"] = torch.tensor([[text.score for text in study] for study in found])
    ours["beam3_all_lengths"] = torch.tensor([[len(text.ids) for text in study] for study in found])
    for name, block in (("greedy_ids", False), ("greedy_block_trigrams_ids", True)):
        texts = greedy_search(network.stepper(context, None), studies, limit, device, block)
        ours[name] = _padded(texts, limit)
    return ours


def _padded(texts: Sequence[Hypothesis], length: int) -> torch.Tensor:
    rows = [torch.tensor(text.ids) for text in texts]
    return torch.stack([functional.pad(row, (0, length - len(row)), value=END) for row in rows])

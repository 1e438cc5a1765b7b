"""AM-MRG's prefix: image tokens, disease queries and two memories, over given tokens and given banks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cxreport.checkpoints.name_map import NameMap, load_published
from cxreport.checkpoints.published.ammrg import BANK, POSITION_IDS, stage2_names
from cxreport.generators.ammrg import AMMRG, PATCHES, REPORTS
from cxreport.memories.bank import Bank, Entry, Origin
from cxreport.model_options import AMMRGOptions, AssociationOptions, LanguageModelOptions
from cxreport.options import QueryOptions
from goldens import Item, Values
from goldens.prefix_lm import LANGUAGE, given_batch, given_encoder, given_language_model, read

MEMORIES = {"HopfieldLayers": PATCHES, "R_HopfieldLayers": REPORTS}


def prefix_ammrg(item: Item) -> tuple[Values, Values]:
    """What the language model reads behind the image, its logits and its loss."""
    config = item.json["config"]
    options = AMMRGOptions(
        language_model=LanguageModelOptions(path="given"),
        instruction=item.json["text"]["prompt"],
        max_length=config["max_length"],
        queries=QueryOptions(
            width=config["q_hidden"],
            layers=config["q_layers"],
            heads=config["q_heads"],
            feed_forward=config["q_mlp"],
            image_width=config["encoder_width"],
        ),
        query_count=config["queries"],
        memory=AssociationOptions(heads=config["hop_heads"], head_width=config["hop_hidden"]),
        hide_own=False,
        published=True,
    )
    weights = {key: value for key, value in item.weights.items() if not key.startswith(LANGUAGE)}
    del weights[POSITION_IDS]
    banks = {name: given_bank(weights.pop(f"{theirs}.{BANK}")) for theirs, name in MEMORIES.items()}
    views = config["views"]
    generator = AMMRG(options, given_encoder(item, views), given_language_model(item), banks).eval()
    own = {
        key: value
        for key, value in generator.state_dict().items()
        if key.startswith(("language_model.", "encoder.")) or key.endswith("sha256")
    }
    names = stage2_names(generator.queries, generator.visual_memory, generator.report_memory) | NameMap(
        {f"own: {key}": key for key in own}
    )
    load_published(generator, weights | {f"own: {key}": value for key, value in own.items()}, names)
    before_norm: list[Tensor] = []
    generator.norm.register_forward_pre_hook(lambda _module, given: before_norm.append(given[0]))
    batch = given_batch(item, views)
    generator.prompt_parts(batch, generator.look(batch))
    found: dict[str, Any] = {"image_prefix": torch.cat(before_norm, dim=1)}
    return found | read(generator, item, batch), item.outputs


def given_bank(vectors: Tensor) -> Bank:
    """A bank of these vectors (1, Q, W), each of a study of its own."""
    entries = [Entry(f"bank {number}", f"bank {number}") for number in range(vectors.shape[1])]
    return Bank(vectors[0], entries, Origin({"source": "given"}))

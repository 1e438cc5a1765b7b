"""Language models behind image tokens: what they read, answer and lose, over given encoder tokens."""

from __future__ import annotations

import json
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from cxreport.checkpoints.name_map import load_published
from cxreport.checkpoints.published.r2gengpt import projection_names
from cxreport.data.batch import Batch
from cxreport.encoders import Encoder, Tokens
from cxreport.generators.language_models import LanguageModel
from cxreport.generators.language_search import joined, search
from cxreport.generators.prefix_lm import PrefixLM
from cxreport.model_options import LanguageModelOptions, PrefixOptions
from cxreport.options import DecodingOptions
from goldens import CannotCompareError, Item, Values

LANGUAGE = "llama_model."
SPECIAL = {"llama": {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}, "qwen": {}}
"""The special tokens of the two toy tokenizers."""


class GivenTokens(Encoder):
    """Has tokens (B*V, N, E), those of a study's views one after another, whatever the images are."""

    def __init__(self, tokens: Tensor) -> None:
        super().__init__()
        self.width = tokens.shape[2]
        self.tokens = tokens
        self.unused = torch.nn.Parameter(torch.zeros(()))

    def encode(self, images: Tensor) -> Tokens:
        return Tokens(self.tokens, self.tokens.mean(dim=1), (self.tokens.shape[1], 1))


def given_batch(item: Item, views: int) -> Batch:
    """A batch of the item's reports, with images that nobody looks at."""
    reports = item.json["text"]["reports"]
    images = torch.zeros(len(reports), views, 3, 8, 8)
    mask = torch.ones(len(reports), views, dtype=torch.bool)
    return Batch(images, mask, [str(number) for number in range(len(reports))], reports)


def given_encoder(item: Item, views: int) -> GivenTokens:
    """The first `views` views of the item, of any grid."""
    each = [item.inputs[f"view{number}"] for number in range(views)]
    tokens = torch.stack([view.flatten(1, -2) for view in each], dim=1)
    return GivenTokens(tokens.flatten(0, 1))


def given_language_model(item: Item, style: str = "llama") -> LanguageModel:
    """The item's Llama with the toy tokenizer of that style."""
    config, text = item.json["config"], item.json["text"]
    shape = LlamaConfig(
        vocab_size=config["vocab"],
        hidden_size=config["llm_hidden"],
        intermediate_size=config["llm_mlp"],
        num_hidden_layers=config["llm_layers"],
        num_attention_heads=config["llm_heads"],
        num_key_value_heads=config["num_key_value_heads"],
        rms_norm_eps=config["rms_norm_eps"],
        rope_theta=config["rope_theta"],
    )
    network = LlamaForCausalLM(shape)
    weights = {
        key.removeprefix(LANGUAGE): value for key, value in item.weights.items() if key.startswith(LANGUAGE)
    }
    network.load_state_dict(weights)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(text["tokenizers"][style])), **SPECIAL[style]
    )
    return LanguageModel(LanguageModelOptions(path="given"), network, tokenizer, "00" * 32).eval()


def read(generator: PrefixLM, item: Item, batch: Batch) -> dict[str, Any]:
    """What the published code computes of a training batch."""
    ids, mask = generator.report_ids(batch.reports, generator.options.max_length)
    prefix = generator.prefix(batch, generator.look(batch))
    embeddings, seen, positions = joined(prefix, generator.language_model.embed(ids), mask)
    labels = torch.cat(
        [torch.full_like(prefix.mask, -100, dtype=torch.long), ids.masked_fill(ids == 0, -100)], dim=1
    )
    return {
        "inputs_embeds": embeddings,
        "attention_mask": seen.long(),
        "labels": labels,
        "logits": generator.language_model(embeddings, seen, positions),
        "loss": generator.loss(batch)["loss"],
        "generate_inputs_embeds": prefix.embeddings,
    }


def prefix_lm_batch(item: Item) -> tuple[Values, Values]:
    """R2GenGPT's training batch in two styles, and the ids that the first of them writes."""
    others = {key: value for key, value in item.weights.items() if not key.startswith(LANGUAGE)}
    views = item.json["config"]["views"]
    ours: dict[str, Any] = {}
    for style in SPECIAL:
        options = PrefixOptions(
            generator="prefix_lm",
            language_model=LanguageModelOptions(path="given"),
            instruction=item.json["text"]["prompt"],
            max_length=item.json["config"]["max_length"],
            published=True,
        )
        language_model = given_language_model(item, style)
        generator = PrefixLM(options, given_encoder(item, views), language_model).eval()
        projector = torch.nn.ModuleDict({"projection": generator.projection, "norm": generator.norm})
        load_published(projector, others, projection_names())
        pieces = item.json["text"]["pieces"][style]
        prompt = {"before_image": generator.prompt.before, "after_image": generator.prompt.after}
        for name, text in prompt.items():
            if language_model.tokens(text) != pieces[name]["ids"]:
                raise CannotCompareError(f"{item.path}: the prompt of style {style} has other ids.")
        batch = given_batch(item, views)
        image = generator.image_part(generator.look(batch))
        found = read(generator, item, batch) | {"image_embeds": image.embeddings}
        if style == "llama":
            found["generated_ids"] = _written(generator, batch)
        ours |= {f"{style}.{name}": value for name, value in found.items()}
    return ours, item.outputs


def _written(generator: PrefixLM, batch: Batch) -> Tensor:
    """Ids (B, 12); the item has the same number for every study."""
    decoding = DecodingOptions(
        method="beam",
        beam_size=3,
        max_length=12,
        min_new_tokens=5,
        repetition_penalty=2.0,
        length_penalty=2.0,
    )
    prefix = generator.prefix(batch, generator.look(batch))
    return torch.tensor(search(generator.language_model, prefix, decoding, batch.study_ids))

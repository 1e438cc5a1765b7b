"""R2Gen's checkpoints to model folders: the weights and, from the annotation file, their words."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from cxreport.checkpoints import save_model
from cxreport.checkpoints.convert import (
    Account,
    Converted,
    check_round_trip,
    provenance,
    state_dict_of,
    uncapitalised,
)
from cxreport.checkpoints.name_map import load_published
from cxreport.checkpoints.published.r2gen import r2gen_names
from cxreport.data.text import legacy_iu
from cxreport.data.words import WordTokenizer
from cxreport.encoders import build_encoder
from cxreport.errors import UserError
from cxreport.generators.r2gen import R2Gen
from cxreport.recipe import DataOptions, DecodingOptions, EncoderOptions, R2GenOptions, Recipe
from cxreport.weights.torch_file import read_weights_file

KIND = "r2gen"
TITLE = "R2Gen with torchvision's ResNet-101"
_EMBEDDING = "encoder_decoder.model.tgt_embed.0.lut.weight"


def convert_r2gen(
    path: Path, annotation: Path, folder: Path, heads: int = 8, threshold: int = 3
) -> Converted:
    """Read a published R2Gen checkpoint and write a model folder that drafts.

    `annotation` is the JSON file of its training: R2Gen does not save its words, they are those that the
    train split has at least `threshold` times (published: 3 for IU X-ray, 10 for MIMIC-CXR). `heads` are
    those of the transformer and of the memory (published: 8), which the weights do not tell. Raises
    UserError, and writes nothing, where file, words and options do not fit each other key by key.
    """
    tree = read_weights_file(path)
    tokenizer = WordTokenizer.train(_train_reports(annotation), threshold)
    try:
        entry, weights = state_dict_of(tree)
        options = _options(weights, heads, threshold)
        rows = weights[_EMBEDDING].shape[0]
        if rows != len(tokenizer) + 1:
            raise UserError(
                f"it knows {rows - 1} words, and {annotation} gives {len(tokenizer)} at a threshold of"
                f" {threshold}; give the annotation file and --threshold of its training."
            )
        generator = R2Gen(options, build_encoder(options.encoder), tokenizer)
        names = r2gen_names(generator)
        load_published(generator, weights, names)
        check_round_trip(generator, weights, names)
    except UserError as error:
        raise UserError(f"{path} is not converted: {uncapitalised(error)}") from None
    recipe = Recipe(
        name="r2gen-converted",
        data=DataOptions(cleaner="legacy-iu"),
        model=options,
        decoding=DecodingOptions(method="beam", beam_size=3, max_length=options.max_length),
    )
    account = Account(entry, kept=len(weights))
    save_model(folder, generator, recipe, provenance(path, KIND, TITLE, tree, account, options.encoder.name))
    return Converted(folder, options.encoder, account)


def _options(weights: dict[str, Any], heads: int, threshold: int) -> R2GenOptions:
    """The shape of R2Gen from its tensors."""
    layers = [
        int(found[1]) for key in weights if (found := re.match(r".*model\.encoder\.layers\.(\d+)\.", key))
    ]
    try:
        width = weights[_EMBEDDING].shape[1]
        feed_forward = weights["encoder_decoder.model.encoder.layers.0.feed_forward.w_1.weight"].shape[0]
        memory = weights["encoder_decoder.model.decoder.layers.0.sublayer.0.norm.mlp_gamma.0.weight"].shape[1]
    except KeyError as error:
        raise UserError(f"it has no {error.args[0]}, so it is no file of kind {KIND} ({TITLE}).") from None
    return R2GenOptions(
        encoder=EncoderOptions(name="resnet101"),
        width=width,
        feed_forward=feed_forward,
        heads=heads,
        layers=max(layers) + 1,
        memory_slots=memory // width,
        memory_heads=heads,
        vocabulary_threshold=threshold,
    )


def _train_reports(annotation: Path) -> list[str]:
    """The cleaned reports of the train split of an annotation file; UserError where it is none."""
    try:
        records = json.loads(annotation.read_text(encoding="utf-8"))["train"]
        return [legacy_iu(record["report"]) for record in records]
    except OSError as error:
        raise UserError(f"Cannot read {annotation}: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{annotation} is no annotation file of R2Gen: it needs train: [{{report: ...}}]."
        ) from None

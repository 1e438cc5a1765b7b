"""R2Gen's and R2GenCMN's checkpoints to model folders: weights and, from the annotation file, words."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cxreport.checkpoints import save_model
from cxreport.checkpoints.convert import (
    Account,
    Converted,
    check_round_trip,
    provenance,
    state_dict_of,
    uncapitalised,
)
from cxreport.checkpoints.kinds import GENERATOR_KINDS
from cxreport.checkpoints.name_map import NameMap, load_published
from cxreport.checkpoints.published.r2gen import r2gen_names
from cxreport.checkpoints.published.r2gencmn import r2gencmn_names
from cxreport.data.text import legacy_iu
from cxreport.data.words import WordTokenizer
from cxreport.encoders import build_encoder
from cxreport.errors import UserError
from cxreport.generators.r2gen import R2Gen
from cxreport.generators.r2gencmn import R2GenCMN
from cxreport.generators.word_generator import WordGenerator
from cxreport.model_options import R2GenCMNOptions, R2GenOptions
from cxreport.options import DataOptions, DecodingOptions, EncoderOptions
from cxreport.recipe import Recipe
from cxreport.weights.torch_file import read_weights_file

_TRUNK = "encoder_decoder."
_EMBEDDING = f"{_TRUNK}model.tgt_embed.0.lut.weight"
_FEED_FORWARD = f"{_TRUNK}model.encoder.layers.0.feed_forward.w_1.weight"
_SHIFT = f"{_TRUNK}model.decoder.layers.0.sublayer.0.norm.mlp_gamma.0.weight"
_MATRIX = f"{_TRUNK}memory_matrix"
_TOP = 32
"""Rows that R2GenCMN's heads read, as published; no weight tells it."""


def convert_r2gen(
    path: Path, annotation: Path, folder: Path, heads: int = 8, threshold: int = 3, kind: str = "r2gen"
) -> Converted:
    """Read a published checkpoint of a kind of :data:`GENERATOR_KINDS` and write a model folder that drafts.

    `annotation` is the JSON file of its training: the words are not saved, they are those that the
    train split has at least `threshold` times (published: 3 for IU X-ray, 10 for MIMIC-CXR). `heads` are
    those of the transformer and of the memory (published: 8), which the weights do not tell; nor do they tell
    how many rows of R2GenCMN's memory a head reads, which is as published. Raises UserError, and writes
    nothing, where file, words and options do not fit each other key by key.
    """
    tree = read_weights_file(path)
    tokenizer = WordTokenizer.train(_train_reports(annotation), threshold)
    try:
        entry, weights = state_dict_of(tree)
        options = _options(weights, kind, heads, threshold)
        rows = weights[_EMBEDDING].shape[0]
        if rows != len(tokenizer) + 1:
            raise UserError(
                f"it knows {rows - 1} words, and {annotation} gives {len(tokenizer)} at a threshold of"
                f" {threshold}; give the annotation file and --threshold of its training."
            )
        generator, names = _built(options, tokenizer)
        load_published(generator, weights, names)
        check_round_trip(generator, weights, names)
    except UserError as error:
        raise UserError(f"{path} is not converted: {uncapitalised(error)}") from None
    recipe = Recipe(
        name=f"{kind}-converted",
        data=DataOptions(cleaner="legacy-iu"),
        model=options,
        decoding=DecodingOptions(method="beam", beam_size=3, max_length=options.max_length),
    )
    account = Account(entry, kept=len(weights))
    facts = provenance(path, kind, GENERATOR_KINDS[kind], tree, account, options.encoder.name)
    save_model(folder, generator, recipe, facts)
    return Converted(folder, options.encoder, account)


def _built(
    options: R2GenOptions | R2GenCMNOptions, tokenizer: WordTokenizer
) -> tuple[WordGenerator, NameMap]:
    """The untrained generator and the map of its published names."""
    encoder = build_encoder(options.encoder)
    if isinstance(options, R2GenOptions):
        r2gen = R2Gen(options, encoder, tokenizer)
        return r2gen, r2gen_names(r2gen)
    r2gencmn = R2GenCMN(options, encoder, tokenizer)
    return r2gencmn, r2gencmn_names(r2gencmn)


def _options(
    weights: dict[str, Any], kind: str, heads: int, threshold: int
) -> R2GenOptions | R2GenCMNOptions:
    """The shape of a generator from its tensors."""
    layers = [
        int(found[1]) for key in weights if (found := re.match(r".*model\.encoder\.layers\.(\d+)\.", key))
    ]
    try:
        width = weights[_EMBEDDING].shape[1]
        shared: dict[str, Any] = {
            "encoder": EncoderOptions(name="resnet101"),
            "width": width,
            "feed_forward": weights[_FEED_FORWARD].shape[0],
            "heads": heads,
            "layers": max(layers) + 1,
            "vocabulary_threshold": threshold,
        }
        if kind == "r2gencmn":
            rows = weights[_MATRIX].shape[0]
            return R2GenCMNOptions(**shared, memory_rows=rows, memory_top=min(rows, _TOP))
        slots = weights[_SHIFT].shape[1] // width
        return R2GenOptions(**shared, memory_slots=slots, memory_heads=heads)
    except ValidationError as error:
        raise UserError(f"{error.errors()[0]['msg'].removeprefix('Value error, ')}; give --heads.") from None
    except KeyError as error:
        raise UserError(
            f"it has no {error.args[0]}, so it is no file of kind {kind} ({GENERATOR_KINDS[kind]})."
        ) from None


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

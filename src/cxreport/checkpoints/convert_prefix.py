"""Delta files of R2GenGPT and its descendants to model folders: what was trained, beside a language model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from cxreport.checkpoints import save_model
from cxreport.checkpoints.convert import (
    Account,
    Converted,
    accounted,
    check_round_trip,
    options_of,
    provenance,
    state_dict_of,
    uncapitalised,
)
from cxreport.checkpoints.kinds import KINDS, PREFIX_KINDS, PrefixKind
from cxreport.checkpoints.name_map import NameMap, listed, load_published
from cxreport.checkpoints.published.r2gengpt import LOW_RANK, low_rank_names
from cxreport.encoders.folder import origin, read_options
from cxreport.errors import UserError
from cxreport.generators import generator_class
from cxreport.generators.base import TrainStudies
from cxreport.generators.prefix_lm import PrefixLM
from cxreport.model_options import PrefixOptions, R2GenGPTOptions
from cxreport.recipe import Recipe
from cxreport.weights.torch_file import read_weights_file

_PROJECTION = "llama_proj.weight"
_LANGUAGE_MODEL = "llama_model."
_KEPT = ("language_model.", "encoder.")
"""Parts of ours that no file holds, or not every file."""


def convert_prefix(
    path: Path, kind_name: str, folder: Path, recipe: Recipe, encoder: Path | None = None
) -> Converted:
    """Read a delta file of a kind of :data:`PREFIX_KINDS` and write a model folder that drafts.

    `recipe` names the language model that the file was trained with, and prompt, lengths and decoding, which
    no tensor tells; the encoder's shape is the file's. `encoder` is the folder of the encoder that the file
    was trained on, for those that hold none or only updates of it (R2GenGPT's shallow and delta). Raises
    UserError, and writes nothing, where file, language model and encoder do not fit each other key by key.
    """
    kind = PREFIX_KINDS[kind_name]
    if recipe.model.generator != kind_name or not isinstance(recipe.model, PrefixOptions):
        raise UserError(
            f"The recipe {recipe.name} is one of {recipe.model.generator}, not of {kind_name}; leave out"
            " --recipe, or name another."
        )
    tree = read_weights_file(path)
    try:
        weights, account = _weights(tree, kind)
        if _PROJECTION not in weights:
            raise UserError(f"It has no {_PROJECTION}, so it is no file of kind {kind_name} ({kind.title}).")
        options = _model_options(recipe.model, kind, weights, encoder)
        generator = _built(options, encoder)
        _check_width(generator, weights)
        names = _names(generator, kind, weights)
        own = generator.state_dict()
        as_they_are = {f"own: {key}": key for key in own.keys() - names.ours}
        learnt = {name for name, _ in generator.named_parameters() if not name.startswith(_KEPT)}
        if untold := sorted(learnt & {*as_they_are.values()}):
            raise UserError(f"it does not hold {listed(untold)}, which this model of the recipe needs.")
        whole = weights | {name: own[key] for name, key in as_they_are.items()}
        names |= NameMap(as_they_are)
        load_published(generator, whole, names)
        check_round_trip(generator, whole, names)
    except UserError as error:
        raise UserError(f"{path} is not converted: {uncapitalised(error)}") from None
    account.kept = len(weights)
    facts = provenance(path, kind_name, kind.title, tree, account, options.encoder.name)
    if encoder is not None:
        facts["encoder"] = origin(encoder)
    save_model(folder, generator, recipe.model_copy(update={"model": options}), facts)
    return Converted(folder, options.encoder, account)


def _weights(tree: Any, kind: PrefixKind) -> tuple[dict[str, Tensor], Account]:
    """The tensors of the file, the encoder's without their prefix, and the account."""
    _, state = state_dict_of(tree)
    if tuned := sorted(key for key in state if key.startswith(_LANGUAGE_MODEL)):
        raise UserError(
            f"It holds updates of the language model ({listed(tuned)}), which the published recipes do not"
            " train; they are not read."
        )
    begun = (prefix for prefix in kind.prefixes if any(key.startswith(prefix) for key in state))
    prefix = next(begun, kind.prefixes[0])
    return accounted(tree, replace(KINDS[kind.encoder], prefix=prefix, others=kind.dropped))


def _model_options(
    given: PrefixOptions, kind: PrefixKind, weights: Mapping[str, Tensor], encoder: Path | None
) -> PrefixOptions:
    """The options of the file's generator: as published, with a frozen language model."""
    language_model = given.language_model.model_copy(update={"tuning": "frozen", "store": False})
    changes: dict[str, Any] = {"published": True, "language_model": language_model, "finding_loss": 0.0}
    updates = {key: value for key, value in weights.items() if LOW_RANK in key}
    whole = not updates and any(not key.startswith(kind.own) for key in weights)
    if not whole and encoder is None:
        held = "only updates of its encoder" if updates else "no encoder"
        raise UserError(f"It holds {held}; give the folder of the encoder that it was trained on: --encoder.")
    if whole and encoder is not None:
        raise UserError("It holds the whole encoder; leave out --encoder.")
    if encoder is None:
        changes["encoder"] = options_of(weights, KINDS[kind.encoder], kind.encoder)
    else:
        changes["encoder"] = read_options(encoder)
    if isinstance(given, R2GenGPTOptions):
        changes["variant"] = "delta" if updates else "deep" if whole else "shallow"
        if updates:
            rank = min(min(value.shape) for value in updates.values())
            changes["encoder_lora"] = given.encoder_lora.model_copy(update={"rank": rank})
    return given.model_copy(update=changes)


def _built(options: PrefixOptions, encoder: Path | None) -> PrefixLM:
    """The generator before the file's tensors are put in, its encoder from the folder where there is one."""
    start = options.encoder.model_copy(update={"init": None if encoder is None else str(encoder)})
    made: Any = generator_class(options.generator).build(
        options.model_copy(update={"encoder": start}), TrainStudies([])
    )
    built: PrefixLM = made
    return built


def _check_width(generator: PrefixLM, weights: Mapping[str, Tensor]) -> None:
    width = weights[_PROJECTION].shape[0]
    if width != generator.language_model.width:
        raise UserError(
            f"It was trained with a language model of width {width}, and"
            f" {generator.options.language_model.path} has width {generator.language_model.width}; name the"
            " right one with --language-model."
        )


def _names(generator: PrefixLM, kind: PrefixKind, weights: Mapping[str, Tensor]) -> NameMap:
    names = kind.names(generator)
    encoder: Any = generator.encoder
    if any(LOW_RANK in key for key in weights):
        return names | low_rank_names(encoder).prefixed("", "encoder.")
    if any(not key.startswith(kind.own) for key in weights):
        return names | KINDS[kind.encoder].names(encoder).prefixed("", "encoder.")
    return names

"""A recipe: everything that decides what a run does, in one YAML file.

``Recipe.load(path, ["training.epochs=3"])`` reads a file and applies ``--set`` changes. The options stand in
``cxreport.options`` and ``cxreport.model_options``; an unknown key is an error that names the key and the
nearest known one.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from cxreport.errors import UserError
from cxreport.model_options import ModelOptions
from cxreport.options import DataOptions, DecodingOptions, RecipeOptions, TrainingOptions

_PLAIN = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "string_pattern_mismatch": "letters, digits, dots, underscores and hyphens",
    "tuple_type": "a list",
    "model_type": "a section of keys",
    "model_attributes_type": "a section of keys",
    "literal_error": "{expected}",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
}
"""What a value must be, by pydantic's type of error."""

SHIPPED = Path(__file__).parent / "recipes"
"""Recipes that come with the package; in a checkout a link to the folder ``recipes``."""

_COMMANDS = {"model": "cxreport train", "objective": "cxreport pretrain"}
"""The section that tells a kind of recipe from the others, and the command for it."""


class RecipeFile(RecipeOptions):
    """What every recipe has: a name, a seed, data and training, and how it is read and written."""

    SHIPPED: ClassVar[Path] = SHIPPED
    """Where those that come with the package lie."""

    name: str = Field(min_length=1, max_length=80, pattern=r"^[A-Za-z0-9._-]+$")
    seed: int = Field(9223, ge=0, lt=2**31)
    data: DataOptions = DataOptions()
    training: TrainingOptions = TrainingOptions()

    @classmethod
    def load(cls, path: Path | str, changes: Sequence[str] = ()) -> Self:
        """Read a recipe and apply ``a.b=c`` changes (values are YAML).

        `path` is a file, or the name of a recipe that comes with the package (``demo``,
        ``mambaxray/stage3``). Raises UserError for a missing file, bad YAML, an unknown key or a bad value,
        and names the change that brought it.
        """
        path = _found(Path(path), cls.SHIPPED)
        try:
            tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"Cannot read the recipe {path}: {error.strerror}.") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UserError(f"{path} is not a YAML file: {' '.join(str(error).split())}.") from None
        if not isinstance(tree, dict):
            raise UserError(f"{path} must hold a mapping with {', '.join(cls.model_fields)}.")
        for section, command in _COMMANDS.items():
            if section in tree and section not in cls.model_fields:
                raise UserError(f"{path} has a section {section}: it is a recipe of `{command}`.")
        return cls.changed(tree, changes, str(path))

    @classmethod
    def changed(cls, tree: dict[str, Any], changes: Sequence[str], source: str) -> Self:
        """Build from a mapping with ``--set`` changes; UserError blames `source` or the change."""
        stages = [(source, tree)]
        for change in changes:
            stages.append((f"--set {change}", _changed(stages[-1][1], change)))
        sentences = [_sentences(cls, stage) for _, stage in stages]
        if sentences[-1]:
            first = sentences[-1][0]
            blamed = next(name for (name, _), known in zip(stages, sentences, strict=True) if first in known)
            raise UserError(f"{blamed}: {first}")
        return cls.parse(stages[-1][1], source)

    @classmethod
    def parse(cls, tree: dict[str, Any], source: str = "recipe") -> Self:
        """Build from a mapping; `source` is named in errors."""
        try:
            return cls.model_validate(tree)
        except ValidationError as error:
            raise UserError(f"{source}: {_sentence(cls, error.errors()[0])}") from None

    def dump(self) -> str:
        """The complete recipe as YAML, defaults included."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


class Recipe(RecipeFile):
    """One YAML: data, model, training, decoding."""

    model: ModelOptions
    decoding: DecodingOptions = DecodingOptions()
    start: str | None = Field(None, min_length=1)
    """Folder of a trained generator on the same language model, whose weights are the first ones of this one
    (``cxreport train --from``); where ``model.encoder`` is another one, only those of the language model."""

    @model_validator(mode="after")
    def _generator_heeds_the_decoding(self) -> Self:
        if refusal := self.model.refusal(self.decoding):
            raise ValueError(refusal)
        return self


def with_decoding(recipe: Recipe, changes: Sequence[str]) -> Recipe:
    """The recipe of a trained model with ``decoding.a=b`` changes; UserError for any other one."""
    for change in changes:
        if not change.startswith("decoding."):
            raise UserError(
                f"--set {change}: of a trained model only the search can be changed: decoding.OPTION=VALUE."
            )
    return (
        Recipe.changed(recipe.model_dump(mode="json"), changes, "the model's recipe") if changes else recipe
    )


def model_inside(folder: Path) -> Path:
    """The model of a run folder; any other folder is itself one of a model or of an encoder."""
    inside = folder / "model"
    return inside if inside.is_dir() else folder


def shipped_recipes(folder: Path = SHIPPED) -> dict[str, Path]:
    """The recipes that come with the package by name: of `folder`, and of a system (``mambaxray/stage1``)."""
    named = {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    systems = {f"{path.parent.name}/{path.stem}": path for path in sorted(SHIPPED.glob("*/*.yaml"))}
    return named | {name: path for name, path in systems.items() if not name.startswith("pretrain/")}


def _found(path: Path, folder: Path) -> Path:
    """`path`, or the recipe of that name which comes with the package: a bare one, or one in one folder."""
    name, known = path.as_posix(), shipped_recipes(folder)
    if path.is_file() or path.suffix or len(path.parts) > 2 or path.is_absolute():
        return path
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"those are {', '.join(known)}."
    raise UserError(f"{name} is neither a file nor a recipe that comes with cxreport; {hint}")


def _changed(tree: dict[str, Any], change: str) -> dict[str, Any]:
    """A copy of `tree` with the ``--set`` `change`."""
    changed = tree = copy.deepcopy(tree)
    key, equals, value = change.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set {change!r} must have the form section.option=value.")
    *parents, last = key.strip().split(".")
    for parent in parents:
        child = tree.setdefault(parent, {})
        if not isinstance(child, dict):
            raise UserError(f"--set {key}: {parent} is a value, not a section.")
        tree = child
    try:
        tree[last] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise UserError(f"--set {key}: {value!r} is not a YAML value.") from None
    return changed


def _sentences(recipe: type[RecipeFile], tree: dict[str, Any]) -> list[str]:
    """What is wrong with a recipe, empty where nothing is."""
    try:
        recipe.model_validate(tree)
    except ValidationError as error:
        return [_sentence(recipe, problem) for problem in error.errors()]
    return []


def _sentence(recipe: type[RecipeFile], problem: Any) -> str:
    """One of pydantic's problems as a sentence, with the nearest known key for an unknown one."""
    tags = _tags(recipe)
    where = ".".join(str(part) for part in problem["loc"] if part not in tags)
    if problem["type"].startswith("union_tag"):
        key = problem["ctx"]["discriminator"].strip("'")
        if problem["type"] == "union_tag_not_found":
            return f"{where}.{key} is missing; choose {', '.join(sorted(tags))}."
        return f"{where}.{key} must be {' or '.join(sorted(map(repr, tags)))}, not {problem['input'][key]!r}."
    if problem["type"] == "extra_forbidden":
        parent, _, key = where.rpartition(".")
        tag = next((str(part) for part in problem["loc"] if part in tags), None)
        known = _known_keys(recipe, parent, tag)
        elsewhere = [path for path in _all_keys(recipe, tag) if path.rpartition(".")[2] == key]
        near = elsewhere or [
            f"{parent}.{name}" if parent else name
            for name in difflib.get_close_matches(key, known, n=1, cutoff=0.4)
        ]
        hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(known)}."
        return f"unknown key {where}; {hint}"
    if problem["type"] == "missing":
        return f"{where} is missing."
    given = repr(problem["input"])
    given = given if len(given) <= 60 else given[:57] + "..."
    if problem["type"] in _PLAIN:
        limits = {
            name: f"{value:.10g}" if isinstance(value, float) else value
            for name, value in problem.get("ctx", {}).items()
        }
        return f"{where} must be {_PLAIN[problem['type']].format(**limits)}, not {given}."
    message = problem["msg"].removeprefix("Value error, ")
    if isinstance(problem["input"], dict):
        return f"{where}: {message}." if where else f"{message}."
    return f"{where}: {message} (got {given})."


def _tags(recipe: type[RecipeFile]) -> set[str]:
    """What tells the options of a union apart: pydantic puts it into the places of its errors."""
    return {
        tag
        for section in ("model", "objective")
        if section in recipe.model_fields
        for options in _models_in(recipe.model_fields[section].annotation)
        for tag in _tags_of(options)
    }


def _tags_of(options: type[BaseModel]) -> set[str]:
    """The ``generator`` or ``name`` that these options stand for; none for options of no union."""
    fields = (options.model_fields[key] for key in ("generator", "name") if key in options.model_fields)
    return {str(tag) for field in fields for tag in getattr(field.annotation, "__args__", ())}


def _known_keys(recipe: type[RecipeFile], parent: str, tag: str | None) -> list[str]:
    prefix = f"{parent}." if parent else ""
    inside = (key.removeprefix(prefix) for key in _all_keys(recipe, tag) if key.startswith(prefix))
    return [key for key in inside if "." not in key]


def _all_keys(recipe: type[RecipeFile], tag: str | None) -> list[str]:
    """Every key of a recipe, sections included; those of one member of a union where it is known."""
    return list(dict.fromkeys(_keys(recipe, "", tag)))


def _keys(options: type[BaseModel], prefix: str, tag: str | None) -> Iterator[str]:
    for name, info in options.model_fields.items():
        yield prefix + name
        for inner in _models_in(info.annotation):
            tags = _tags_of(inner)
            if tag is None or not tags or tag in tags:
                yield from _keys(inner, f"{prefix}{name}.", tag)


def _models_in(annotation: Any) -> Iterable[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for part in getattr(annotation, "__args__", ()) for m in _models_in(part)]

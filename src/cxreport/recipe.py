"""A recipe: everything that decides what a run does, in one YAML file.

``Recipe.load(path, ["training.epochs=3"])`` reads a file and applies ``--set`` changes. Every option is
documented where it is declared; an unknown key is an error that names the key and the nearest known one.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from cxreport.errors import UserError
from cxreport.study import Projection

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


class RecipeOptions(BaseModel):
    """Options of a recipe: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class DataOptions(RecipeOptions):
    """What the generator sees and what it has to write."""

    image_size: int = Field(224, ge=32, le=4096)
    """Side in pixels of the square image given to the encoder; aspect ratio is not kept, as published."""
    views: tuple[Projection, ...] = ("frontal", "lateral")
    """Which projections of a study are used, in this order."""
    max_views: int = Field(2, ge=1, le=8)
    """At most this many views of a study; the rest are left out."""
    section: Literal["findings", "impression", "both"] = "findings"
    """Which section of the report is the target."""
    cleaner: Literal["clean", "characters", "legacy-iu", "legacy-mimic", "legacy-r2gengpt"] = "clean"
    """Report cleaner: ``characters`` is ``clean`` with every Chinese character a word of its own; the
    ``legacy`` ones are R2Gen's for IU X-ray and for MIMIC-CXR and R2GenGPT's, bit for bit."""
    marks: Literal["keep", "token", "drop"] = "keep"
    """De-identification marks (``XXXX``, ``___``) before cleaning: left to the cleaner, turned into the
    one word ``XXXX``, or removed. ``clean`` makes one word of both; a ``legacy`` cleaner does what it did."""
    train_share: float = Field(1.0, gt=0, le=1)
    """Share of the train split that is learnt from, the same of every label (``cxreport data subset``)."""
    train_share_seed: int = Field(9223, ge=0, lt=2**31)
    """With the same seed a smaller share lies inside a larger one."""
    augment: bool = True
    """Random changes of the images in training, as ``augmentation`` says."""
    augmentation: Literal["small", "legacy-r2gen"] = "small"
    """``small``: shift, zoom, rotation, contrast and brightness; never a flip, which would move the heart.
    ``legacy-r2gen``: R2Gen's random crop and horizontal flip. The flip swaps left and right, so that every
    report which names a side becomes false for half of its images; only to reproduce published numbers."""
    workers: int = Field(0, ge=0, le=64)
    """Loader processes. 0 decodes in the main process and keeps decoded images in memory."""


class EncoderOptions(RecipeOptions):
    """Which image encoder, see ``cxreport.encoders`` and ``cxreport encoders``.

    A shape that is left out is the named encoder's own; a shape that the encoder does not have is an error.
    """

    name: str = "resnet_small"
    """A name of the encoder registry."""
    pretrained: bool = False
    """Load torchvision's ImageNet weights, which must be in its local cache (ResNet only)."""
    init: str | None = Field(None, min_length=1)
    """Start from the weights of this folder, which ``cxreport convert`` wrote."""
    image_size: int | None = Field(None, ge=8, le=8192)
    """Side in pixels that the table of positions is made for; other sizes and shapes resample the table."""
    patch: int | None = Field(None, ge=1, le=512)
    """Side of a patch in pixels."""
    width: int | None = Field(None, ge=4, le=8192)
    """Channels of a token; of the first stage where an encoder has stages that double them."""
    depths: tuple[Annotated[int, Field(ge=1, le=128)], ...] | None = Field(None, min_length=1, max_length=4)
    """Blocks of every stage; one number for an encoder without stages."""
    heads: tuple[Annotated[int, Field(ge=1, le=128)], ...] | None = Field(None, min_length=1, max_length=4)
    """Attention heads of every stage; one number for an encoder without stages."""
    state_size: int | None = Field(None, ge=1, le=256)
    """State size N of the selective scan."""
    expansion: float | None = Field(None, gt=0, le=8)
    """Inner channels of a Mamba block over its width."""
    drop_path: float = Field(0.0, ge=0, lt=1)
    """Largest rate of stochastic depth; it grows linearly from 0 at the first block."""

    @model_validator(mode="after")
    def _one_origin_of_weights(self) -> Self:
        if self.pretrained and self.init is not None:
            raise ValueError("pretrained and init exclude each other")
        return self

    def shape(self) -> dict[str, Any]:
        """The shape options that are given: all but the name and where the weights come from."""
        given = self.model_dump(exclude={"name", "pretrained", "init"}, exclude_defaults=True)
        return {key: value for key, value in given.items() if value is not None}

    def untrained(self) -> Self:
        """The same encoder without published or converted weights."""
        return self.model_copy(update={"pretrained": False, "init": None})


class EncoderDecoderOptions(RecipeOptions):
    """What the generators with an encoder-decoder of their own share; defaults as published for IU X-ray."""

    generator: str
    encoder: EncoderOptions = EncoderOptions()
    width: int = Field(512, ge=8)
    """Model width d."""
    feed_forward: int = Field(512, ge=8)
    """Width of the feed-forward layers."""
    heads: int = Field(8, ge=1)
    layers: int = Field(3, ge=1)
    """Encoder layers, and as many decoder layers."""
    dropout: float = Field(0.1, ge=0, lt=1)
    feature_dropout: float = Field(0.5, ge=0, lt=1)
    """Dropout after the projection of the patch features."""
    max_length: int = Field(60, ge=4)
    """Words of a report that are learnt, its start and end included; longer reports are cut (counted)."""
    vocabulary_threshold: int = Field(3, ge=1)
    """A word enters the vocabulary when the train split has it this often."""
    finding_loss: float = Field(0.0, ge=0)
    """Weight of a second loss: the true findings of a phantom predicted from its pooled patches. It teaches
    an encoder that starts from random weights to look; studies without known findings do not enter it.
    Published: none."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        for name in ("heads", "memory_heads"):
            if self.width % getattr(self, name, 1):
                raise ValueError(f"{name} ({getattr(self, name)}) must divide width ({self.width})")
        return self


class R2GenOptions(EncoderDecoderOptions):
    """R2Gen (Chen et al., EMNLP 2020)."""

    generator: Literal["r2gen"] = "r2gen"
    memory_slots: int = Field(3, ge=1)
    memory_heads: int = Field(8, ge=1)
    patch_positions: bool = False
    """Give every patch its place in the grid (2-D sine and cosine). Published: no position on patches."""


class R2GenCMNOptions(EncoderDecoderOptions):
    """R2GenCMN (Chen et al., ACL 2021)."""

    generator: Literal["r2gencmn"] = "r2gencmn"
    memory_rows: int = Field(2048, ge=1)
    """Rows of the matrix that patches and words read."""
    memory_top: int = Field(32, ge=1)
    """Rows that each head reads for one patch or word."""

    @model_validator(mode="after")
    def _rows_are_enough(self) -> Self:
        if self.memory_top > self.memory_rows:
            raise ValueError(
                f"memory_top ({self.memory_top}) must be at most memory_rows ({self.memory_rows})"
            )
        return self


ModelOptions = Annotated[R2GenOptions | R2GenCMNOptions, Field(discriminator="generator")]
"""The options of every generator, told apart by ``generator``."""


class TrainingOptions(RecipeOptions):
    """Optimiser, schedule and length of training."""

    epochs: int = Field(30, ge=1)
    max_minutes: float | None = Field(None, gt=0)
    """Stop after the epoch in which this many minutes of training have passed (resumed time counts)."""
    batch_size: int = Field(16, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    """Peak learning rate of all parameters but the encoder's."""
    encoder_learning_rate: float | None = Field(None, gt=0)
    """Peak learning rate of the encoder; None uses ``learning_rate``."""
    weight_decay: float = Field(1e-4, ge=0)
    optimizer: Literal["adamw", "adam-amsgrad"] = "adamw"
    """``adam-amsgrad`` is R2Gen's."""
    schedule: Literal["one-cycle", "step", "constant"] = "one-cycle"
    """``one-cycle``: linear warm-up, then cosine to zero; ``step``: R2Gen's StepLR per epoch."""
    warmup: float = Field(0.1, ge=0, lt=1)
    """Share of all steps that ``one-cycle`` warms up."""
    step_size: int = Field(50, ge=1)
    step_gamma: float = Field(0.1, gt=0, le=1)
    accumulate: int = Field(1, ge=1)
    """Batches whose gradients make one step."""
    decay_vectors: bool = True
    """Whether weight decay also acts on biases, norms and all else of one dimension."""
    activation_checkpointing: bool = False
    """Compute what the blocks of a model keep for the backward pass again: less memory, more time."""
    gradient_clip: float | None = Field(1.0, gt=0)
    """Largest gradient norm; None does not clip."""
    precision: Literal["32", "bf16", "16"] = "32"
    """Mixed precision where it is not 32."""
    keep: Literal["best", "last"] = "best"
    """Which epoch becomes the model folder: lowest validation loss, or the last one."""

    @field_validator("precision", mode="before")
    @classmethod
    def _precision_may_be_a_number(cls, value: Any) -> Any:
        return str(value) if type(value) is int else value


class DecodingOptions(RecipeOptions):
    """How a draft is searched."""

    method: Literal["greedy", "beam"] = "beam"
    beam_size: int = Field(3, ge=1, le=32)
    max_length: int = Field(60, ge=1)
    """Most words of a draft, the end symbol included."""
    block_trigrams: bool = False
    """R2Gen's soft trigram penalty; published for greedy search only."""
    batch_size: int = Field(32, ge=1)

    @model_validator(mode="after")
    def _trigrams_need_greedy(self) -> Self:
        if self.block_trigrams and self.method == "beam":
            raise ValueError("block_trigrams exists for method: greedy only (the published beam ignores it)")
        return self


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

        `path` is a file, or the bare name of a recipe that comes with the package (``demo``). Raises
        UserError for a missing file, bad YAML, an unknown key or a bad value, and names the
        change that brought it.
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


def shipped_recipes(folder: Path = SHIPPED) -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def _found(path: Path, folder: Path) -> Path:
    """`path`, or the recipe of that bare name which comes with the package."""
    name = str(path)
    if path.suffix or len(path.parts) != 1 or path.is_file():
        return path
    if name in shipped_recipes(folder):
        return folder / f"{name}.yaml"
    near = difflib.get_close_matches(name, shipped_recipes(folder), n=1)
    hint = f"did you mean {near[0]}?" if near else f"those are {', '.join(shipped_recipes(folder))}."
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

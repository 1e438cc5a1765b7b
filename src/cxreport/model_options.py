"""The options of every generator: the section ``model`` of a recipe."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from cxreport.options import DecodingOptions, EncoderOptions, QueryOptions, RecipeOptions


class GeneratorOptions(RecipeOptions):
    """What all generators share."""

    KNOWN_DECODING: ClassVar[frozenset[str]]
    """Options of ``decoding`` that these generators heed; any other one set is an error."""

    generator: str

    def refusal(self, decoding: DecodingOptions) -> str | None:
        """Why this generator cannot write with `decoding`: a sentence without its end, or nothing."""
        if unheeded := decoding.unheeded(self.KNOWN_DECODING):
            return f"the generator {self.generator} does not know decoding.{', decoding.'.join(unheeded)}"
        return None


class TrainedOptions(GeneratorOptions):
    """What the generators share that are trained. Published: none of it but the encoder."""

    encoder: EncoderOptions = EncoderOptions()
    finding_loss: float = Field(0.0, ge=0)
    """Weight of a second loss: the true findings of a phantom predicted from its pooled patches. It teaches
    an encoder that starts from random weights to look; studies without known findings do not enter it."""
    word_dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the words of a report that are hidden, in training, from what writes the next ones: with fewer
    words to lean on it has to look at the image."""
    image_dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the studies whose image is hidden in training, so that the generator also learns what would be
    written without one. ``decoding.guidance`` compares with that."""


class EncoderDecoderOptions(TrainedOptions):
    """What the generators with an encoder-decoder of their own share; defaults as published for IU X-ray."""

    KNOWN_DECODING: ClassVar[frozenset[str]] = frozenset(
        {"method", "beam_size", "max_length", "block_trigrams", "batch_size", "guidance"}
    )

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

    def refusal(self, decoding: DecodingOptions) -> str | None:
        """As of every generator; guidance also needs a model that learnt to write without an image."""
        if decoding.guidance and not self.image_dropout:
            return "decoding.guidance needs a model that was trained with model.image_dropout above 0"
        return super().refusal(decoding)

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


class LoraOptions(RecipeOptions):
    """Low-rank updates of linear layers (LoRA, Hu et al. 2021); defaults as R2GenGPT's."""

    rank: int = Field(16, ge=1, le=1024)
    """Rank r of an update."""
    alpha: float = Field(16.0, gt=0)
    """An update is scaled with alpha / rank."""
    dropout: float = Field(0.1, ge=0, lt=1)
    targets: tuple[str, ...] = Field(("q_proj", "v_proj"), min_length=1)
    """Names, or ends of names, of the linear layers that are updated."""


class LanguageModelOptions(RecipeOptions):
    """A causal language model in Hugging Face's layout, read from the disk and never from the network."""

    path: str = Field(min_length=1)
    """A folder with ``config.json``, safetensors and a tokenizer, or a name in Hugging Face's local cache."""
    tuning: Literal["frozen", "lora", "full"] = "frozen"
    """What of it is trained: nothing (as published), low-rank updates, everything."""
    lora: LoraOptions = LoraOptions()
    """Used with ``tuning: lora``."""
    dtype: Literal["auto", "32", "bf16", "16"] = "auto"
    """Type of its weights; ``auto`` is what its config.json says, and 32 where everything is
    trained: in a half type small steps would be rounded away."""
    quantised: Literal["no", "8-bit", "4-bit"] = "no"
    """Hold the frozen weights in fewer bits; needs the package bitsandbytes, and a GPU."""
    store: bool = False
    """Keep a frozen language model in the model folder, too. Otherwise the folder holds its path and its
    SHA-256, and loading refuses another one."""

    @field_validator("dtype", mode="before")
    @classmethod
    def _dtype_may_be_a_number(cls, value: Any) -> Any:
        return str(value) if type(value) is int else value

    @model_validator(mode="after")
    def _quantised_weights_stay_as_they_are(self) -> Self:
        if self.quantised != "no" and (self.tuning == "full" or self.store):
            raise ValueError("quantised excludes tuning: full and store: true")
        return self


class PrefixOptions(TrainedOptions):
    """What the generators share that put the images as tokens before the text of a language model."""

    KNOWN_DECODING: ClassVar[frozenset[str]] = frozenset(DecodingOptions.model_fields) - {"block_trigrams"}

    language_model: LanguageModelOptions
    variant: Literal["shallow", "delta", "deep"] = "deep"
    """What of the encoder is trained: nothing, low-rank updates of its attention, everything. Published of
    R2GenGPT; of the others ``deep``."""
    encoder_lora: LoraOptions = LoraOptions(dropout=0.0, targets=("qkv", "query_key_value", "in_projection"))
    """Used with ``variant: delta``; of a layer that makes query, key and value, query and value are updated,
    as published. Its dropout must be 0: the weights are updated, not what enters them."""
    views: Literal["mean", "concatenate", "embeddings"] = "mean"
    """How the tokens of several views are joined: their mean over the present views (published), one view
    after another, or the latter with a learnt vector for every place of a view."""
    most_views: int = Field(2, ge=1, le=8)
    """Places of a view that have a vector, with ``views: embeddings``."""
    merge_patches: int = Field(1, ge=1, le=16)
    """Side of the squares of patches of which the language model reads one token, their mean. With 2 it reads
    a quarter of the image tokens. Published: every patch."""
    word_loss: float = Field(0.0, ge=0)
    """Weight of a second loss: the words of the report read from the image tokens alone through the language
    model's own embeddings, so that these come to lie among words. Published: none."""
    prompt: Literal["r2gengpt", "chat", "none"] = "r2gengpt"
    """Text around the image: ``Human: <Img>`` image ``</Img>`` instruction ``Assistant:`` as published, the
    language model's own chat template, or none (for a language model that knows reports only)."""
    instruction: str = "Generate a comprehensive and detailed diagnosis report for this chest xray image."
    max_length: int = Field(100, ge=2)
    """Tokens of a report that are learnt, its end included; longer reports are cut (counted)."""
    published: bool = False
    """Do as R2GenGPT's code: a cut report loses its end, ``</s>`` is written out where the tokenizer has no
    such symbol, id 0 pads and, where the tokenizer has no symbol for it, begins a text, and words of id 0
    are not learnt."""


class R2GenGPTOptions(PrefixOptions):
    """R2GenGPT (Wang et al., Meta-Radiology 2023)."""

    generator: Literal["r2gengpt"] = "r2gengpt"


class R2GenCSROptions(PrefixOptions):
    """R2GenCSR (Wang et al., JBHI 2026)."""

    generator: Literal["r2gencsr"] = "r2gencsr"
    context: Literal["nearest", "label", "keyword", "fixed", "random", "none"] = "nearest"
    """Which train studies stand before the image, as many with disease (positive) as normal (negative).

    ``nearest``: those most like the study, of each side, found anew for every study and never its patient's.
    The others draw ``context_pool`` studies of each side by ``context_seed``, once, and every study gets the
    first ``context_pairs`` of them; but for ``fixed``, every batch in training gets other ones of the pool.
    The sides are told apart by the label No Finding (``nearest``, ``label``), by whether a report has the
    ``context_keyword`` (``keyword``, and ``fixed`` as published), or not at all (``random``, a control).
    ``none`` has no context."""
    context_pairs: int = Field(3, ge=1, le=64)
    """Positive, and as many negative, studies of a context."""
    context_pool: int = Field(30, ge=1, le=1024)
    """Studies of each side that are drawn; their images are kept in the model."""
    context_keyword: str = Field("note", min_length=1)
    """A report that contains it, also inside a word, is of the side ``keyword_marks``."""
    keyword_marks: Literal["positive", "negative"] = "positive"
    """As published ``positive`` for ``note``, and ``negative`` for the Chinese ``未见`` (not seen)."""
    context_seed: int = Field(42, ge=0, lt=2**31)
    residual: Literal["after", "before", "published", "none"] = "after"
    """What of a context the language model reads: the study's global vector less the context's, ``after`` or
    ``before`` the projection; ``published``, where the embeddings of the words around a context are
    subtracted, too; or the context's vector itself (``none``)."""

    @model_validator(mode="after")
    def _pool_has_the_pairs(self) -> Self:
        if self.context_pool < self.context_pairs:
            raise ValueError(
                f"context_pairs ({self.context_pairs}) must be at most context_pool ({self.context_pool})"
            )
        return self


class MambaXrayOptions(PrefixOptions):
    """MambaXray-VL, stage 3 (Wang et al., CVPR 2025)."""

    generator: Literal["mambaxray"] = "mambaxray"
    encoder: EncoderOptions = EncoderOptions(name="vision_mamba_base")
    """A Vision Mamba with four scans; ``init`` names the weights of stage 1 or 2."""


class AssociationOptions(RecipeOptions):
    """How a Hopfield memory is looked up; the defaults are AM-MRG's."""

    heads: int = Field(6, ge=1, le=64)
    head_width: int = Field(1024, ge=1)
    """Width of the space in which each head finds entries."""
    scaling: float = Field(4.0, gt=0)
    """Inverse temperature of the association; a higher one reads fewer entries."""
    steps: int | None = Field(0, ge=0)
    """Most updates of a query among the entries before it reads them; null goes on until it has settled. With
    any the studies of a batch influence each other, as published."""
    dropout: float = Field(0.1, ge=0, lt=1)


class AMMRGOptions(PrefixOptions):
    """AM-MRG, stage 2 (Wang et al., IEEE TMI 2025)."""

    generator: Literal["ammrg"] = "ammrg"
    encoder: EncoderOptions = EncoderOptions(name="vision_mamba_large")
    queries: QueryOptions = QueryOptions(image_width=1408)
    """The disease queries; their width is also that of both memories."""
    query_count: int = Field(14, ge=1, le=512)
    memory: AssociationOptions = AssociationOptions()
    """Of both memories."""
    visual_memory: bool = True
    """Look up disease tokens and class-activation patches of train studies."""
    report_memory: bool = True
    """Look up reports of train studies."""
    visual_bank: str | None = Field(None, min_length=1)
    """Folder of ``cxreport bank make --kind disease``; the model folder keeps its banks and not this path."""
    report_bank: str | None = Field(None, min_length=1)
    """Folder of ``cxreport bank make --kind report``, kept likewise."""
    hide_own: bool = True
    """A study does not see the entries of its own patient, so that in training it cannot look up its own
    report. Published: it does."""


class BaselineOptions(GeneratorOptions):
    """What the baselines share that were only told the train reports: no options."""

    KNOWN_DECODING: ClassVar[frozenset[str]] = frozenset({"batch_size"})


class MostFrequentOptions(BaselineOptions):
    """The most frequent train report, for everyone."""

    generator: Literal["most_frequent"] = "most_frequent"


class AllNormalOptions(BaselineOptions):
    """The most frequent report of train studies labelled No Finding, for everyone."""

    generator: Literal["all_normal"] = "all_normal"


class RandomReportOptions(BaselineOptions):
    """A train report drawn for each study."""

    generator: Literal["random"] = "random"


class NearestNeighbourOptions(BaselineOptions):
    """The report of the train study whose image is nearest."""

    generator: Literal["nearest_neighbour"] = "nearest_neighbour"
    encoder: EncoderOptions = EncoderOptions()
    """A trained one: ``init`` names it."""


class ClassifierTemplateOptions(BaselineOptions):
    """A sentence for every label that a classifier finds."""

    generator: Literal["classifier_template"] = "classifier_template"
    classifier: str | None = Field(None, min_length=1)
    """Run or folder of the objective ``disease``; the model folder keeps its weights and not this path."""


ModelOptions = Annotated[
    R2GenOptions
    | R2GenCMNOptions
    | R2GenGPTOptions
    | R2GenCSROptions
    | MambaXrayOptions
    | AMMRGOptions
    | MostFrequentOptions
    | AllNormalOptions
    | RandomReportOptions
    | NearestNeighbourOptions
    | ClassifierTemplateOptions,
    Field(discriminator="generator"),
]
"""The options of every generator, told apart by ``generator``."""

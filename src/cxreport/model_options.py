"""The options of every generator: the section ``model`` of a recipe."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from cxreport.options import EncoderOptions, RecipeOptions


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

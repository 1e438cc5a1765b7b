"""The recipe of the recognition protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from cxreport.options import RecipeOptions
from cxreport.pretraining import PretrainDataOptions, PretrainTrainingOptions
from cxreport.recipe import SHIPPED, RecipeFile


class ShareOptions(RecipeOptions):
    """How long fine-tuning on a share of the train split lasts."""

    share: float = Field(gt=0, le=1)
    """Share of the train split whose labels are learnt from."""
    epochs: int = Field(ge=1)
    batch_size: int = Field(16, ge=1)
    epoch_images: int = Field(1, ge=1)
    """A smaller subset is repeated within an epoch until it has at least so many images."""


class ProbeOptions(RecipeOptions):
    """Logistic regression on frozen features."""

    seeds: int = Field(5, ge=0)
    strengths: tuple[Annotated[float, Field(gt=0)], ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
    """Inverse strengths of L2 regularisation (scikit-learn's C) among which the val split chooses."""


class FineTuningOptions(RecipeOptions):
    """Training of the whole encoder; how is in the section ``training``."""

    seeds: int = Field(3, ge=0)


class RecognitionRecipe(RecipeFile):
    """One YAML: the label, the images, the shares, and how probes and fine-tuning are done.

    ``training.epochs`` and ``training.batch_size`` are those of ``shares``, and ``data.train_share`` and its
    seed those of a cell.
    """

    SHIPPED: ClassVar[Path] = SHIPPED / "bench"

    data: PretrainDataOptions = PretrainDataOptions(image_size=128, max_views=1)
    training: PretrainTrainingOptions = PretrainTrainingOptions()
    target: str = "No Finding"
    """The label that is told from its absence."""
    shares: tuple[ShareOptions, ...] = Field(min_length=1)
    probe: ProbeOptions = ProbeOptions()
    fine_tuning: FineTuningOptions = FineTuningOptions()
    pairs: tuple[tuple[str, str], ...] = ()
    """Pairs of arms, of which the table also gives the first less the second."""
    resamples: int = Field(2000, ge=100)
    """Bootstrap resamples of the test patients behind every interval."""

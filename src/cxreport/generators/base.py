"""The interface of every generator: study to draft."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from torch import Tensor, nn

from cxreport.study import Draft

if TYPE_CHECKING:
    from cxreport.data.batch import Batch
    from cxreport.options import DecodingOptions


class Generator(nn.Module, ABC):
    """Writes draft reports. B studies of a batch have up to V views each, see ``cxreport.data.batch``."""

    @classmethod
    @abstractmethod
    def build(cls, options: Any, train_reports: Sequence[str]) -> Self:
        """A new, untrained generator.

        `options` are the recipe's ``model`` options of this generator; `train_reports` are the cleaned
        target texts of the train split, the only texts that a vocabulary may be made from.
        """

    @abstractmethod
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """``loss``, a scalar to minimise, and its parts; ``tokens`` counts the words it averages over."""

    @abstractmethod
    def generate(self, batch: Batch, decoding: DecodingOptions) -> list[Draft]:
        """One draft per study, in evaluation mode and without gradients whatever mode the module is in."""

    @abstractmethod
    def features(self, batch: Batch) -> Tensor:
        """Pooled encoder features (B, D), averaged over the views that are present."""

    @abstractmethod
    def encoder_parameters(self) -> Iterable[nn.Parameter]:
        """The image encoder's parameters, which may have their own learning rate."""

    @abstractmethod
    def truncated(self, reports: Iterable[str]) -> int:
        """How many of these target texts the generator learns only in part, because they are too long."""

    @abstractmethod
    def save_assets(self, folder: Path) -> None:
        """Write into `folder` what is not a weight: tokenizer files and the like."""

    @classmethod
    @abstractmethod
    def load_assets(cls, options: Any, folder: Path) -> Self:
        """An untrained generator with the assets of `folder`, ready to take the weights saved with them.

        Raises UserError for a missing or damaged file.
        """

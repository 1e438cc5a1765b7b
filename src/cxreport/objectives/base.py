"""The interface of every objective: a loss that teaches an encoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from cxreport.data.batch import Batch
    from cxreport.encoders import Encoder


class Objective(nn.Module, ABC):
    """Built as ``Class(encoder, options)``.

    A new run calls :meth:`prepare` once; a folder that is loaded calls :meth:`load_assets` in its place, then
    takes the saved weights.
    """

    encoder: Encoder

    def prepare(self, labels: Sequence[dict[str, int]], reports: Sequence[str]) -> None:
        """Learn from the train split what has to be known before training; may make parameters.

        `labels` are those of every train study, `reports` the cleaned target texts where the objective reads
        reports. Tokenizers and counts of labels come from here. Raises UserError where the split lacks what
        is needed.
        """

    @abstractmethod
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """``loss``, a scalar to minimise; ``tokens`` counts what it averages over."""

    def measured(self) -> dict[str, object]:
        """What was counted so far, for ``run.json``."""
        return {}

    def show(self, batch: Batch, folder: Path) -> None:
        """Write pictures of what was learnt on `batch` into a finished run's `folder`."""

    def save_assets(self, folder: Path) -> None:
        """Write into `folder` what is not a weight."""

    def load_assets(self, folder: Path) -> None:
        """Read what :meth:`save_assets` wrote, so that the weights fit; UserError for a damaged file."""

"""The interface of every objective: a loss that teaches an encoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

if TYPE_CHECKING:
    from cxreport.data.batch import Batch
    from cxreport.encoders import Encoder
    from cxreport.study import SidedKind


@dataclass(frozen=True, slots=True)
class TrainFacts:
    """What is known of every study of the train split, but for its images.

    ``source`` names the data in errors; ``labels`` and ``findings`` are those of a batch; ``reports`` are the
    cleaned target texts where the objective reads reports.
    """

    source: str
    labels: Sequence[dict[str, int]] = ()
    findings: Sequence[frozenset[SidedKind] | None] = ()
    reports: Sequence[str] = ()


class Objective(nn.Module, ABC):
    """Built as ``Class(encoder, options)``.

    A new run calls :meth:`prepare` once; a folder that is loaded calls :meth:`load_assets` in its place, then
    takes the saved weights.
    """

    encoder: Encoder

    def prepare(self, train: TrainFacts) -> None:
        """Learn from the train split what has to be known before training; may make parameters.

        Tokenizers and counts of labels come from here. Raises UserError where the split lacks what is needed.
        """

    @abstractmethod
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """``loss``, a scalar to minimise; ``tokens`` counts what it averages over."""

    def measured(self) -> dict[str, object]:
        """What was counted so far, for ``run.json``; every process calls it at the end of an epoch."""
        return {}

    def remembered(self) -> dict[str, Any]:
        """What a resumed run need not find again: nested dicts and lists of tensors and JSON values."""
        return {}

    def recall(self, remembered: dict[str, Any]) -> None:
        """Take back what :meth:`remembered` gave."""

    def show(self, batch: Batch, folder: Path) -> None:
        """Write pictures of what was learnt on `batch` into a finished run's `folder`."""

    def save_assets(self, folder: Path) -> None:
        """Write into `folder` what is not a weight."""

    def load_assets(self, folder: Path) -> None:
        """Read what :meth:`save_assets` wrote, so that the weights fit; UserError for a damaged file."""

"""The interface of every generator: study to draft."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from torch import Tensor, nn

from cxreport.errors import UserError
from cxreport.generators.evidence import EvidenceKind, ScoredText, TokenMaps, evidence_of
from cxreport.options import DataOptions
from cxreport.study import BankEntry, Draft, SentenceEvidence, Study

if TYPE_CHECKING:
    from cxreport.data.batch import Batch
    from cxreport.memories.bank import Bank
    from cxreport.options import DecodingOptions


@dataclass(frozen=True, slots=True)
class TrainStudies:
    """What a new generator may look at: the studies of the train split that have a target text.

    ``reports`` are their cleaned target texts, in the order of ``studies``, which read from disk as they are
    asked for and are empty where only texts are at hand. ``data`` are the recipe's, from which
    :func:`cxreport.data.batch.loader` makes the batches that the generator will see. ``dataset`` has
    ``source``, ``source_version`` and ``sha256`` of the prepared dataset.
    """

    reports: Sequence[str]
    studies: Sequence[Study] = ()
    data: DataOptions = field(default_factory=DataOptions)
    seed: int = 0
    dataset: Mapping[str, str] = field(default_factory=dict)
    val: Sequence[Study] = ()
    """Studies of the val split, to choose thresholds on."""


class Generator(nn.Module, ABC):
    """Writes draft reports. B studies of a batch have up to V views each, see ``cxreport.data.batch``."""

    sees_images: ClassVar[bool] = True
    """Whether drafts depend on images, and so :meth:`features` gives any."""
    scores_texts: ClassVar[bool] = True
    """Whether :meth:`score` gives texts a probability."""

    @property
    def trainable(self) -> bool:
        """Whether there is anything to train; what is not trainable is complete once it is built."""
        return any(parameter.requires_grad for parameter in self.parameters())

    @classmethod
    @abstractmethod
    def build(cls, options: Any, train: TrainStudies) -> Self:
        """A new, untrained generator.

        `options` are the recipe's ``model`` options of this generator; `train` is all that a vocabulary, a
        bank or context samples may be made from.
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

    def score(self, batch: Batch, texts: Sequence[str]) -> list[ScoredText]:
        """The log-probability of every token of `texts`, one text a study, if it were the draft.

        Teacher forced and differentiable, in the mode that the module is in; the batch's own reports are not
        read. Raises UserError where the generator gives texts no probability.
        """
        raise UserError("This generator gives texts no probability; ask for evidence of another kind.")

    def attention(self, batch: Batch, texts: Sequence[str]) -> list[TokenMaps]:
        """Where in the views the generator looks while it writes every token of `texts`, one text a study.

        Averaged over layers and heads. Raises UserError where it has no such attention.
        """
        raise UserError("This generator has no attention over the image; ask for evidence of another kind.")

    def bank_entries(self, batch: Batch) -> list[tuple[BankEntry, ...]]:
        """What every study takes out of a memory bank, nearest first; nothing for a generator without one."""
        return [()] * len(batch)

    def evidence(
        self, batch: Batch, drafts: Sequence[Draft], kind: EvidenceKind = "scores"
    ) -> list[tuple[SentenceEvidence, ...]]:
        """The sentences of the `drafts` that it wrote for `batch`, and what they rest on.

        Raises UserError where the generator cannot give this kind.
        """
        return evidence_of(self, batch, drafts, kind)

    def banks(self) -> tuple[Bank, ...]:
        """The memory banks that drafts rest on; training and drafting refuse those that hold test data."""
        return ()

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

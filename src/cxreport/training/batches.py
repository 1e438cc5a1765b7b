"""The studies of a run: those with a report, as loaders, one share per device."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import lightning
from torch.utils.data import DataLoader

from cxreport.data.batch import Item, loader, usable
from cxreport.data.store import PreparedDataset, Studies
from cxreport.data.subsets import train_part
from cxreport.data.text import target_text
from cxreport.errors import UserError
from cxreport.recipe import Recipe, RecipeFile
from cxreport.study import SidedKind, Study

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunStudies:
    """Studies with a target text; ``reports`` are the texts of ``train``, ``counts`` say how many of each."""

    train: Sequence[Study]
    val: Sequence[Study]
    reports: list[str]
    counts: dict[str, int] = field(default_factory=dict)
    parts: tuple[tuple[int, float], ...] = ()
    """Size and weight of the datasets that ``train`` is made of, where they have weights."""
    images: bool = True
    """Whether batches have images; else they have no view."""
    labels: list[dict[str, int]] = field(default_factory=list)
    findings: list[frozenset[SidedKind] | None] = field(default_factory=list)
    """``labels`` and ``findings`` of every study of ``train``, where an objective may ask for them."""

    @classmethod
    def of(cls, recipe: Recipe, dataset: PreparedDataset) -> RunStudies:
        """The usable studies of the train and val splits; those without a report are counted and logged.

        Raises UserError when a split is absent or has no report at all.
        """
        dataset.need_images()
        chosen: dict[str, Studies] = {}
        counts: dict[str, int] = {}
        for split in ("train", "val"):
            studies = train_part(dataset, recipe.data) if split == "train" else dataset.split(split)
            kept, exclusions = usable(studies, recipe.data)
            if not kept:
                raise UserError(
                    f"No study of the {split} split of {dataset.path} has a text in the section "
                    f"{recipe.data.section}; set data.section to another one."
                )
            if len(exclusions):
                logger.warning("%s split, %d studies: %s.", split, len(studies), exclusions.summary())
            chosen[split] = studies.select(kept)
            counts |= {split: len(kept), f"{split}_without_report": len(exclusions)}
        reports = [target_text(report, recipe.data) for report in chosen["train"].reports]
        return cls(chosen["train"], chosen["val"], reports, counts)


class Batches(lightning.LightningDataModule):
    """Loaders of one run: training shuffled by (seed, epoch), validation in order and not augmented."""

    def __init__(self, recipe: RecipeFile, studies: RunStudies) -> None:
        super().__init__()
        self._recipe = recipe
        self._studies = studies

    def train_dataloader(self) -> DataLoader[Item]:
        """This device's share of the training studies."""
        return self._loader(self._studies.train, train=True)

    def val_dataloader(self) -> DataLoader[Item]:
        """This device's share of the validation studies."""
        return self._loader(self._studies.val, train=False)

    def _loader(self, studies: Sequence[Study], *, train: bool) -> DataLoader[Item]:
        assert self.trainer is not None
        return loader(
            studies,
            self._recipe.data,
            batch_size=self._recipe.training.batch_size,
            train=train,
            seed=self._recipe.seed,
            rank=self.trainer.global_rank,
            world=self.trainer.world_size,
            parts=self._studies.parts,
            lengths=[len(text) for text in self._studies.reports]
            if self._recipe.training.like_lengths
            else (),
            images=self._studies.images,
        )

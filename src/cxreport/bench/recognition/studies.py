"""The studies of the protocol: those whose target is known, the subsets that are learnt from, the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, overload

import numpy as np

from cxreport.bench.recognition.options import RecognitionRecipe
from cxreport.data.splits import sha256_of_ids
from cxreport.data.store import PreparedDataset, Studies
from cxreport.data.subsets import train_part
from cxreport.errors import UserError
from cxreport.study import SPLITS, Study


@dataclass(frozen=True)
class LabelledSplit:
    """Studies of one split whose target is present or absent, and how many had to be left out."""

    studies: Studies
    left_out: int
    _target: str = field(repr=False)

    def __len__(self) -> int:
        return len(self.studies)

    @cached_property
    def ids(self) -> list[str]:
        """Study ids."""
        return self.studies.study_ids

    @cached_property
    def truth(self) -> np.ndarray:
        """Whether the target is present (N,), bool."""
        return np.array([labels[self._target] == 1 for labels in self.studies.labels])

    @cached_property
    def patients(self) -> list[str]:
        """The patient of every study."""
        return [study.patient_id for study in self.studies]

    @cached_property
    def metadata(self) -> list[dict[str, Any]]:
        """What the source says of every study besides its image."""
        return [study.metadata for study in self.studies]


class Repeated(Sequence[Study]):
    """Studies over and over, so that an epoch of few has as many steps as it needs."""

    def __init__(self, studies: Sequence[Study], times: int) -> None:
        self._studies = studies
        self._times = times

    def __len__(self) -> int:
        return len(self._studies) * self._times

    @overload
    def __getitem__(self, index: int) -> Study: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Study]: ...
    def __getitem__(self, index: int | slice) -> Study | Sequence[Study]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(f"study {index} of {len(self)}")
        return self._studies[index % len(self._studies)]


def labelled_splits(dataset: PreparedDataset, target: str) -> dict[str, LabelledSplit]:
    """The train, val and test splits; UserError where one is absent or does not have both classes."""
    dataset.need_images()
    splits: dict[str, LabelledSplit] = {}
    for name in SPLITS:
        studies = dataset.split(name)
        known = [place for place, labels in enumerate(studies.labels) if labels.get(target) in (0, 1)]
        split = LabelledSplit(studies.select(known), len(studies) - len(known), target)
        if not known or split.truth.all() or not split.truth.any():
            raise UserError(
                f"The {name} split of {dataset.path} does not have studies both with and without {target} "
                "(labels 1 and 0); choose another target."
            )
        splits[name] = split
    return splits


def subset_places(
    dataset: PreparedDataset, train: LabelledSplit, recipe: RecognitionRecipe, share: float, seed: int
) -> list[int]:
    """Places in `train` of the stratified subset of that share and seed.

    With one seed a smaller share lies in a larger one. UserError when only one class is in it.
    """
    options = recipe.data.model_copy(update={"train_share": share, "train_share_seed": seed})
    taken = set(train_part(dataset, options).study_ids)
    places = [place for place, study in enumerate(train.ids) if study in taken]
    truth = train.truth[places]
    if not len(places) or truth.all() or not truth.any():
        raise UserError(
            f"{share:.3g} of the train split with seed {seed} holds {len(places)} studies of one class; give "
            "a larger share or another seed."
        )
    return places


def subset_facts(train: LabelledSplit, places: Sequence[int]) -> dict[str, Any]:
    """What a cell says of the studies that it learnt from."""
    ids = [train.ids[place] for place in places]
    present = int(train.truth[list(places)].sum())
    return {"studies": len(ids), "present": present, "ids_sha256": sha256_of_ids(ids)}

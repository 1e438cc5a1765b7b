"""The bank of R2GenCSR's context samples, before its encoder has made the vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from cxreport.data.batch import chosen_views
from cxreport.data.images import decode
from cxreport.data.store import Studies
from cxreport.errors import UserError
from cxreport.generators.base import TrainStudies
from cxreport.memories.bank import Bank, Origin
from cxreport.memories.context import NEGATIVE, POSITIVE, drawn, sides_of
from cxreport.memories.making import study_entries
from cxreport.model_options import R2GenCSROptions
from cxreport.study import Study


def begun_bank(options: R2GenCSROptions, train: TrainStudies, width: int) -> Bank:
    """The samples that ``options.context`` chooses, with vectors (N, `width`) of zeros.

    For ``nearest`` all studies that have a side; otherwise the pool of each side, with the first view of
    each study as its image. UserError where there are too few of a side, or no studies but only texts.
    """
    if len(train.studies) != len(train.reports):
        raise UserError(f"model.context: {options.context} needs the train studies with their images.")
    positive, negative = sides_of(options, train.reports, _labels(train.studies))
    if options.context == "nearest":
        places = sorted([*positive, *negative])
    else:
        positive, negative = drawn(positive, options, POSITIVE), drawn(negative, options, NEGATIVE)
        places = [*negative, *positive]
    studies = _selected(train.studies, places)
    side = dict.fromkeys(positive, POSITIVE) | dict.fromkeys(negative, NEGATIVE)
    entries = study_entries(studies, [train.reports[place] for place in places])
    kinds = [replace(entry, kind=side[place]) for entry, place in zip(entries, places, strict=True)]
    images = None
    if options.context != "nearest":
        images = torch.stack([_image(studies[number], train) for number in range(len(studies))])
    origin = Origin(train.dataset, data=train.data, made=f"r2gencsr, context {options.context}")
    return Bank(torch.zeros(len(places), width), kinds, origin, images)


def labelled_studies(train: TrainStudies, bank: Bank) -> Sequence[Study]:
    """The train studies of a bank of all that have a side, in its order."""
    ids = {entry.study_id for entry in bank.entries}
    return _selected(train.studies, [p for p, study_id in enumerate(_ids(train.studies)) if study_id in ids])


def _image(study: Study, train: TrainStudies) -> torch.Tensor:
    """The first view (H, W) uint8, as the generator sees it."""
    return torch.from_numpy(decode(chosen_views(study, train.data)[0], train.data.image_size))


def _labels(studies: Sequence[Study]) -> Sequence[Mapping[str, int]]:
    return studies.labels if isinstance(studies, Studies) else [study.labels for study in studies]


def _ids(studies: Sequence[Study]) -> Sequence[str]:
    return studies.study_ids if isinstance(studies, Studies) else [study.study_id for study in studies]


def _selected(studies: Sequence[Study], places: Sequence[int]) -> Sequence[Study]:
    return studies.select(places) if isinstance(studies, Studies) else [studies[place] for place in places]

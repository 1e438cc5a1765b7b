"""AM-MRG's visual bank: what a classifier of diseases found in train studies, and where it looked.

Source: AM-MRG (Wang et al., IEEE TMI 2025), published ``SwinCheX/cam.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cxreport.data.batch import loader
from cxreport.data.store import PreparedDataset, Studies
from cxreport.data.subsets import train_part
from cxreport.errors import UserError
from cxreport.memories.bank import Bank, Entry, Origin
from cxreport.memories.making import Progress, free_folder, origin_of, study_entries
from cxreport.objectives.disease import DiseaseClassification
from cxreport.objectives.maps import grad_cam, on_grid
from cxreport.options import DataOptions

DISEASE, PATCHES = "disease", "patches"
"""Names of the two banks in their folder."""
CROPS = 14
"""Crops are cells of a grid of so many a side, as published."""
_FINE = 16
"""Places a side of a cell, at which the map is read for its mean: pixels, as published for 224 px."""


@dataclass(frozen=True, slots=True)
class DiseaseBankOptions:
    """How much of what a bank takes; the defaults but for ``patch`` are AM-MRG's."""

    patch: Literal["token", "crop"] = "token"
    """What a class-activation patch is: the encoder's token at a cell of its own grid, or the cell of a grid
    of 14 x 14, cut out of the image, resized to a whole image and encoded (published)."""
    threshold: float = 0.75
    """A cell is taken where the map, as a share of its highest place, is above this."""
    cells: int = 6
    """Most cells of a study and disease, the highest ones."""
    patches: int = 500
    """Most patches of a disease."""
    tokens: int = 100
    """Most disease tokens of a disease. Published: one, the learnt query itself, which is of no study."""
    seed: int = 9223
    """Decides which studies with a disease are asked first."""


@dataclass(slots=True)
class _Found:
    """Vectors of one disease by the place of their study among those drawn."""

    tokens: dict[int, Tensor] = field(default_factory=dict)
    patches: dict[int, Tensor] = field(default_factory=dict)


def make_disease_banks(
    dataset: PreparedDataset,
    classifier: DiseaseClassification,
    encoder: Mapping[str, str],
    data: DataOptions,
    out: Path,
    options: DiseaseBankOptions | None = None,
    *,
    batch_size: int = 32,
    progress: Progress | None = None,
) -> dict[str, Bank]:
    """Write the banks of disease tokens and of class-activation patches of the train split into `out`.

    An entry's kind is its disease. Only the first view of a study is seen, and only studies that have a
    disease for certain give anything for it. The tokens are those of the `classifier`'s queries; one without
    queries gives patches alone. `encoder` names the classifier's weights by their ``sha256``.

    Raises UserError for a folder that is not empty and a train split without any disease.
    """
    options = options or DiseaseBankOptions()
    dataset.need_images()
    free_folder(out)
    data = data.model_copy(update={"max_views": 1, "augment": False})
    train = train_part(dataset, data)
    drawn = _drawn(train, classifier, options)
    places = sorted({place for own in drawn for place in own})
    if not places:
        raise UserError(f"No train study of {dataset.path} has any of the classifier's diseases.")
    studies = train.select(places)
    found = _found(studies, places, drawn, classifier, data, options, batch_size, progress)
    entries = dict(zip(places, study_entries(studies, [""] * len(places), progress), strict=True))
    origin = origin_of(dataset, encoder, data, f"cxreport bank make --kind disease, patch {options.patch}")
    banks = {}
    by_name = {
        DISEASE: ([each.tokens for each in found], options.tokens),
        PATCHES: ([each.patches for each in found], options.patches),
    }
    for name, (vectors, most) in by_name.items():
        if any(len(rows) for own in vectors for rows in own.values()):
            banks[name] = _bank(vectors, drawn, classifier.names, entries, origin, most)
    out.mkdir(parents=True, exist_ok=True)
    for name, bank in banks.items():
        bank.save(out, name)
    return banks


def _drawn(train: Studies, classifier: DiseaseClassification, options: DiseaseBankOptions) -> list[list[int]]:
    """Places of the studies that are asked about each disease, in the order of the draw."""
    truth = classifier.targets.truth(train.labels, train.sided_kinds).numpy()
    most = max(options.tokens, options.patches)
    rng = np.random.default_rng(options.seed)
    return [rng.permutation(np.flatnonzero(column == 1))[:most].tolist() for column in truth.T]


def _found(
    studies: Studies,
    places: Sequence[int],
    drawn: Sequence[Sequence[int]],
    classifier: DiseaseClassification,
    data: DataOptions,
    options: DiseaseBankOptions,
    batch_size: int,
    progress: Progress | None,
) -> list[_Found]:
    """Tokens (1, W) and patches (n, E) of the drawn studies, by disease."""
    asked = [set(own) for own in drawn]
    device = next(classifier.parameters()).device
    found = [_Found() for _ in drawn]
    done = 0
    for batch in loader(studies, data, batch_size=batch_size, train=False, seed=0):
        images = batch.images[:, 0].to(device)
        with torch.no_grad():
            tokens = classifier.encoder(images)
            answers = None if classifier.queries is None else classifier.queries(tokens.patches)[0].cpu()
        maps = on_grid(grad_cam(classifier.logits_of, tokens.patches), tokens.grid)
        for row in range(len(batch)):
            place = places[done + row]
            for disease, own in enumerate(found):
                if place not in asked[disease]:
                    continue
                if answers is not None:
                    own.tokens[place] = answers[row, disease][None]
                if options.patch == "token":
                    cells = highest_cells(shares(maps[row, disease]), options)
                    own.patches[place] = tokens.patches[row, cells].cpu()
                else:
                    cells = highest_cells(of_crops(shares(maps[row, disease])), options)
                    own.patches[place] = encoded_crops(classifier, images[row], cells)
        done += len(batch)
        if progress is not None:
            progress("vectors", done, len(studies))
    return found


def shares(heat: Tensor) -> Tensor:
    """A map, at least 0, as shares of its highest place; zeros stay zeros."""
    return heat / heat.max().clamp_min(1e-12)


def highest_cells(share: Tensor, options: DiseaseBankOptions) -> Tensor:
    """Numbers (n,) of the cells of a map (h, w) of shares, row by row, that are taken, the highest first."""
    flat = share.flatten()
    order = flat.argsort(descending=True, stable=True)[: options.cells]
    return order[flat[order] > options.threshold]


def of_crops(share: Tensor) -> Tensor:
    """The mean of a map (h, w) over each of the cells (14, 14) of the crops."""
    side = CROPS * _FINE
    fine = functional.interpolate(share[None, None], (side, side), mode="bilinear", align_corners=False)
    return functional.avg_pool2d(fine, _FINE)[0, 0]


def encoded_crops(classifier: DiseaseClassification, image: Tensor, cells: Tensor) -> Tensor:
    """Pooled vectors (n, E) of cells of an image (3, S, S), each resized to S x S."""
    side = image.shape[1]
    edges = [round(number * side / CROPS) for number in range(CROPS + 1)]
    crops = []
    for cell in cells.tolist():
        y, x = divmod(cell, CROPS)
        crop = image[None, :, edges[y] : edges[y + 1], edges[x] : edges[x + 1]]
        crops.append(functional.interpolate(crop, (side, side), mode="bicubic", align_corners=False))
    if not crops:
        return torch.empty(0, classifier.encoder.width)
    with torch.no_grad():
        return classifier.encoder(torch.cat(crops)).pooled.cpu()


def _bank(
    found: Sequence[Mapping[int, Tensor]],
    drawn: Sequence[Sequence[int]],
    names: Sequence[str],
    entries: Mapping[int, Entry],
    origin: Origin,
    most: int,
) -> Bank:
    """`most` vectors of every disease, in the order of the draw."""
    vectors, kept = [], []
    for name, own, order in zip(names, found, drawn, strict=True):
        rows = [(place, vector) for place in order if place in own for vector in own[place]][:most]
        vectors += [vector for _, vector in rows]
        kept += [replace(entries[place], kind=name) for place, _ in rows]
    return Bank(torch.stack(vectors), kept, origin)

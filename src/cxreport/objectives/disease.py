"""Diseases from an image: the first stage of AM-MRG (IEEE TMI 2025), a classifier of the 14 CheXpert labels.

The paper (sec. 3, after SwinCheX, 2022): a Swin Transformer sees an X-ray, one small head a label says
whether it is there, with label smoothing 0.1; a Q-Former of 14 queries, one a disease, reads the image's
tokens, and what the queries found (the disease tokens) and the patches that Grad-CAM points at become the
memory of the report generator. The published code never switches the queries on; here ``objective.queries``
does.

Every head reads the encoder's patches (their mean, each, or through the queries), never the encoder's own
pooled vector: so the maps of :mod:`cxreport.objectives.maps` exist for every encoder.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxreport.data.batch import Batch
from cxreport.encoders import Encoder
from cxreport.errors import UserError
from cxreport.memories.disease_queries import DiseaseQueries, DiseaseQueriesOptions
from cxreport.objectives.base import Objective, TrainFacts
from cxreport.objectives.images import images_of
from cxreport.objectives.map_sheet import MAPS, Cell, map_sheet
from cxreport.objectives.maps import grad_cam, on_grid, saliency
from cxreport.objectives.targets import Targets
from cxreport.pretraining import DiseaseOptions, DiseaseQueryOptions

logger = logging.getLogger(__name__)


class DiseaseClassification(Objective):
    """An encoder with a yes or no for every name of ``names``: L labels, or a phantom's sided kinds."""

    positives: Tensor
    negatives: Tensor

    def __init__(self, encoder: Encoder, options: DiseaseOptions) -> None:
        super().__init__()
        self.encoder, self.options = encoder, options
        self.targets = Targets(options)
        self.names = self.targets.names
        count, width = len(self.names), encoder.width
        self.queries: DiseaseQueries | None = None
        self.widen: nn.Module | None = None
        if options.queries is not None:
            self.queries = _disease_queries(width, options.queries, count)
            width = options.queries.width
            if options.queries.answer == "mean":
                self.widen, width = nn.Linear(width, encoder.width), encoder.width
        self.heads = LinearHeads(width, count) if options.head == "linear" else MlpHeads(width, count)
        for name in ("positives", "negatives"):
            self.register_buffer(name, torch.zeros(count, dtype=torch.int64))
        self._unlabelled = 0

    def prepare(self, train: TrainFacts) -> None:
        """Count the labels of the train split: they weigh the loss and start the heads at the prevalence.

        Labels without a positive are told. Raises UserError where no study has any label.
        """
        truth = self.targets.truth(train.labels, train.findings)
        self._unlabelled = int(truth.isnan().all(dim=1).sum())
        if self._unlabelled == len(truth):
            what = (
                "findings" if self.options.targets == "findings" else f"one of the {len(self.names)} labels"
            )
            raise UserError(
                f"No training study of {train.source} has {what}; label the reports when the dataset is "
                "imported, or name a dataset with labels in --data."
            )
        if self._unlabelled:
            logger.warning(
                "%d of %d training studies have no label and teach nothing.", self._unlabelled, len(truth)
            )
        self.positives.copy_((truth == 1).sum(dim=0))
        self.negatives.copy_((truth == 0).sum(dim=0))
        absent = [name for name, count in zip(self.names, self.positives.tolist(), strict=True) if not count]
        if absent:
            logger.warning(
                "%d of %d labels are in no training study and are learnt to be absent: %s.",
                len(absent),
                len(self.names),
                ", ".join(absent),
            )
        self.heads.start_at(((self.positives + 0.5) / (self.negatives + 0.5)).log())

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Mean cross-entropy over the labels that are known; ``tokens`` counts them. Every view is a sample.

        The published sum over labels of a two-way cross-entropy with smoothing e is L times this: with
        z = z_present - z_absent it is the binary cross-entropy of z against y (1 - e) + e / 2.
        """
        logits = self.logits(images_of(batch))
        truth = self.targets.truth(batch.labels, batch.findings).to(logits)
        truth = truth[batch.view_mask.nonzero()[:, 0]]
        known = ~truth.isnan()
        truth = truth.nan_to_num()
        smooth = truth * (1 - self.options.smoothing) + self.options.smoothing / 2
        errors = functional.binary_cross_entropy_with_logits(logits, smooth, reduction="none")
        present, absent = self.weights()
        errors = errors * torch.where(truth == 1, present, absent) * known
        count = known.sum()
        return {"loss": errors.sum() / count.clamp(min=1), "tokens": count}

    def weights(self) -> tuple[Tensor, Tensor]:
        """What an error costs (L,) where a label is present and where it is absent, from the train counts.

        ``inverse``: absent over present, at most ``largest_weight``, and 1. ``exponential``: HD-MAE's
        exp(1 - r) and exp(r) with the share r of positives.
        """
        one = torch.ones_like(self.positives, dtype=torch.float32)
        if self.options.balance == "none":
            return one, one
        if self.options.balance == "inverse":
            ratio = self.negatives / self.positives.clamp(min=1)
            return ratio.clamp(1 / self.options.largest_weight, self.options.largest_weight), one
        share = self.positives / (self.positives + self.negatives).clamp(min=1)
        return (1 - share).exp(), share.exp()

    def logits(self, images: Tensor) -> Tensor:
        """Log-odds (B, L) of images (B, 3 or 1, H, W)."""
        return self.logits_of(self.encoder(images).patches)

    def logits_of(self, patches: Tensor) -> Tensor:
        """Log-odds (B, L) of an encoder's patches (B, N, D)."""
        if self.queries is None:
            return self._without_queries(patches)
        found, _ = self.queries(patches)
        if self.widen is not None:
            found = self.widen(found).mean(dim=1, keepdim=True)
        return self.heads(found)

    def _without_queries(self, patches: Tensor) -> Tensor:
        if self.options.pooling == "mean":
            mean: Tensor = self.heads(patches.mean(dim=1, keepdim=True))
            return mean
        answers = self.heads(patches.flatten(0, 1).unsqueeze(1)).unflatten(0, patches.shape[:2])
        return log_mean_exp(answers.float(), self.options.sharpness)

    def study_logits(self, batch: Batch) -> Tensor:
        """Log-odds (B, L) of studies: the mean over the views that are present."""
        logits = self.logits(images_of(batch))
        places = batch.view_mask.nonzero()[:, 0]
        sums = logits.new_zeros(len(batch), len(self.names)).index_add(0, places, logits)
        return sums / batch.view_mask.sum(dim=1, keepdim=True)

    def query_tokens(self, images: Tensor) -> Tensor:
        """The disease tokens (B, L, W), one a label; UserError for a classifier without queries."""
        tokens: Tensor = self._queries()(self.encoder(images).patches)[0]
        return tokens

    def query_maps(self, images: Tensor) -> Tensor:
        """Where each query looks: attention (B, L, h, w) that sums to 1; UserError without queries."""
        tokens = self.encoder(images)
        return on_grid(self._queries()(tokens.patches)[1], tokens.grid)

    def class_maps(self, images: Tensor) -> Tensor:
        """Grad-CAM (B, L, h, w) of every label, at least 0, see :func:`cxreport.objectives.maps.grad_cam`."""
        with torch.no_grad():
            tokens = self.encoder(images)
        return on_grid(grad_cam(self.logits_of, tokens.patches), tokens.grid)

    def saliency(self, images: Tensor, places: Sequence[int] = ()) -> Tensor:
        """How much each pixel moves an output: (B, L, H, W), or only of the outputs at `places`.

        See :func:`cxreport.objectives.maps.saliency`; in evaluation mode.
        """
        chosen = list(places or range(len(self.names)))
        return saliency(lambda pictures: self.logits(pictures)[:, chosen], images)

    def shift_of(self, images: Tensor) -> float:
        """How far maps of images (B, C, H, W) lie below and right of what they show, over the side."""
        return self.encoder.shift / images.shape[3]

    def measured(self) -> dict[str, object]:
        """How often every label is present in the train split, and how many studies have no label."""
        counts = dict(zip(self.names, self.positives.tolist(), strict=True))
        return {"positives": counts, "unlabelled": self._unlabelled}

    def show(self, batch: Batch, folder: Path) -> None:
        """``maps.png``: every image with the saliency of its likeliest finding."""
        images = images_of(batch)
        with torch.no_grad():
            chances = self.logits(images).sigmoid()
        sick = [place for place, name in enumerate(self.names) if name != "No Finding"] or [0]
        cells = []
        for row, image in enumerate(images):
            place = max(sick, key=lambda each: float(chances[row, each]))
            caption = f"{self.names[place]} {chances[row, place]:.2f}"
            cells.append(Cell(image, self.saliency(image[None], [place])[0, 0], caption))
        map_sheet(cells, folder / MAPS)

    def _queries(self) -> DiseaseQueries:
        if self.queries is None:
            raise UserError("This classifier has no disease queries; train one with objective.queries.")
        return self.queries


def log_mean_exp(answers: Tensor, sharpness: float) -> Tensor:
    """Answers (B, N, L) as (B, L), between their mean and their largest (Pinheiro and Collobert, 2015)."""
    return (torch.logsumexp(sharpness * answers, dim=1) - math.log(answers.shape[1])) / sharpness


class LinearHeads(nn.Module):
    """A row of weights for each of L labels."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, width))
        self.bias = nn.Parameter(torch.zeros(count))
        nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(self, features: Tensor) -> Tensor:
        """Log-odds (B, L) of features (B, L, W), one a label, or (B, 1, W) for all labels."""
        if features.shape[1] == 1:
            return functional.linear(features[:, 0], self.weight, self.bias)
        return (features * self.weight).sum(dim=2) + self.bias

    @torch.no_grad()
    def start_at(self, log_odds: Tensor) -> None:
        """Begin with these log-odds (L,) whatever the image."""
        self.bias.copy_(log_odds)


class MlpHeads(nn.Module):
    """SwinCheX's heads: W, W / 4, W / 32, W / 32, 2 with ReLU (1536, 384, 48, 48, 2), one a label."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        sizes = (width, max(width // 4, 2), max(width // 32, 2), max(width // 32, 2))
        self.heads = nn.ModuleList()
        for _ in range(count):
            hidden = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU())]
            self.heads.append(nn.Sequential(*hidden, nn.Linear(sizes[-1], 2)))

    def forward(self, features: Tensor) -> Tensor:
        """Log-odds (B, L) of features (B, L, W), one a label, or (B, 1, W) for all labels."""
        each = features.expand(-1, len(self.heads), -1).unbind(1)
        pairs = torch.stack([head(part) for head, part in zip(self.heads, each, strict=True)], dim=1)
        return pairs[..., 1] - pairs[..., 0]

    @torch.no_grad()
    def start_at(self, log_odds: Tensor) -> None:
        """Begin near these log-odds (L,) whatever the image."""
        for head, value in zip(self.heads, log_odds, strict=True):
            last = head[-1]  # type: ignore[index]
            last.bias.copy_(torch.stack([-value / 2, value / 2]))


def _disease_queries(token_width: int, options: DiseaseQueryOptions, count: int) -> DiseaseQueries:
    sizes = options.model_dump(exclude={"answer"})
    return DiseaseQueries(token_width, DiseaseQueriesOptions(**sizes, queries=count))

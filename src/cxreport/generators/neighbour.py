"""Retrieval as a generator: the report of the train study whose image is nearest."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import torch
from torch import Tensor, nn

from cxreport.encoders import Encoder, build_encoder
from cxreport.errors import UserError
from cxreport.generators.base import TrainStudies
from cxreport.generators.memorised import Baseline
from cxreport.generators.views import mean_of_views, spread
from cxreport.memories.bank import Bank, Origin
from cxreport.memories.making import study_entries, study_vectors
from cxreport.model_options import NearestNeighbourOptions
from cxreport.study import BankEntry
from cxreport.weights.folder import weights_sha256

if TYPE_CHECKING:
    from cxreport.data.batch import Batch


class NearestNeighbour(Baseline):
    """Writes the report whose study has the highest cosine of pooled features, mean of the views.

    The encoder is one that was trained elsewhere and stays as it is. A query's own study and patient are
    never found. Raises UserError where the recipe names no trained encoder.
    """

    sees_images: ClassVar[bool] = True

    def __init__(self, encoder: Encoder, bank: Bank | None = None) -> None:
        super().__init__()
        self.encoder = encoder.eval().requires_grad_(False)
        self._bank = bank

    @classmethod
    def build(cls, options: NearestNeighbourOptions, train: TrainStudies) -> Self:
        """Encode every train study once."""
        if options.encoder.init is None and not options.encoder.pretrained:
            raise UserError(
                "nearest_neighbour looks with an encoder that was trained before; name its run or folder in"
                " model.encoder.init (--init)."
            )
        generator = cls(build_encoder(options.encoder))
        vectors = list(study_vectors(train.studies, generator.features, train.data))
        origin = Origin(
            train.dataset, {"sha256": weights_sha256(generator.encoder)}, train.data, "nearest_neighbour"
        )
        generator._bank = Bank(torch.cat(vectors), study_entries(train.studies, train.reports), origin)
        return generator

    @property
    def bank(self) -> Bank:
        """The train studies."""
        assert self._bank is not None
        return self._bank

    def texts(self, batch: Batch) -> list[str]:
        """The report of the nearest train study."""
        places, _ = self._nearest(batch, 1)
        return [self.bank.entries[row[0]].text for row in places]

    def bank_entries(self, batch: Batch) -> list[tuple[BankEntry, ...]]:
        """The study whose report it is, and the next two."""
        places, cosines = self._nearest(batch, min(3, len(self.bank)))
        return [self.bank.shown(row, scores) for row, scores in zip(places, cosines, strict=True)]

    def features(self, batch: Batch) -> Tensor:
        """Pooled encoder features (B, D), averaged over the views that are present."""
        pooled = self.encoder(batch.images[batch.view_mask]).pooled
        return mean_of_views(spread(pooled, batch.view_mask), batch.view_mask)

    def train(self, mode: bool = True) -> Self:
        """The encoder is always in evaluation mode."""
        super().train(mode)
        self.encoder.eval()
        return self

    def banks(self) -> tuple[Bank, ...]:
        """The train studies."""
        return (self.bank,)

    def encoder_parameters(self) -> Iterable[nn.Parameter]:
        """Those of the encoder, none of which is trained."""
        return self.encoder.parameters()

    def save_assets(self, folder: Path) -> None:
        """Write the bank."""
        self.bank.save(folder)

    @classmethod
    def load_assets(cls, options: NearestNeighbourOptions, folder: Path) -> Self:
        """Read the bank; the encoder's weights follow."""
        return cls(build_encoder(options.encoder.untrained()), Bank.load(folder))

    def _nearest(self, batch: Batch, k: int) -> tuple[list[list[int]], list[list[float]]]:
        places, cosines = self.bank.nearest(
            self.features(batch), k, study_ids=batch.study_ids, patient_ids=batch.patient_ids
        )
        return places.tolist(), cosines.tolist()

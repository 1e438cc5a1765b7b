"""Baselines that were only told the train reports: the floor that every trained generator must clear.

They have nothing to train, look at no image, and draft the same whatever the decoding options say.
"""

from __future__ import annotations

import hashlib
import json
import time
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from cxreport.errors import UserError
from cxreport.generators.base import Generator, TrainStudies
from cxreport.generators.baselines import most_frequent
from cxreport.model_options import BaselineOptions
from cxreport.study import Draft

if TYPE_CHECKING:
    from cxreport.data.batch import Batch
    from cxreport.options import DecodingOptions

REPORTS = "reports.json"


class Baseline(Generator):
    """A generator without anything to train. B studies of a batch get the B texts of :meth:`texts`."""

    sees_images: ClassVar[bool] = False
    scores_texts: ClassVar[bool] = False

    @abstractmethod
    def texts(self, batch: Batch) -> list[str]:
        """The draft of every study."""

    def generate(self, batch: Batch, decoding: DecodingOptions) -> list[Draft]:
        """The texts, whole: a limit of words is for those who write word by word."""
        start = time.perf_counter()
        with torch.inference_mode():
            texts = self.texts(batch)
        seconds = (time.perf_counter() - start) / len(texts)
        return [Draft(text, (), seconds) for text in texts]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """UserError: there is nothing to train."""
        raise UserError("A baseline has nothing to train, so it has no loss.")

    def features(self, batch: Batch) -> Tensor:
        """UserError: no image is looked at."""
        raise UserError("This baseline looks at no image, so it has no image features.")

    def encoder_parameters(self) -> Iterable[nn.Parameter]:
        """None."""
        return ()

    def truncated(self, reports: Iterable[str]) -> int:
        """None: reports are kept whole."""
        return 0


class Memorised(Baseline):
    """Knows some train reports; ``digest`` is the SHA-256 over them and the seed."""

    def __init__(self, reports: Sequence[str], seed: int) -> None:
        super().__init__()
        self.reports = list(reports)
        self.seed = seed
        digest = hashlib.sha256(json.dumps([self.reports, seed]).encode()).digest()
        self.register_buffer("digest", torch.tensor(list(digest), dtype=torch.uint8))

    @classmethod
    def build(cls, options: BaselineOptions, train: TrainStudies) -> Self:
        """Memorise what :meth:`chosen` picks."""
        return cls(cls.chosen(train), train.seed)

    @staticmethod
    @abstractmethod
    def chosen(train: TrainStudies) -> list[str]:
        """The reports to keep; UserError where train has none of the kind."""

    def texts(self, batch: Batch) -> list[str]:
        """The first report, for everyone."""
        return [self.reports[0]] * len(batch)

    def save_assets(self, folder: Path) -> None:
        """Write reports.json."""
        tree = {"seed": self.seed, "reports": self.reports}
        (folder / REPORTS).write_text(json.dumps(tree, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load_assets(cls, options: Any, folder: Path) -> Self:
        """Read reports.json."""
        try:
            tree = json.loads((folder / REPORTS).read_text(encoding="utf-8"))
            return cls(tree["reports"], tree["seed"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{folder / REPORTS} cannot be read ({error}); train again.") from None


class MostFrequent(Memorised):
    """The report that most train studies have."""

    @staticmethod
    def chosen(train: TrainStudies) -> list[str]:
        """One report."""
        return [most_frequent(train.reports)]


class AllNormal(Memorised):
    """The report that most train studies labelled No Finding have."""

    @staticmethod
    def chosen(train: TrainStudies) -> list[str]:
        """One report; UserError where no train study is labelled No Finding."""
        normal = [
            report
            for report, study in zip(train.reports, train.studies, strict=False)
            if study.labels.get("No Finding") == 1
        ]
        if not normal:
            raise UserError(
                "No train study is labelled No Finding, so no report is known to be normal; label the dataset"
                " (cxreport data label), or use most_frequent."
            )
        return [most_frequent(normal)]


class RandomReport(Memorised):
    """A train report drawn for each study, by the run's seed and the study's id alone."""

    @staticmethod
    def chosen(train: TrainStudies) -> list[str]:
        """All of them: a report that many have is drawn as often."""
        return list(train.reports)

    def texts(self, batch: Batch) -> list[str]:
        """A draw for every study."""
        return [self.reports[self._draw(study_id)] for study_id in batch.study_ids]

    def _draw(self, study_id: str) -> int:
        entropy = int.from_bytes(hashlib.sha256(study_id.encode()).digest()[:8], "big")
        return int(np.random.default_rng([self.seed, entropy]).integers(len(self.reports)))

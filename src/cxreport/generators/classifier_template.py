"""A classifier and a template: what image features are worth when nobody has to learn to write."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from cxreport.encoders import build_encoder
from cxreport.encoders.folder import read_options
from cxreport.errors import UserError
from cxreport.generators.base import TrainStudies
from cxreport.generators.memorised import Baseline
from cxreport.generators.templates import findings_written, labels_written, typical_findings
from cxreport.generators.views import mean_of_views, spread
from cxreport.model_options import ClassifierTemplateOptions
from cxreport.objectives.disease import DiseaseClassification
from cxreport.objectives.folder import data_options, load_objective
from cxreport.objectives.predicting import LabelPredictions, predict
from cxreport.objectives.targets import sided_name
from cxreport.options import DataOptions, EncoderOptions
from cxreport.phantom.kinds import SIDED_KINDS
from cxreport.pretraining import DiseaseOptions
from cxreport.recipe import model_inside
from cxreport.study import Finding, SidedKind

if TYPE_CHECKING:
    from cxreport.data.batch import Batch

TEMPLATE = "template.json"
FEWEST = 5
"""Positive val studies that a threshold is chosen from; with fewer it is a probability of one half."""


class ClassifierTemplate(Baseline):
    """Writes a fixed sentence for every label that a classifier of diseases finds.

    Its thresholds are those of the largest F1 on val. A classifier of a phantom's findings writes the
    phantoms' grammar instead, with the zone and severity that train has most often.
    """

    sees_images: ClassVar[bool] = True
    thresholds: Tensor
    seed: Tensor

    def __init__(
        self, classifier: DiseaseClassification, facts: dict[str, Any], thresholds: Tensor, seed: int
    ) -> None:
        super().__init__()
        self.classifier = classifier.eval().requires_grad_(False)
        self._facts = facts
        self._data = DataOptions(**facts["data"])
        self._typical: dict[SidedKind, Finding] = {
            (each["kind"], each["side"]): Finding(**each) for each in facts["typical"]
        }
        self.register_buffer("thresholds", thresholds.float())
        self.register_buffer("seed", torch.tensor(seed))

    @classmethod
    def build(cls, options: ClassifierTemplateOptions, train: TrainStudies) -> Self:
        """Read the classifier and choose thresholds on val.

        Raises UserError for a run of another objective, one of other images, and a val split without labels.
        """
        if options.classifier is None:
            raise UserError(
                "classifier_template writes what a classifier finds; name the run of `cxreport pretrain` with"
                " the objective disease in model.classifier."
            )
        folder = model_inside(Path(options.classifier))
        classifier = load_objective(folder)
        if not isinstance(classifier, DiseaseClassification):
            raise UserError(f"{folder} holds no classifier of diseases; pre-train one with disease.")
        _need_same_images(data_options(folder), train.data, folder)
        if not len(train.val):
            raise UserError("classifier_template chooses its thresholds on val, and there is no val study.")
        thresholds = best_thresholds(predict(classifier, train.val, train.data))
        by_findings = classifier.options.targets == "findings"
        typical = typical_findings(study.findings or () for study in train.studies) if by_findings else {}
        facts = {
            "encoder": read_options(folder).untrained().model_dump(mode="json"),
            "objective": classifier.options.model_dump(mode="json"),
            "data": train.data.model_dump(mode="json"),
            "typical": [
                {"kind": each.kind, "side": each.side, "zone": each.zone, "severity": each.severity}
                for each in typical.values()
            ],
        }
        return cls(classifier, facts, thresholds, train.seed)

    def texts(self, batch: Batch) -> list[str]:
        """What is above its threshold, as text."""
        present = (self.classifier.study_logits(batch) >= self.thresholds).tolist()
        names = self.classifier.names
        found = [[name for name, is_there in zip(names, row, strict=True) if is_there] for row in present]
        return [self._text(own, study_id) for own, study_id in zip(found, batch.study_ids, strict=True)]

    def features(self, batch: Batch) -> Tensor:
        """Pooled encoder features (B, D), averaged over the views that are present."""
        pooled = self.classifier.encoder(batch.images[batch.view_mask]).pooled
        return mean_of_views(spread(pooled, batch.view_mask), batch.view_mask)

    def train(self, mode: bool = True) -> Self:
        """The classifier is always in evaluation mode."""
        super().train(mode)
        self.classifier.eval()
        return self

    def encoder_parameters(self) -> Iterable[nn.Parameter]:
        """Those of the classifier's encoder, none of which is trained."""
        return self.classifier.encoder.parameters()

    def save_assets(self, folder: Path) -> None:
        """Write template.json: what builds the classifier, the data, typical findings."""
        (folder / TEMPLATE).write_text(json.dumps(self._facts, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load_assets(cls, options: ClassifierTemplateOptions, folder: Path) -> Self:
        """Read template.json; the weights follow."""
        try:
            facts = json.loads((folder / TEMPLATE).read_text(encoding="utf-8"))
            encoder = build_encoder(EncoderOptions(**facts["encoder"]))
            classifier = DiseaseClassification(encoder, DiseaseOptions(**facts["objective"]))
            return cls(classifier, facts, torch.zeros(len(classifier.names)), 0)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{folder / TEMPLATE} cannot be read ({error}); train again.") from None

    def _text(self, found: list[str], study_id: str) -> str:
        if self.classifier.options.targets == "labels":
            return labels_written(found, self._data)
        present = [pair for pair in SIDED_KINDS if sided_name(pair) in found]
        entropy = int.from_bytes(hashlib.sha256(study_id.encode()).digest()[:8], "big")
        rng = np.random.default_rng([int(self.seed), entropy])
        return findings_written(present, self._typical, self._data, rng)


def best_thresholds(predicted: LabelPredictions) -> Tensor:
    """Log-odds (L,) from which each label has its largest F1, of equal ones the highest.

    0 where fewer than :data:`FEWEST` studies have the label, infinite where none has.
    """
    from sklearn.metrics import precision_recall_curve

    chosen = []
    for logits, truth in zip(predicted.logits.T, predicted.truth.T, strict=True):
        known = ~np.isnan(truth)
        positives = int(np.nansum(truth))
        if positives < FEWEST:
            chosen.append(0.0 if positives else np.inf)
            continue
        precision, recall, thresholds = precision_recall_curve(truth[known], logits[known])
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        chosen.append(float(thresholds[len(thresholds) - 1 - np.argmax(f1[:-1][::-1])]))
    return torch.tensor(chosen)


def _need_same_images(theirs: DataOptions, ours: DataOptions, folder: Path) -> None:
    for name in ("image_size", "views"):
        if getattr(theirs, name) != getattr(ours, name):
            value = getattr(theirs, name)
            shown = f"[{', '.join(value)}]" if isinstance(value, tuple) else value
            raise UserError(f"The classifier in {folder} saw other images; set data.{name}={shown}.")

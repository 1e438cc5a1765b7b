"""Fine-tuning: the whole encoder and a linear layer, trained by the one loop, the epoch chosen on val."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cxreport.bench.recognition.arms import Arm
from cxreport.bench.recognition.options import RecognitionRecipe, ShareOptions
from cxreport.bench.recognition.studies import LabelledSplit, Repeated
from cxreport.data.batch import loader
from cxreport.objectives.base import Objective, TrainFacts
from cxreport.objectives.disease import DiseaseClassification
from cxreport.objectives.folder import load_objective, save_objective
from cxreport.pretraining import DiseaseOptions, PretrainRecipe
from cxreport.training.batches import RunStudies
from cxreport.training.keeper import LOG, RUN
from cxreport.training.run import run
from cxreport.training.subject import Built, Subject
from cxreport.weights.folder import weights_sha256

START = "encoder_at_start_sha256"
_BATCH = 32


@dataclass(frozen=True, slots=True)
class FineTuned:
    """``epoch`` is the kept one; ``val`` and ``test`` are its scores (N,), the log-odds of the target.

    ``start`` is the SHA-256 of the encoder's tensors before the first step, ``log`` every epoch's losses.
    """

    epoch: int
    start: str
    log: list[dict[str, float]]
    val: np.ndarray
    test: np.ndarray


def fine_tune(
    arm: Arm,
    recipe: PretrainRecipe,
    splits: Mapping[str, LabelledSplit],
    places: Sequence[int],
    least: int,
    dataset: Mapping[str, Any],
    work: Path,
) -> FineTuned:
    """Train on the training studies at `places`; the epoch with the lowest loss on val is kept.

    `recipe` is that of :func:`cell_recipe`; an epoch repeats the studies until it has `least`. `work` is the
    run folder; a run that was interrupted there goes on.
    """
    started: dict[str, Any] = {}

    def build() -> Built:
        train = splits["train"].studies.select(places)
        studies = RunStudies(Repeated(train, -(-least // len(train))), splits["val"].studies, [])
        encoder = arm.build(recipe.seed)
        started[START] = weights_sha256(encoder)
        model = DiseaseClassification(encoder, recipe.objective)  # type: ignore[arg-type]
        model.prepare(TrainFacts("the subset", train.labels, [None] * len(train), [""] * len(train)))

        def save(system: Objective, folder: Path, provenance: dict[str, Any]) -> None:
            save_objective(folder, system, arm.options, recipe, provenance)

        counts = {"train": len(train), "val": len(splits["val"])}
        return Built(model, encoder.parameters(), studies, counts, save, measured=lambda: dict(started))

    subject = Subject(recipe, dict(dataset), "the dataset", arm.options.init, build)
    folder = run(subject, work, resume=(work / RUN).is_file(), devices=1)
    model = load_objective(folder)
    assert isinstance(model, DiseaseClassification)
    if torch.cuda.is_available():
        model.to("cuda")
    facts = json.loads((work / RUN).read_text(encoding="utf-8"))
    return FineTuned(
        epoch=facts["kept_epoch"],
        start=facts[START],
        log=_log(work / LOG),
        val=scores(model, splits["val"], recipe),
        test=scores(model, splits["test"], recipe),
    )


@torch.no_grad()
def scores(model: DiseaseClassification, split: LabelledSplit, recipe: PretrainRecipe) -> np.ndarray:
    """The log-odds (N,) of every study of a split."""
    device = next(model.parameters()).device
    batches = loader(split.studies, recipe.data, batch_size=_BATCH, train=False, seed=0)
    rows = [model.study_logits(batch.to(device)).float().cpu() for batch in batches]
    found: np.ndarray = torch.cat(rows)[:, 0].numpy()
    return found


def cell_recipe(arm: Arm, recipe: RecognitionRecipe, share: ShareOptions, seed: int) -> PretrainRecipe:
    """The recipe of one run: that share, its epochs and batches, and the seed of the subset and the run."""
    return PretrainRecipe(
        name=recipe.name,
        seed=seed,
        data=recipe.data.model_copy(update={"train_share": share.share, "train_share_seed": seed}),
        encoder=arm.options,
        objective=DiseaseOptions(labels=(recipe.target,), missing="ignore", smoothing=0.0),
        training=recipe.training.model_copy(update={"epochs": share.epochs, "batch_size": share.batch_size}),
    )


def _log(path: Path) -> list[dict[str, float]]:
    """The losses of every epoch of a run's log."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [{name: float(row[name]) for name in ("epoch", "train_loss", "val_loss")} for row in rows]

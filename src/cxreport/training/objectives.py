"""Objectives as subjects of a run: pre-training on one or several datasets, with or without reports."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cxreport.data.batch import StudyImages, collate
from cxreport.encoders import build_encoder, sized
from cxreport.objectives import build_objective
from cxreport.objectives.base import Objective, TrainFacts
from cxreport.objectives.folder import load_objective, save_objective
from cxreport.pretraining import PretrainRecipe
from cxreport.training.language import language_subject
from cxreport.training.mixture import Weighted, mixed_studies, mixture_facts
from cxreport.training.run import run
from cxreport.training.subject import Built, Subject
from cxreport.training.task import seed_everything

SHOWN = 6
"""Images of the validation split in the pictures."""


def pretrain(
    recipe: PretrainRecipe,
    data: Sequence[Weighted],
    out: Path,
    *,
    resume: bool = False,
    devices: int | str = "auto",
) -> Path:
    """Pre-train the recipe's encoder, or language model; return its folder. See
    :func:`cxreport.training.run.run`."""
    subject = objective_subject if recipe.reads_images else language_subject
    return run(subject(recipe, data), out, resume=resume, devices=devices)


def objective_subject(recipe: PretrainRecipe, data: Sequence[Weighted]) -> Subject:
    """The recipe's objective, to be trained on the images of the train splits of `data`."""

    def build() -> Built:
        studies = mixed_studies(recipe, data)
        seed_everything(recipe.seed)
        options = sized(recipe.encoder, recipe.data.image_size)
        objective = build_objective(build_encoder(options), recipe.objective)
        objective.prepare(TrainFacts(names, studies.labels, studies.findings, studies.reports))

        def save(system: Objective, folder: Path, provenance: dict[str, Any]) -> None:
            save_objective(folder, system, options, recipe, provenance)

        def finish(out: Path) -> None:
            images = StudyImages(
                studies.val[: min(SHOWN, len(studies.val))], recipe.data, augment=False, seed=recipe.seed
            )
            batch = collate([images[place] for place in range(len(images))])
            load_objective(out / "model").show(batch, out)

        return Built(
            objective,
            objective.encoder.parameters(),
            studies,
            studies.counts,
            save,
            finish,
            objective.measured,
            objective.remembered,
            objective.recall,
            throughput=True,
        )

    names = ", ".join(str(each.dataset.path) for each in data)
    return Subject(recipe, mixture_facts(data), names, recipe.encoder.init, build)

"""Generators as subjects of a run."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from cxreport.checkpoints import begin_from, save_model
from cxreport.data.store import PreparedDataset
from cxreport.generators import generator_class
from cxreport.generators.base import Generator, TrainStudies
from cxreport.memories.leaks import refuse_leaks
from cxreport.recipe import Recipe, model_inside
from cxreport.training.batches import RunStudies
from cxreport.training.provenance import dataset_facts
from cxreport.training.subject import Built, Subject
from cxreport.training.task import seed_everything

logger = logging.getLogger(__name__)


def generator_subject(recipe: Recipe, dataset: PreparedDataset) -> Subject:
    """The recipe's generator, to be trained on the studies with a target text."""

    def build() -> Built:
        studies = RunStudies.of(recipe, dataset)
        seed_everything(recipe.seed)
        facts = dataset_facts(dataset)
        train = TrainStudies(studies.reports, studies.train, recipe.data, recipe.seed, facts, studies.val)
        generator = generator_class(recipe.model.generator).build(recipe.model, train)
        if recipe.start is not None:
            logger.info(begin_from(generator, recipe.model, model_inside(Path(recipe.start))))
        refuse_leaks(generator.banks(), dataset)
        truncated = generator.truncated(studies.reports)
        if truncated:
            logger.warning(
                "%d of %d training reports are longer than model.max_length and learnt in part.",
                truncated,
                len(studies.reports),
            )

        def save(system: Generator, folder: Path, provenance: dict[str, Any]) -> None:
            banks = {"banks": [bank.facts() for bank in system.banks()]} if system.banks() else {}
            save_model(folder, system, recipe, provenance | banks)

        counts = {**studies.counts, "train_truncated": truncated}
        return Built(generator, generator.encoder_parameters(), studies, counts, save)

    encoder = getattr(recipe.model, "encoder", None)
    init = encoder.init if encoder is not None else None
    return Subject(recipe, dataset_facts(dataset), str(dataset.path), init, build)

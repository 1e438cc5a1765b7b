"""A language model of reports as the subject of a run."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from cxreport.data.text import target_text
from cxreport.objectives.language import ReportLanguageModel, perplexity
from cxreport.pretraining import LanguageOptions, PretrainRecipe
from cxreport.training.files import write_text
from cxreport.training.mixture import Weighted, mixed_studies, mixture_facts
from cxreport.training.subject import Built, Subject
from cxreport.training.task import seed_everything

PERPLEXITY = "perplexity.json"

logger = logging.getLogger(__name__)


def language_subject(recipe: PretrainRecipe, data: Sequence[Weighted]) -> Subject:
    """The recipe's language model, to be trained on the reports of the train splits of `data`."""

    def build() -> Built:
        assert isinstance(recipe.objective, LanguageOptions)
        studies = mixed_studies(recipe, data)
        seed_everything(recipe.seed)
        system = ReportLanguageModel.build(recipe.objective, studies.reports)
        truncated = system.truncated(studies.reports)
        if truncated:
            logger.warning(
                "%d of %d training reports are longer than objective.max_length and learnt in part.",
                truncated,
                len(studies.reports),
            )

        def finish(out: Path) -> None:
            checked = [target_text(study.report, recipe.data) for study in studies.val]
            found = perplexity(ReportLanguageModel.load(out / "model"), checked)
            write_text(out / PERPLEXITY, json.dumps({"split": "val", **found}, indent=2) + "\n")
            logger.info(
                "Validation perplexity %.2f a token, %.2f a word (%d reports).",
                found["perplexity"],
                found["perplexity_per_word"],
                found["reports"],
            )

        counts = {**studies.counts, "train_truncated": truncated}
        return Built(system, [], studies, counts, ReportLanguageModel.save, finish)

    names = ", ".join(str(each.dataset.path) for each in data)
    return Subject(recipe, mixture_facts(data), names, None, build)

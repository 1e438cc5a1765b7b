"""Scores of drafts: one file per metric, and the registry that names them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cxreport.metrics.statistics import Tally

LanguageMetric = Callable[[Sequence[str], Sequence[str]], "Tally"]

LANGUAGE_METRICS: dict[str, str] = {
    "bleu": "cxreport.metrics.bleu:bleu",
    "rouge_l": "cxreport.metrics.rouge:rouge_l",
    "cider": "cxreport.metrics.cider:cider_d",
    "length_ratio": "cxreport.metrics.diversity:length_ratio",
}
"""Metrics that compare a draft with its reference word by word: name -> ``module:function``."""


def language_metric(name: str) -> LanguageMetric:
    """The function of a name of :data:`LANGUAGE_METRICS`: (hypotheses, references) -> Tally."""
    module, _, function = LANGUAGE_METRICS[name].partition(":")
    metric: LanguageMetric = getattr(importlib.import_module(module), function)
    return metric

"""Scores of drafts: one file per metric, and the registries that name them.

A metric is a function from (hypotheses, references) to a :class:`~cxreport.metrics.statistics.Tally`. It
raises :class:`~cxreport.metrics.unavailable.MetricUnavailable` where its package, weights or resources are
absent.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cxreport.metrics.statistics import Tally

Metric = Callable[[Sequence[str], Sequence[str]], "Tally"]

LANGUAGE_METRICS: dict[str, str] = {
    "bleu": "cxreport.metrics.bleu:bleu",
    "rouge_l": "cxreport.metrics.rouge:rouge_l",
    "meteor": "cxreport.metrics.meteor:meteor",
    "cider": "cxreport.metrics.cider:cider_d",
    "length_ratio": "cxreport.metrics.diversity:length_ratio",
}
"""Metrics that compare a draft with its reference word by word: name -> ``module:function``.

They get the words of the protocol's tokenizer, joined by single blanks.
"""

CLINICAL_METRICS: dict[str, str] = {
    "chexpert.rules": "cxreport.metrics.clinical:rules",
    "chexpert.rules_zh": "cxreport.metrics.clinical:rules_chinese",
    "sides": "cxreport.metrics.sides:side_and_severity",
    "priors": "cxreport.metrics.priors:prior_hallucinations",
    "contradictions": "cxreport.metrics.contradictions:contradiction_rates",
    "chexpert.chexbert": "cxreport.metrics.models.chexbert:chexbert_scores",
    "radgraph": "cxreport.metrics.models.radgraph:radgraph_f1",
    "ratescore": "cxreport.metrics.models.ratescore:ratescore",
    "green": "cxreport.metrics.models.green:green",
    "bertscore": "cxreport.metrics.models.bertscore:bertscore",
    "radcliq_v1": "cxreport.metrics.models.radcliq:radcliq_v1",
}
"""Metrics that compare what a draft and its reference mean: name -> ``module:function``.

They get whole texts.
"""

ON_REQUEST: frozenset[str] = frozenset(
    {"bertscore", "chexpert.rules_zh", "chexpert.chexbert", "radgraph", "ratescore", "green", "radcliq_v1"}
)
"""Metrics that are computed only when they are asked for by name: they need weights, or another language."""


def metric_function(name: str) -> Metric:
    """The function of a name of either registry."""
    module, _, function = (LANGUAGE_METRICS | CLINICAL_METRICS)[name].partition(":")
    metric: Metric = getattr(importlib.import_module(module), function)
    return metric

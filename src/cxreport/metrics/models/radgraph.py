"""RadGraph-F1 (Jain et al., NeurIPS 2021; Delbrouck et al., EMNLP Findings 2022) through ``radgraph``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from cxreport.metrics.models.folders import model_folder
from cxreport.metrics.models.package_process import run_package
from cxreport.metrics.statistics import Tally

Entities = Mapping[str, Mapping[str, Any]]
"""Entities of one text: id to ``tokens``, ``label`` and ``relations`` (pairs of a kind and another id)."""

RadGraphModel = Literal["radgraph", "radgraph-xl"]
LEVELS = ("radgraph_simple", "radgraph_partial", "radgraph_complete")


def radgraph_f1(
    hypotheses: Sequence[str], references: Sequence[str], model: RadGraphModel = "radgraph-xl"
) -> Tally:
    """Mean F1 over studies of entities: alone, with whether they have a relation, with the relation.

    These are the levels simple, partial and complete. A pair in which either text has no entity scores 0, as
    in the package's ``rewards.py``. Raises MetricUnavailable when the package or its weights are absent.
    """
    annotated = annotate([*hypotheses, *references], model)
    ours, theirs = annotated[: len(hypotheses)], annotated[len(hypotheses) :]
    return tally_of(ours, theirs)


def tally_of(hypotheses: Sequence[Entities], references: Sequence[Entities]) -> Tally:
    """The three levels from annotations."""
    rows = [
        [set_f1(items(draft), items(truth)) for items in (_simple, _partial, _complete)] + [1.0]
        for draft, truth in zip(hypotheses, references, strict=True)
    ]
    statistics = np.array(rows, dtype=np.float64).reshape(-1, len(LEVELS) + 1)
    return Tally(LEVELS, statistics, lambda sums: sums[..., :-1] / sums[..., -1:])


def combined(hypothesis: Entities, reference: Entities) -> float:
    """Mean of entity F1 and relation F1, RadCliQ's RadGraph term (CXR-Report-Metric, ``run_eval.py``)."""
    entities = set_f1(_simple(hypothesis), _simple(reference))
    return (entities + set_f1(_relations(hypothesis), _relations(reference))) / 2


def annotate(texts: Sequence[str], model: RadGraphModel) -> list[Entities]:
    """Entities of every text; equal texts are read once, and a blank text has none.

    Raises MetricUnavailable when the package or its weights are absent.
    """
    folder = model_folder(model)
    distinct = sorted({text for text in texts if text.strip()})
    request = {"texts": distinct, "model": model, "folder": str(folder.parent), "device": -1}
    found: list[Entities] = run_package("radgraph", "radgraph 'transformers<5'", request)
    by_text = dict(zip(distinct, found, strict=True))
    return [by_text.get(text, {}) for text in texts]


def set_f1(draft: set[Any], truth: set[Any]) -> float:
    """F1 of two sets; 0 where they share nothing or one is empty."""
    common = len(draft & truth)
    return 2 * common / (len(draft) + len(truth)) if common else 0.0


def _simple(entities: Entities) -> set[Any]:
    return {(entity["tokens"], entity["label"]) for entity in entities.values()}


def _partial(entities: Entities) -> set[Any]:
    return {(entity["tokens"], entity["label"], bool(entity["relations"])) for entity in entities.values()}


def _complete(entities: Entities) -> set[Any]:
    alone = {(entity["tokens"], entity["label"]) for entity in entities.values() if not entity["relations"]}
    related = {
        (entity["tokens"].lower(), entity["label"], kind, entities[other]["tokens"].lower())
        for entity in entities.values()
        for kind, other in entity["relations"]
    }
    return alone | related


def _relations(entities: Entities) -> set[Any]:
    return {
        (entity["tokens"], entity["label"], kind, entities[other]["tokens"], entities[other]["label"])
        for entity in entities.values()
        for kind, other in entity["relations"]
        if other in entities
    }

"""RadCliQ-v1 (Yu et al., Patterns 2023): a linear model of radiologists' error counts over four scores.

Lower is better, and a perfect pair has -1.4407. Source of the numbers: CXR-Report-Metric, ``radcliq-v1.pkl``,
whose scaler and coefficients stand here as numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cxreport.metrics.bleu import bleu
from cxreport.metrics.models.bertscore import bertscore
from cxreport.metrics.models.chexbert import semantic_similarity
from cxreport.metrics.models.radgraph import annotate, combined
from cxreport.metrics.statistics import Tally

MEANS = np.array([0.53792312, 0.61757256, 0.76479421, 0.44738335])
SCALES = np.array([0.30282584, 0.22430938, 0.25394391, 0.29892717])
COEFFICIENTS = np.array([-3.77083683e-01, -3.70300100e-01, -2.52616218e-01, 4.31504841e-12])
INTERCEPT = 2.46655256e-10
"""In the order RadGraph (entities and relations), BERTScore, CheXbert similarity, BLEU-2."""


def radcliq_v1(hypotheses: Sequence[str], references: Sequence[str]) -> Tally:
    """Mean RadCliQ-v1 over studies, its reciprocal, and the share of pairs whose RadGraph term is empty.

    ``radcliq_v1_reciprocal`` is the reciprocal of the mean, ReXrank's first column. It is no scale: it
    changes sign where the mean passes 0, so a better system can have a lower one. ``radcliq_v1_empty`` counts
    pairs in which no relation was found in either text: their relation F1 is 0 even when the texts are equal.
    BERTScore is ``distilroberta-base``, rescaled, without idf, as ReXrank computes it. Raises
    MetricUnavailable when a package or weights are absent.
    """
    drafts, truths = list(hypotheses), list(references)
    annotated = annotate([*drafts, *truths], "radgraph")
    pairs = list(zip(annotated[: len(drafts)], annotated[len(drafts) :], strict=True))
    features = np.stack(
        [
            np.array([combined(draft, truth) for draft, truth in pairs]),
            bertscore(drafts, truths, model="distilroberta-base").per_sample()[:, -1],
            semantic_similarity(drafts, truths),
            bleu(drafts, truths).per_sample()[:, 1],
        ],
        axis=1,
    )
    empty = [not any(entity["relations"] for text in pair for entity in text.values()) for pair in pairs]
    return tally_of(radcliq_from_scores(features), np.array(empty, dtype=np.float64))


def radcliq_from_scores(features: np.ndarray) -> np.ndarray:
    """RadCliQ-v1 (N,) of the four scores (N, 4) in the order of :data:`COEFFICIENTS`."""
    standard = (features - MEANS) / SCALES
    values: np.ndarray = standard @ COEFFICIENTS + INTERCEPT
    return values


def tally_of(values: np.ndarray, empty: np.ndarray) -> Tally:
    """The tally of per-study values (N,) and of which pairs had no relation (N,)."""
    statistics = np.stack([values, empty, np.ones(len(values))], axis=1)
    names = ("radcliq_v1", "radcliq_v1_reciprocal", "radcliq_v1_empty")
    return Tally(names, statistics, _aggregate)


def _aggregate(sums: np.ndarray) -> np.ndarray:
    mean = sums[..., 0] / sums[..., 2]
    with np.errstate(divide="ignore"):
        reciprocal = 1 / mean
    return np.stack([mean, reciprocal, sums[..., 1] / sums[..., 2]], axis=-1)

"""CIDEr-D (Vedantam et al. 2015) as published by ``pycocoevalcap``."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cxreport.metrics.ngrams import ORDERS, NgramCounts, ngram_counts, reference_lists
from cxreport.metrics.statistics import Tally, mean_tally

_SIGMA = 6.0
_SCALE = 10.0


def cider_d(hypotheses: Sequence[str], references: Sequence[str] | Sequence[Sequence[str]]) -> Tally:
    """Mean over samples of CIDEr-D (times 10) on whitespace words.

    Document frequencies come from the references that are passed in, so the score depends on which
    samples are scored together, and one sample alone scores 0 (every idf is log 1). Resampling keeps
    the document frequencies of the full set and resamples the per-sample values. Source:
    ``pycocoevalcap/cider/cider_scorer.py``.
    """
    lists = reference_lists(hypotheses, references)
    counted = [[ngram_counts(text.split()) for text in texts] for texts in lists]
    weights = _Weights(counted)
    values = [
        _score(weights.vector(ngram_counts(hypothesis.split())), [weights.vector(c) for c in counts])
        for hypothesis, counts in zip(hypotheses, counted, strict=True)
    ]
    return mean_tally("cider", np.array(values, dtype=np.float64))


@dataclass(frozen=True)
class _Vector:
    """tf-idf weights and their norm for every n, and the number of words."""

    weights: list[dict[tuple[str, ...], float]]
    norms: list[float]
    words: int


class _Weights:
    """Inverse document frequencies over the references of a set; a document is one sample."""

    def __init__(self, counted: Sequence[Sequence[NgramCounts]]) -> None:
        frequencies: Counter[tuple[str, ...]] = Counter()
        for references in counted:
            frequencies.update({ngram for counts in references for order in counts for ngram in order})
        self._unseen = math.log(len(counted)) if counted else 0.0
        logarithms = [math.log(count) for count in range(1, len(counted) + 1)]
        self._idf = {ngram: self._unseen - logarithms[n - 1] for ngram, n in frequencies.items()}

    def vector(self, counts: NgramCounts) -> _Vector:
        idf, unseen = self._idf, self._unseen
        weights = [
            {ngram: count * idf.get(ngram, unseen) for ngram, count in order.items()} for order in counts
        ]
        norms = [math.sqrt(sum(weight * weight for weight in order.values())) for order in weights]
        return _Vector(weights, norms, sum(counts[0].values()))


def _score(hypothesis: _Vector, references: Sequence[_Vector]) -> float:
    total = sum(_similarity(hypothesis, reference) for reference in references)
    return _SCALE * total / (ORDERS * len(references))


def _similarity(hypothesis: _Vector, reference: _Vector) -> float:
    """Sum over n of the clipped cosine, times the Gaussian penalty of the length difference."""
    total = 0.0
    for n in range(ORDERS):
        theirs = reference.weights[n]
        product = sum(
            min(weight, theirs[ngram]) * theirs[ngram]
            for ngram, weight in hypothesis.weights[n].items()
            if ngram in theirs
        )
        norm = hypothesis.norms[n] * reference.norms[n]
        total += product / norm if norm else 0.0
    difference = hypothesis.words - reference.words
    return total * math.exp(-(difference**2) / (2 * _SIGMA**2))

"""BLEU-1 to BLEU-4 (Papineni et al. 2002) as published by ``pycocoevalcap``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cxreport.metrics.ngrams import ORDERS, ngram_counts, reference_lists
from cxreport.metrics.statistics import Tally

_TINY = 1e-15
_SMALL = 1e-9


def bleu(hypotheses: Sequence[str], references: Sequence[str] | Sequence[Sequence[str]]) -> Tally:
    """BLEU-1..4 on whitespace words, one or several references per sample.

    Clipped n-gram counts are summed over the corpus before the precisions are taken; with several
    references a count is clipped by its maximum over them, and the reference length is the one closest
    to the draft's (the shorter of two as close). Resampling sums the counts, so every resample is a
    true corpus BLEU. Source: ``pycocoevalcap/bleu/bleu_scorer.py``, option ``closest``.
    """
    lists = reference_lists(hypotheses, references)
    rows = [_counts(hypothesis, texts) for hypothesis, texts in zip(hypotheses, lists, strict=True)]
    names = tuple(f"bleu{order}" for order in range(1, ORDERS + 1))
    return Tally(names, np.array(rows, dtype=np.float64).reshape(-1, 2 * ORDERS + 2), bleu_from_counts)


def bleu_from_counts(counts: np.ndarray) -> np.ndarray:
    """BLEU-1..4 (..., 4) from counts (..., 10): 4 clipped matches, 4 totals, draft and reference words."""
    matches, totals = counts[..., :ORDERS], counts[..., ORDERS : 2 * ORDERS]
    precisions = (matches + _TINY) / (totals + _SMALL)
    scores = np.cumprod(precisions, axis=-1) ** (1 / np.arange(1, ORDERS + 1))
    ratio = (counts[..., -2] + _TINY) / (counts[..., -1] + _SMALL)
    brevity = np.exp(np.minimum(0.0, 1 - 1 / ratio))
    return scores * brevity[..., None]


def _counts(hypothesis: str, references: Sequence[str]) -> list[int]:
    words = hypothesis.split()
    reference_words = [reference.split() for reference in references]
    most = ngram_counts(reference_words[0])
    for other in reference_words[1:]:
        most = [kept | counts for kept, counts in zip(most, ngram_counts(other), strict=True)]
    matches = [
        sum(min(count, limit[ngram]) for ngram, count in counts.items() if ngram in limit)
        for counts, limit in zip(ngram_counts(words), most, strict=True)
    ]
    totals = [max(0, len(words) - order) for order in range(ORDERS)]
    closest = min((abs(len(reference) - len(words)), len(reference)) for reference in reference_words)[1]
    return [*matches, *totals, len(words), closest]

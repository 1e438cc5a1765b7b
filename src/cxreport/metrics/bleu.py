"""BLEU-1 to BLEU-4 (Papineni et al. 2002) as published by ``pycocoevalcap``."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np

from cxreport.metrics.ngrams import ORDERS, NgramCounts, count_ngrams, reference_lists
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
    samples = len(lists)
    sample_of = np.repeat(np.arange(samples), [len(texts) for texts in lists])
    words, counts = count_ngrams([*hypotheses, *chain.from_iterable(lists)])
    rows = np.empty((samples, 2 * ORDERS + 2))
    for order, ngrams in enumerate(counts):
        drafts, texts = ngrams.of_texts(0, samples), ngrams.of_texts(samples, len(words))
        rows[:, order] = _clipped_matches(drafts, texts, sample_of, samples)
        rows[:, ORDERS + order] = np.maximum(0, words[:samples] - order)
    rows[:, -2] = words[:samples]
    rows[:, -1] = _closest(words[:samples], words[samples:], sample_of)
    return Tally(tuple(f"bleu{order}" for order in range(1, ORDERS + 1)), rows, bleu_from_counts)


def bleu_from_counts(counts: np.ndarray) -> np.ndarray:
    """BLEU-1..4 (..., 4) from counts (..., 10): 4 clipped matches, 4 totals, draft and reference words."""
    matches, totals = counts[..., :ORDERS], counts[..., ORDERS : 2 * ORDERS]
    precisions = (matches + _TINY) / (totals + _SMALL)
    scores = np.cumprod(precisions, axis=-1) ** (1 / np.arange(1, ORDERS + 1))
    ratio = (counts[..., -2] + _TINY) / (counts[..., -1] + _SMALL)
    brevity = np.exp(np.minimum(0.0, 1 - 1 / ratio))
    return scores * brevity[..., None]


def _clipped_matches(
    drafts: NgramCounts, texts: NgramCounts, sample_of: np.ndarray, samples: int
) -> np.ndarray:
    """How many n-grams of every draft (N,) stand in its references, each counted as often as there."""
    place, found = drafts.find(texts.keys(sample_of[texts.text]))
    limit = np.zeros(len(drafts.count), dtype=np.int64)
    np.maximum.at(limit, place, texts.count[found])
    return np.bincount(drafts.text, np.minimum(drafts.count, limit), minlength=samples)


def _closest(draft: np.ndarray, references: np.ndarray, sample_of: np.ndarray) -> np.ndarray:
    """Of every draft (N,) the number of words of the reference whose number is closest to the draft's."""
    order = np.lexsort((references, np.abs(references - draft[sample_of]), sample_of))
    first = np.searchsorted(sample_of, np.arange(len(draft)))
    return references[order][first]

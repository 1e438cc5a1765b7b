"""CIDEr-D (Vedantam et al. 2015) as published by ``pycocoevalcap``."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np

from cxreport.metrics.ngrams import ORDERS, NgramCounts, count_ngrams, reference_lists
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
    samples = len(lists)
    per_sample = np.array([len(texts) for texts in lists], dtype=np.int64)
    sample_of = np.repeat(np.arange(samples), per_sample)
    words, counts = count_ngrams([*hypotheses, *chain.from_iterable(lists)])
    cosines = np.zeros(len(sample_of))
    for ngrams in counts:
        drafts, texts = ngrams.of_texts(0, samples), ngrams.of_texts(samples, len(words))
        cosines += _clipped_cosines(drafts, texts, sample_of, samples)
    difference = words[sample_of] - words[samples:]
    similarity = cosines * np.exp(-(difference**2) / (2 * _SIGMA**2))
    total = np.bincount(sample_of, similarity, minlength=samples)
    return mean_tally("cider", _SCALE * total / (ORDERS * per_sample))


def _clipped_cosines(
    drafts: NgramCounts, texts: NgramCounts, sample_of: np.ndarray, samples: int
) -> np.ndarray:
    """Cosine (T,) of the tf-idf weights of every reference and its draft, whose weights are clipped.

    A document is one sample with all its references; the weight of an n-gram that stands in no reference
    is that of an n-gram in one.
    """
    documents = np.unique(texts.keys(sample_of[texts.text])) % max(1, texts.size)
    frequency = np.maximum(1, np.bincount(documents, minlength=texts.size))
    idf = np.log(samples) - np.log(frequency) if samples else np.zeros(0)
    draft_weight, text_weight = (each.count * idf[each.ngram] for each in (drafts, texts))
    place, found = drafts.find(texts.keys(sample_of[texts.text]))
    theirs = text_weight[found]
    product = np.bincount(
        texts.text[found], np.minimum(draft_weight[place], theirs) * theirs, minlength=len(sample_of)
    )
    draft_norm = np.sqrt(np.bincount(drafts.text, draft_weight**2, minlength=samples))
    norm = draft_norm[sample_of] * np.sqrt(np.bincount(texts.text, text_weight**2, minlength=len(sample_of)))
    return np.divide(product, norm, out=np.zeros(len(norm)), where=norm > 0)

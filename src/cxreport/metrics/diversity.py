"""Whether the drafts differ from each other, and how long they are.

A generator that writes one normal report for everybody can have a good BLEU; these numbers show it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from cxreport.metrics.ngrams import reference_lists
from cxreport.metrics.statistics import Tally, mean_tally


def unique_ratio(hypotheses: Sequence[str]) -> float:
    """Different drafts per draft: 1 when all differ, 1/N when all are the same.

    It has no bootstrap interval: drawing with replacement makes duplicates by itself.
    """
    return len({_words(text) for text in hypotheses}) / len(hypotheses)


def most_common_share(hypotheses: Sequence[str]) -> Tally:
    """Share of the drafts that are the most common draft (resampling keeps that draft fixed)."""
    words = [_words(text) for text in hypotheses]
    most_common = Counter(words).most_common(1)[0][0]
    is_it = np.array([text == most_common for text in words], dtype=np.float64)
    return mean_tally("most_common_share", is_it)


def length_ratio(hypotheses: Sequence[str], references: Sequence[str] | Sequence[Sequence[str]]) -> Tally:
    """Words of all drafts over words of all references, and mean words per draft.

    Of several references of a sample the mean number of words counts.
    """
    lists = reference_lists(hypotheses, references)
    counts = [
        (len(hypothesis.split()), sum(len(text.split()) for text in texts) / len(texts), 1)
        for hypothesis, texts in zip(hypotheses, lists, strict=True)
    ]
    return Tally(("length_ratio", "mean_words"), np.array(counts, dtype=np.float64), _from_counts)


def _from_counts(sums: np.ndarray) -> np.ndarray:
    return np.stack([sums[..., 0] / np.maximum(sums[..., 1], 1), sums[..., 0] / sums[..., 2]], axis=-1)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())

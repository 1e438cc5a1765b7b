"""Whether the drafts differ from each other, how long they are, and whether they repeat themselves.

A generator that writes one normal report for everybody can have a good BLEU; these numbers show it. Words are
what whitespace separates.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from cxreport.metrics.ngrams import reference_lists
from cxreport.metrics.statistics import Tally, mean_tally

_SENTENCE_END = re.compile(r"(?<!\d)[.!?;]+(?=\s|$)|[.!?]+$|[。！？；]")


def diversity_values(hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """The measures of a whole set of drafts, by name.

    They have no bootstrap interval: drawing with replacement makes duplicates by itself.
    """
    return {
        "unique_ratio": unique_ratio(hypotheses),
        "distinct1": distinct_ratio(hypotheses, 1),
        "distinct2": distinct_ratio(hypotheses, 2),
        "vocabulary_coverage": vocabulary_coverage(hypotheses, references),
    }


def unique_ratio(hypotheses: Sequence[str]) -> float:
    """Different drafts per draft: 1 when all differ, 1/N when all are the same."""
    return len({_words(text) for text in hypotheses}) / len(hypotheses)


def distinct_ratio(hypotheses: Sequence[str], order: int) -> float:
    """Different n-grams of `order` 1 or 2 words per n-gram over all drafts (distinct-n, Li et al. 2016).

    It falls with the number of drafts, so it compares only sets of one size. 0 without any n-gram.
    """
    grams: set[str | tuple[str, str]] = set()
    total = 0
    for text in hypotheses:
        words = _words(text)
        found: list[str | tuple[str, str]] = [*words] if order == 1 else [*pairwise(words)]
        grams.update(found)
        total += len(found)
    return len(grams) / total if total else 0.0


def vocabulary_coverage(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Share of the different words of all references that any draft uses; 0 without words."""
    theirs = {word for text in references for word in _words(text)}
    ours = {word for text in hypotheses for word in _words(text)}
    return len(theirs & ours) / len(theirs) if theirs else 0.0


def most_common_share(hypotheses: Sequence[str]) -> Tally:
    """Share of the drafts that are the most common draft (resampling keeps that draft fixed)."""
    words = [_words(text) for text in hypotheses]
    most_common = Counter(words).most_common(1)[0][0]
    is_it = np.array([text == most_common for text in words], dtype=np.float64)
    return mean_tally("most_common_share", is_it)


def repeated_sentences(hypotheses: Sequence[str]) -> Tally:
    """Share of the sentences of all drafts that stand earlier in the same draft already."""
    rows = []
    for text in hypotheses:
        sentences = [part.split() for part in _SENTENCE_END.split(text.lower())]
        written = [" ".join(words) for words in sentences if words]
        rows.append((len(written) - len(set(written)), len(written)))
    statistics = np.array(rows, dtype=np.float64)
    return Tally(
        ("repeated_sentences",), statistics, lambda sums: sums[..., :1] / np.maximum(sums[..., 1:], 1)
    )


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

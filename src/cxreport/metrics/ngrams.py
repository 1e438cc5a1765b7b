"""Word n-grams, and references given once or several times per sample."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

ORDERS = 4
"""BLEU and CIDEr look at n-grams of 1 to 4 words."""

NgramCounts = list["Counter[tuple[str, ...]]"]


def ngram_counts(words: Sequence[str]) -> NgramCounts:
    """How often each n-gram stands in `words`: one Counter for every n from 1 to :data:`ORDERS`."""
    shifted = [words[start:] for start in range(ORDERS)]
    return [Counter(zip(*shifted[:order], strict=False)) for order in range(1, ORDERS + 1)]


def reference_lists(
    hypotheses: Sequence[str], references: Sequence[str] | Sequence[Sequence[str]]
) -> list[Sequence[str]]:
    """The references of every sample as a list; raises ValueError where counts disagree."""
    if len(hypotheses) != len(references):
        raise ValueError(f"{len(hypotheses)} hypotheses but {len(references)} references")
    lists: list[Sequence[str]] = [[entry] if isinstance(entry, str) else entry for entry in references]
    if not all(lists):
        raise ValueError("a sample has no reference")
    return lists

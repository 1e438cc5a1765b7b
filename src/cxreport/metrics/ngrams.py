"""Word n-grams counted for a whole set of texts at a time, and references given once or several times."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

ORDERS = 4
"""BLEU and CIDEr look at n-grams of 1 to 4 words."""

_TABLE_ROOM = 16
"""Numbers are renumbered by a table where that has at most so many places for each of them."""


@dataclass(frozen=True)
class NgramCounts:
    """How often n-grams of one order stand in texts: sorted by text, then by n-gram.

    ``text``, ``ngram``, ``count`` (K,): one entry for every different n-gram of a text; n-grams are numbered
    from 0 to ``size - 1``, and equal n-grams of different texts have the same number.
    """

    text: np.ndarray
    ngram: np.ndarray
    count: np.ndarray
    size: int

    def of_texts(self, first: int, last: int) -> NgramCounts:
        """The entries of the texts from `first` up to, not including, `last`, which are numbered from 0."""
        low, high = np.searchsorted(self.text, (first, last))
        return NgramCounts(self.text[low:high] - first, self.ngram[low:high], self.count[low:high], self.size)

    def keys(self, text: np.ndarray | None = None) -> np.ndarray:
        """One number (K,) for text and n-gram; with `text` (K,) in the place of the text."""
        return (self.text if text is None else text) * self.size + self.ngram

    def find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where known `keys` stand among the entries, and which of `keys` those are."""
        own = self.keys()
        place = np.searchsorted(own, keys)
        place[place == len(own)] = 0
        found = np.flatnonzero(own[place] == keys) if len(own) else np.arange(0)
        return place[found], found


def count_ngrams(texts: Sequence[str]) -> tuple[np.ndarray, list[NgramCounts]]:
    """Words of every text (T,), and its n-grams of every order from 1 to :data:`ORDERS`.

    Words are what whitespace separates.
    """
    split = [text.split() for text in texts]
    lengths = np.fromiter(map(len, split), dtype=np.int64, count=len(split))
    numbers: defaultdict[str, int] = defaultdict()
    numbers.default_factory = numbers.__len__
    words = np.fromiter(
        map(numbers.__getitem__, chain.from_iterable(split)), dtype=np.int64, count=int(lengths.sum())
    )
    place = np.arange(len(words))
    text = np.repeat(np.arange(len(texts)), lengths)
    left = np.repeat(np.cumsum(lengths), lengths) - place
    ngram, size = words, len(numbers)
    counts = [_count(text, ngram, size)]
    for order in range(1, ORDERS):
        going = left > order
        place, text, left, ngram = place[going], text[going], left[going], ngram[going]
        ngram, size = _renumbered(ngram * len(numbers) + words[place + order], size * len(numbers))
        counts.append(_count(text, ngram, size))
    return lengths, counts


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


def _count(text: np.ndarray, ngram: np.ndarray, size: int) -> NgramCounts:
    keys, count = np.unique(text * size + ngram, return_counts=True)
    return NgramCounts(*np.divmod(keys, max(1, size)), count, size)


def _renumbered(numbers: np.ndarray, size: int) -> tuple[np.ndarray, int]:
    """Numbers below `size` as numbers without gaps in the same order, and how many differ."""
    if size > _TABLE_ROOM * len(numbers):
        different, renumbered = np.unique(numbers, return_inverse=True)
        return renumbered, len(different)
    present = np.zeros(size, dtype=np.bool_)
    present[numbers] = True
    return (np.cumsum(present) - 1)[numbers], int(present.sum())

"""What METEOR knows about words: synonyms and paraphrases, looked up in sorted arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

_ENDINGS = (
    ("s", ""), ("ses", "s"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"), ("men", "man"),
    ("ies", "y"), ("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"),
    ("ing", ""), ("er", ""), ("est", ""), ("er", "e"), ("est", "e"),
)  # fmt: skip
"""WordNet's rules of detachment in METEOR's order: the first that gives a known lemma counts."""


class Strings:
    """Sorted texts (by their UTF-8 letters) in one run of bytes; looked up by halving."""

    def __init__(self, letters: bytes, ends: np.ndarray) -> None:
        self._letters = letters
        self._ends = ends

    def __len__(self) -> int:
        return len(self._ends)

    def __iter__(self) -> Iterator[str]:
        return (self._at(place).decode("utf-8") for place in range(len(self)))

    def find(self, text: str) -> int:
        """The place of `text`, or -1."""
        wanted = text.encode("utf-8", "surrogatepass")
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self._at(middle) < wanted:
                low = middle + 1
            else:
                high = middle
        return low if low < len(self) and self._at(low) == wanted else -1

    def _at(self, place: int) -> bytes:
        return self._letters[self._ends[place - 1] if place else 0 : self._ends[place]]


@dataclass(frozen=True)
class Synonyms:
    """WordNet: the synonym sets of every lemma, and the lemmas of irregular forms."""

    lemmas: Strings
    set_starts: np.ndarray
    sets: np.ndarray
    irregular: Strings
    base_starts: np.ndarray
    bases: np.ndarray

    def of(self, word: str) -> frozenset[int]:
        """The synonym sets of a word and of its lemmas."""
        form = self.irregular.find(word)
        if form >= 0:
            lemmas = self.bases[self.base_starts[form] : self.base_starts[form + 1]].tolist()
        else:
            lemmas = [self._lemma(word)]
        return frozenset().union(*map(self._sets, {self.lemmas.find(word), *lemmas}))

    def _sets(self, lemma: int) -> list[int]:
        if lemma < 0:
            return []
        numbers: list[int] = self.sets[self.set_starts[lemma] : self.set_starts[lemma + 1]].tolist()
        return numbers

    def _lemma(self, word: str) -> int:
        """The lemma of a regular form, or -1; words in ``ss`` and of two letters are their own."""
        if word.endswith("ss") or len(word) <= 2:
            return self.lemmas.find(word)
        for ending, replacement in _ENDINGS:
            if word.endswith(ending):
                lemma = self.lemmas.find(word.removesuffix(ending) + replacement)
                if lemma >= 0:
                    return lemma
        return -1


class Paraphrases:
    """Phrases and what they may be replaced by, as a tree of words.

    Node 0 is the root; node ``n + 1`` is reached by ``keys[n] = parent << 32 | word``, so a phrase is a node.
    The rules of node n are ``rule_targets[rule_starts[n] : rule_starts[n + 1]]``, in the order of METEOR's
    table.
    """

    def __init__(
        self, words: Strings, keys: np.ndarray, rule_starts: np.ndarray, rule_targets: np.ndarray
    ) -> None:
        self.words, self.keys = words, keys
        self.rule_starts, self.rule_targets = rule_starts, rule_targets
        self._children: dict[tuple[int, str], int] = {}
        self._numbers: dict[str, int] = {}

    def child(self, node: int, word: str) -> int:
        """The node of a phrase made longer by a word, or 0 where no phrase goes on like that."""
        step = (node, word)
        child = self._children.get(step)
        if child is None:
            child = self._children[step] = self._find_child(node, word)
        return child

    def targets(self, node: int) -> list[int]:
        """The paraphrases of a phrase as nodes, in the order of the table."""
        targets: list[int] = self.rule_targets[self.rule_starts[node] : self.rule_starts[node + 1]].tolist()
        return targets

    def _find_child(self, node: int, word: str) -> int:
        number = self._numbers.get(word)
        if number is None:
            number = self._numbers[word] = self.words.find(word)
        if number < 0:
            return 0
        key = node << 32 | number
        place = int(self.keys.searchsorted(key))
        return place + 1 if place < len(self.keys) and self.keys[place] == key else 0


@dataclass(frozen=True)
class Lexicon:
    """Everything that METEOR 1.5 reads for English."""

    function_words: frozenset[str]
    keeps_dot: Mapping[str, int]
    synonyms: Synonyms
    paraphrases: Paraphrases

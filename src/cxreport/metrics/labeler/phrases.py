"""Phrases, and the one pass over a sentence's words that finds them all.

A phrase is written with ``(a|b)`` for one of several words and ``[a]`` or ``[a|b]`` for words that may be
missing: ``no [definite] (evidence|sign) of``. All phrases stand in one trie; the longest one at a word wins.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

_GROUP = re.compile(r"\(([^()\[\]]*)\)|\[([^()\[\]]*)\]")
WORD = re.compile(r"\+/-|[^\W_]+|[,:()/?]")
"""A word or a mark that separates or asks."""


class Term(NamedTuple):
    """What a phrase stands for: its role in a sentence, and what the role needs to know."""

    role: str
    value: Any = None


class Event(NamedTuple):
    """A term in a sentence, from word `start` up to and without word `end`."""

    role: str
    value: Any
    start: int
    end: int


def expand(phrase: str) -> Iterator[str]:
    """Every way to read a phrase with groups."""
    match = _GROUP.search(phrase)
    if match is None:
        yield " ".join(phrase.split())
        return
    required, optional = match.groups()
    choices = required.split("|") if required is not None else ["", *optional.split("|")]
    for choice in choices:
        yield from expand(f"{phrase[: match.start()]}{choice}{phrase[match.end() :]}")


class Lexicon:
    """A trie of phrases over words; `canonical` gives a word its form in the trie, empty to skip it."""

    def __init__(self, phrases: Iterable[tuple[str, Term]], canonical: Callable[[str], str]) -> None:
        self._root: dict[str | None, Any] = {}
        for phrase, term in phrases:
            for reading in expand(phrase):
                words = [form for word in WORD.findall(reading) if (form := canonical(word))]
                node = self._root
                for word in words:
                    node = node.setdefault(word, {})
                node.setdefault(None, term)

    def events(self, words: Sequence[str]) -> list[Event]:
        """The longest phrase at each of the canonical `words`, left to right, without overlap."""
        root, found, place, count = self._root, [], 0, len(words)
        while place < count:
            node = root.get(words[place])
            if node is None:
                place += 1
                continue
            ahead, term, end = place + 1, node.get(None), place + 1
            while ahead < count and (node := node.get(words[ahead])) is not None:
                ahead += 1
                if None in node:
                    term, end = node[None], ahead
            if term is None:
                place += 1
                continue
            found.append(Event(term.role, term.value, place, end))
            place = end
        return found

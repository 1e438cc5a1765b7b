"""Ways to split a text into the words that metrics compare."""

from __future__ import annotations

from collections.abc import Callable

from cxreport.metrics.ptb import ptb_words


def characters(text: str) -> list[str]:
    """Every character but blanks, as scores of Chinese reports are computed."""
    return [character for character in text if not character.isspace()]


TOKENIZERS: dict[str, Callable[[str], list[str]]] = {
    "whitespace": str.split,
    "ptb": ptb_words,
    "characters": characters,
}
"""Name to a function that gives the words of a text."""

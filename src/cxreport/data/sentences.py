"""Sentences of a report in English or Chinese, as it was dictated or after cleaning, with their places."""

from __future__ import annotations

import re
from collections.abc import Iterator

SENTENCE_END = re.compile(
    r"(?<!\b[ap])(?<!\bdr)(?<!\bvs)(?<!\bmr)(?<!\be\.g)(?<!\bi\.e)(?<!\bapprox)(?<!\bno\. \d)"
    r"\.(?![0-9a-z]\b|[0-9])|[;!]|\n[ \t]*\n|\n(?=[ \t]*(?:[-*•]|\(?\d{1,2}[.)])\s)|<br>"
    r"|(?<=\?)(?<!\s\?)(?=\s+(?!(?:or|and|vs|versus)\b)\w)"
)
"""Where a sentence of lower-case English ends. A question mark behind a word ends the sentence and belongs to
it; one before a word doubts that word."""

_END = re.compile(rf"{SENTENCE_END.pattern}|[。；！]")


def lowered(text: str) -> str:
    """`text` in lower case with every character at its place."""
    low = text.lower()
    if len(low) != len(text):
        low = "".join(one if len(one := character.lower()) == 1 else character for character in text)
    return low


def sentence_spans(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of every sentence of `text`, its full stop included and blanks around it not.

    What holds no letter or digit is no sentence.
    """
    place = 0
    for match in [*_END.finditer(lowered(text)), None]:
        end = match.end() if match else len(text)
        sentence = text[place:end]
        if any(character.isalnum() for character in sentence):
            start = place + len(sentence) - len(sentence.lstrip())
            yield start, start + len(sentence.strip())
        place = end

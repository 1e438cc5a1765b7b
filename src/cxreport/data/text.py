"""Reports as training text: sections and cleaners."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Literal

from cxreport.data.legacy_text import legacy_iu, legacy_mimic, legacy_r2gengpt
from cxreport.options import DataOptions
from cxreport.study import Report

MARK = "xxxx"
"""The one token of a de-identification mark (``XXXX`` of Open-i, ``___`` of MIMIC-CXR)."""

MarkPolicy = Literal["keep", "token", "drop"]

_MARKS = re.compile(r"_{2,}|(?<![^\W_])x{3,}(?![^\W_])", re.IGNORECASE)
_HAN = re.compile("[\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_INVISIBLE = re.compile("[\u00ad\u200b\u200c\u200d\u2060\ufeff]")
_LIST_AT_LINE = re.compile(r"(?:^|[\r\n])[^\S\r\n]*(?:\(?\d{1,2}[.)]|[-*•–])(?=\s)")
_INITIALS = re.compile(r"\b(?:[^\W\d_]\.){2,}")
_TITLES = re.compile(r"\b(dr|mr|mrs|ms|vs)\.(?=\s)")
_TOKEN = re.compile(
    r"""(?<![\w.])\.\d+                             # .5
      | [^\W_]+ (?: [-']+[^\W_]+ | (?<=\d)[.,:/]\d+ )*  # word, post-operative, isn't, 1.5, 10:45, 12/03
      | [.!?;。]+                                   # end of a sentence
      | -+
      | [:/%+<>=≤≥±×°\#~)]
    """,
    re.VERBOSE,
)
_LIST_NUMBER = re.compile(r"\d{1,2}")


def clean(text: str) -> str:
    """Lower-case words and signs separated by single blanks, every sentence ending in `` .``.

    Decimals (``1.5``), times, dates, hyphens, colons and slashes survive; commas, quotes and brackets
    go. A number is removed only where it numbers a list: at the start of a sentence or line, followed by
    a dot or bracket and more text. ``XXXX`` and ``___`` become :data:`MARK`. The text without any word is
    the empty string, and cleaning twice changes nothing.
    """
    text = unicodedata.normalize("NFC", _INVISIBLE.sub("", text).lower())
    text = text.replace("’", "'").replace("‘", "'").replace("–", "-").replace("—", " - ")
    text = _LIST_AT_LINE.sub(" . ", text)
    text = _MARKS.sub(f" {MARK} ", text)
    text = _INITIALS.sub(lambda match: match[0].replace(".", "") + " ", text)
    text = _TITLES.sub(r"\1 ", text)
    sentences = _sentences(_TOKEN.findall(text))
    return "".join(f"{' '.join(sentence)} . " for sentence in sentences).strip()


def _sentences(tokens: list[str]) -> list[list[str]]:
    sentences: list[list[str]] = [[]]
    for token in tokens:
        if token[0] in ".!?;。" and not token[-1].isdigit():
            sentences.append([])
        elif token == ")":
            if len(sentences[-1]) == 1 and _LIST_NUMBER.fullmatch(sentences[-1][0]):
                sentences[-1].clear()
        elif sentences[-1] or token[0] not in "-/:":
            sentences[-1].append("-" if token[0] == "-" else token)
    sentences = [sentence for sentence in sentences if any(map(_has_word, sentence))]
    last = len(sentences) - 1
    return [
        sentence
        for place, sentence in enumerate(sentences)
        if place == last or len(sentence) > 1 or not _LIST_NUMBER.fullmatch(sentence[0])
    ]


def _has_word(token: str) -> bool:
    return any(character.isalnum() for character in token)


def characters(text: str) -> str:
    """As :func:`clean`, with every Chinese character a word of its own and full-width signs made narrow.

    ``约1.5cm结节`` becomes ``约 1.5 cm 结 节 .``; words, numbers and units of other scripts stay whole.
    """
    return clean(_HAN.sub(lambda match: f" {match[0]} ", unicodedata.normalize("NFKC", text)))


CLEANERS: dict[str, Callable[[str], str]] = {
    "clean": clean,
    "characters": characters,
    "legacy-iu": legacy_iu,
    "legacy-mimic": legacy_mimic,
    "legacy-r2gengpt": legacy_r2gengpt,
}
"""Cleaners by their name in a recipe."""


def with_marks(text: str, policy: MarkPolicy) -> str:
    """`text` with its de-identification marks kept, each turned into the word ``XXXX``, or dropped."""
    if policy == "keep":
        return text
    return _MARKS.sub(" " if policy == "drop" else _mark_word, text)


def _mark_word(match: re.Match[str]) -> str:
    """``XXXX``, apart from a letter or digit that touches the mark."""
    text, start, end = match.string, match.start(), match.end()
    before, after = text[start - 1 : start], text[end : end + 1]
    return f"{' ' * before.isalnum()}{MARK.upper()}{' ' * after.isalnum()}"


def target_text(report: Report, options: DataOptions) -> str:
    """The text that a generator learns to write for `report`: the section, cleaned.

    ``both`` is findings followed by impression, of which one may be absent. The empty string means that
    there is no text; the caller leaves the study out and counts it.
    """
    sections = {
        "findings": (report.findings,),
        "impression": (report.impression,),
        "both": (report.findings, report.impression),
    }[options.section]
    clean_section = CLEANERS[options.cleaner]
    cleaned = (clean_section(with_marks(text, options.marks)) for text in sections if text.strip())
    return " ".join(text for text in cleaned if _has_word(text))

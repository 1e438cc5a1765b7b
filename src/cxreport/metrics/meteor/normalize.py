"""Words of a text as METEOR 1.5 sees them with ``-norm``: punctuation split off, lower case.

Source: class ``edu.cmu.meteor.util.Normalizer`` of METEOR 1.5. A dot stays on its word when the next word
starts in lower case, so texts in lower case keep "effusion." whole and " ." is a word of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

ANY, BEFORE_NUMBER = 1, 2
"""How a word that keeps its dot is marked: always, or before a number only."""

_LETTERS = (
    "A-Za-z\u0160\u017d\u0161\u017e\u0178\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u017e\u0400-\u04ff\u0500-\u0527"
    "\ua640-\ua66e\ua67e-\ua697\u1d00-\u1d7f"
)
_CONTROLS = "".join(map(chr, range(33)))
_BLANKS = re.compile(r"[ \t\n\r\f]+")
_WIDE_BLANKS = re.compile("[ \u2000-\u200a\u202f\u205f\u3000\u00a0]+")
_OTHER = re.compile(f"([^0-9{_LETTERS} \\t\\n\\x0b\\f\\r.'`,\\-\u2018\u2019])")
_DOTS = re.compile(r"\.(\.+)")
_LAST_DOT = re.compile(r"DOTMULTI\.([^.])")
_COMMAS = tuple(
    re.compile(pattern) for pattern in ("([^0-9]),([^0-9])", "([0-9]),([^0-9])", "([^0-9]),([0-9])")
)
_SINGLE_QUOTES = re.compile("[`\u2018\u2019]")
_DOUBLE_QUOTES = re.compile("[\u201c\u201d]|''")
_INNER_DASH = re.compile(f"([0-9{_LETTERS}.])-([0-9{_LETTERS}])")
_APOSTROPHES = (
    (re.compile(f"([^{_LETTERS}])'([^{_LETTERS}])"), r"\1 ' \2"),
    (re.compile(f"([^{_LETTERS}0-9])'([{_LETTERS}])"), r"\1 ' \2"),
    (re.compile(f"([{_LETTERS}])'([^{_LETTERS}])"), r"\1 ' \2"),
    (re.compile(f"([{_LETTERS}])'([{_LETTERS}])"), r"\1 '\2"),
    (re.compile("([0-9])'(s)"), r"\1 '\2"),
)
_LETTER = re.compile(f"[{_LETTERS}]")


def meteor_words(text: str, keeps_dot: Mapping[str, int]) -> list[str]:
    """The words of `text`; `keeps_dot` maps a word to :data:`ANY` or :data:`BEFORE_NUMBER`.

    ``|||`` separates texts in METEOR's own protocol, so it is removed, as ``pycocoevalcap`` does.
    """
    text = _split_punctuation(f" {text.replace('|||', '').strip(_CONTROLS)} ")
    words = " ".join(_split_dots(_split_on(text, _BLANKS), keeps_dot))
    while "DOTDOTMULTI" in words:
        words = words.replace("DOTDOTMULTI", "DOTMULTI.")
    words = _WIDE_BLANKS.sub(" ", words.replace("DOTMULTI", "."))
    return _split_on(words.lower(), _BLANKS)


def _split_punctuation(text: str) -> str:
    text = _OTHER.sub(r" \1 ", text)
    text = _DOTS.sub(r" DOTMULTI\1", text)
    while "DOTMULTI." in text:
        text = _LAST_DOT.sub(r"DOTDOTMULTI \1", text).replace("DOTMULTI.", "DOTDOTMULTI")
    for comma in _COMMAS:
        text = comma.sub(r"\1 , \2", text)
    text = _DOUBLE_QUOTES.sub(' " ', _SINGLE_QUOTES.sub("'", text))
    text = _INNER_DASH.sub(r"\1 \2", text.replace("\u2013", "-").replace("--", "-"))
    if "'" in text:
        for apostrophe, apart in _APOSTROPHES:
            text = apostrophe.sub(apart, text)
    return text


def _split_dots(words: list[str], keeps_dot: Mapping[str, int]) -> list[str]:
    """Puts a last dot apart, unless the word is known to keep it or the next starts in lower case."""
    result = []
    for place, word in enumerate(words):
        if len(word) < 2 or word[-1] != ".":
            result.append(word)
            continue
        stem, following = word[:-1], words[place + 1 : place + 2]
        first = following[0][0] if following else ""
        kind = keeps_dot.get(stem)
        if "." in stem and _LETTER.search(stem):
            result.append(word.replace(".", ""))
        elif kind == ANY or "a" <= first <= "z" or (kind == BEFORE_NUMBER and "0" <= first <= "9"):
            result.append(word)
        else:
            result += [stem, "."]
    return result


def _split_on(text: str, blanks: re.Pattern[str]) -> list[str]:
    return [word for word in blanks.split(text) if word]

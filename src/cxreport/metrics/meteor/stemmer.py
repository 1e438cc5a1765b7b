"""The English Snowball stemmer ("Porter2") in the version that METEOR 1.5 carries.

Source: snowballstem.org/algorithms/english/stemmer.html as of 2010; later versions changed suffixes,
prefixes and exceptions, so a current stemmer would match other words than METEOR does. The regions R1 and R2
of the algorithm are the places `first` and `second` here: a suffix stands in a region when it starts there or
later.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_WHOLE_WORDS = {
    "skis": "ski", "skies": "sky", "dying": "die", "lying": "lie", "tying": "tie", "idly": "idl",
    "gently": "gentl", "ugly": "ugli", "early": "earli", "only": "onli", "singly": "singl",
    "sky": "sky", "news": "news", "howe": "howe", "atlas": "atlas", "cosmos": "cosmos", "bias": "bias",
    "andes": "andes",
}  # fmt: skip
_WHOLE_AFTER_PLURAL = frozenset(
    ("inning", "outing", "canning", "herring", "earring", "proceed", "exceed", "succeed")
)
_PREFIXES = ("gener", "commun", "arsen")
_DOUBLES = ("bb", "dd", "ff", "gg", "mm", "nn", "pp", "rr", "tt")
_BEFORE_LI = frozenset("cdeghkmnrt")
_STEP_2 = {
    "tional": "tion", "enci": "ence", "anci": "ance", "abli": "able", "entli": "ent", "izer": "ize",
    "ization": "ize", "ational": "ate", "ation": "ate", "ator": "ate", "alism": "al", "aliti": "al",
    "alli": "al", "fulness": "ful", "ousli": "ous", "ousness": "ous", "iveness": "ive", "iviti": "ive",
    "biliti": "ble", "bli": "ble", "ogi": "og", "fulli": "ful", "lessli": "less", "li": "",
}  # fmt: skip
_STEP_3 = {
    "tional": "tion", "ational": "ate", "alize": "al", "icate": "ic", "iciti": "ic", "ical": "ic",
    "ful": "", "ness": "", "ative": "",
}  # fmt: skip
_STEP_4 = (
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ism", "ate", "iti",
    "ous", "ive", "ize", "ion",
)  # fmt: skip


def _any_suffix(suffixes: Iterable[str]) -> re.Pattern[str]:
    """Matches the longest of `suffixes` at the end of a word."""
    return re.compile(rf"(?:{'|'.join(sorted(suffixes, key=len, reverse=True))})\Z")


_SUFFIX_2, _SUFFIX_3, _SUFFIX_4 = _any_suffix(_STEP_2), _any_suffix(_STEP_3), _any_suffix(_STEP_4)
_VOWEL = re.compile(r"[aeiouy]")
_REGION = re.compile(r"[aeiouy][^aeiouy]")
_POSSESSIVE = re.compile(r"'(?:s'?)?\Z")
_SHORT_SYLLABLE = re.compile(r"(?:[^aeiouy][aeiouy][^aeiouywxY]|\A[aeiouy][^aeiouy])\Z")


def stem(word: str) -> str:
    """The stem of a lower-case word; words of two letters or fewer stay as they are."""
    if len(word) < 3:
        return word
    if word in _WHOLE_WORDS:
        return _WHOLE_WORDS[word]
    word = _mark_consonant_y(word.removeprefix("'"))
    first, second = _regions(word)
    word = _singular(word)
    if word not in _WHOLE_AFTER_PLURAL:
        word = _without_past_or_gerund(word, first)
        word = _final_y(word)
        word = _suffix_2(word, first)
        word = _suffix_3(word, first, second)
        word = _suffix_4(word, second)
        word = _final_e_or_l(word, first, second)
    return word.replace("Y", "y")


def _mark_consonant_y(word: str) -> str:
    """Writes Y for a y that is no vowel: the first letter, or after a vowel (a marked Y is none)."""
    if "y" not in word:
        return word
    letters = list(word)
    for place, letter in enumerate(letters):
        if letter == "y" and (place == 0 or letters[place - 1] in "aeiouy"):
            letters[place] = "Y"
    return "".join(letters)


def _regions(word: str) -> tuple[int, int]:
    """Where R1 and R2 start: after the first consonant that follows a vowel, and the same again in R1."""
    prefix = next((prefix for prefix in _PREFIXES if word.startswith(prefix)), None)
    first = len(prefix) if prefix else _after_region(word, 0)
    return first, _after_region(word, first)


def _after_region(word: str, start: int) -> int:
    found = _REGION.search(word, start)
    return found.end() if found else len(word)


def _singular(word: str) -> str:
    """Step 1a."""
    word = _POSSESSIVE.sub("", word, count=1)
    if word.endswith("sses"):
        return word[:-2]
    if word.endswith(("ied", "ies")):
        return word[:-2] if len(word) > 4 else word[:-1]
    if word.endswith("s") and not word.endswith(("us", "ss")) and _VOWEL.search(word[:-2]):
        return word[:-1]
    return word


def _without_past_or_gerund(word: str, first: int) -> str:
    """Step 1b."""
    for suffix in ("eedly", "eed"):
        if word.endswith(suffix):
            return word[: 2 - len(suffix)] if len(word) - len(suffix) >= first else word
    suffix = next((each for each in ("ingly", "edly", "ing", "ed") if word.endswith(each)), "")
    if not suffix or not _VOWEL.search(word[: -len(suffix)]):
        return word
    word = word[: -len(suffix)]
    if word.endswith(("at", "bl", "iz")):
        return word + "e"
    if word.endswith(_DOUBLES):
        return word[:-1]
    return word + "e" if len(word) == first and _SHORT_SYLLABLE.search(word) else word


def _final_y(word: str) -> str:
    """Step 1c."""
    changes = len(word) > 2 and word[-1] in "yY" and word[-2] not in "aeiouy"
    return word[:-1] + "i" if changes else word


def _suffix_2(word: str, first: int) -> str:
    found = _SUFFIX_2.search(word)
    if found is None or found.start() < first:
        return word
    suffix, before = found.group(), word[: found.start()]
    if suffix == "ogi" and not before.endswith("l"):
        return word
    if suffix == "li" and before[-1:] not in _BEFORE_LI:
        return word
    return before + _STEP_2[suffix]


def _suffix_3(word: str, first: int, second: int) -> str:
    found = _SUFFIX_3.search(word)
    if found is None or found.start() < (second if found.group() == "ative" else first):
        return word
    return word[: found.start()] + _STEP_3[found.group()]


def _suffix_4(word: str, second: int) -> str:
    found = _SUFFIX_4.search(word)
    if found is None or found.start() < second:
        return word
    before = word[: found.start()]
    return word if found.group() == "ion" and not before.endswith(("s", "t")) else before


def _final_e_or_l(word: str, first: int, second: int) -> str:
    """Step 5."""
    end = len(word) - 1
    if word.endswith("e"):
        drops = end >= second or (end >= first and not _SHORT_SYLLABLE.search(word[:-1]))
        return word[:-1] if drops else word
    return word[:-1] if word.endswith("ll") and end >= second else word

"""Reads the findings out of a text in the language of the phantoms: a report or what a model made of it.

Works sentence by sentence on words alone (case, commas and hyphens do not count), so that a raw and a
cleaned text read the same; Chinese sentences are read by :mod:`cxreport.phantom.parser_zh`. It is made for
the grammars of phantoms and near relatives of them, not for reports from hospitals.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

from cxreport.phantom.kinds import KINDS
from cxreport.phantom.parser_zh import Reading, read_chinese_sentence
from cxreport.study import Finding, Side

LANGUAGES = ("grammar", "grammar-zh")
"""Languages of phantoms, as studies' metadata name them, whose texts are read exactly."""

_MENTIONS: dict[str, re.Pattern[str]] = {
    kind: re.compile(rf"\b(?:{pattern})\b")
    for kind, pattern in {
        "cardiomegaly": r"cardiomegaly"
        r"|(?:heart|cardiac silhouette)(?: \w+){0,3}? enlarged"
        r"|enlarge\w+ (?:of )?(?:the )?(?:heart|cardiac)",
        "pleural_effusion": r"effusions?",
        "pneumothorax": r"pneumothorax|pneumothoraces",
        "consolidation": r"consolidations?|air ?space (?:opacit(?:y|ies)|disease)|infiltrates?",
        "atelectasis": r"atelecta\w+",
        "edema": r"o?edema",
        "nodule": r"(?<!calcified )nodules?",
        "calcified_granuloma": r"(?:calcified )?granulomas?|calcified nodules?",
        "mass": r"mass|masses",
        "emphysema": r"emphysem\w+|hyperinflat\w+|hyperexpan\w+",
        "elevated_hemidiaphragm": r"elevat\w+ (?:\w+ ){0,3}?(?:hemi)?diaphragm"
        r"|(?:hemi)?diaphragm (?:\w+ ){0,3}?elevated",
        "hiatal_hernia": r"hiat\w+ hernia",
        "rib_fracture": r"ribs? (?:is |are )?fractur\w+|fractur\w+ (?:\w+ ){0,4}?ribs?",
        "scoliosis": r"scoliosis",
        "tortuous_aorta": r"tortuo\w+ (?:\w+ ){0,4}?aort\w+|aort\w+ (?:\w+ ){0,4}?tortuo\w+",
        "aortic_calcification": r"calcifi\w+ (?:\w+ ){0,4}?aort\w+"
        r"|aort\w+ (?:\w+ ){0,4}?calcifi\w+(?! (?:granuloma|nodule))",
        "scarring": r"scar|scars|scarring",
        "central_line": r"central (?:venous )?(?:line|catheter)s?",
        "endotracheal_tube": r"endotracheal tube",
        "pacemaker": r"pacemakers?",
        "sternotomy_wires": r"sternotomy(?: wires?)?",
        "surgical_clips": r"surgical clips?",
    }.items()
}

_HAN = re.compile("[\u4e00-\u9fff]")
_REWRITES = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        (r"\bbi(basilar|basal|apical)\b", r"bilateral \1"),
        (r"\bdextro ?scoliosis\b", "right scoliosis"),
        (r"\blevo ?scoliosis\b", "left scoliosis"),
        (
            r"\b(?:left|right)(?: sided)? (?:and|(?:greater|larger|less|smaller) than) (?:the )?"
            r"(?:left|right)\b",
            "bilateral",
        ),
        (r"\b(?:no|not|without) (?:(?:significant|significantly|interval) )*changed?\b", "unchanged"),
    )
)

_NEGATION = re.compile(
    r"\b(?:no|not|without|neither|nor|free of|clear of|negative for|absence of|resolution of)\b"
)
_LATE_NEGATION = re.compile(
    r"\b(?P<verb>is|are|was|were|has been|have been|has|have) "
    r"(?:(?:not|no longer) (?:seen|present|identified|noted|visible|evident)|absent|resolved|removed)\b"
)
_SCOPE_END = re.compile(
    r"\b(?:but|however|although|though|except|other than|aside from|apart from"
    r"|there (?:is|are)|and (?:a|an|the|there))\b"
)
_NOT_SCOPE_END = re.compile(rf"{_SCOPE_END.pattern}|\band\b")
_JOINT = re.compile(r"\b(?:and|with|without|or|nor|but|plus)\b")

_SIDE = re.compile(r"\b(left|right|bilateral|bilaterally|both)\b")
_PAIRED = re.compile(r"\b(?:apices|bases)\b")
_ZONE_SIDES: dict[str | None, Side] = {"lingula": "left", "middle lobe": "right"}

_SEVERITY_WORDS = {
    "mild": r"mild|mildly|small|tiny|minimal|slight|slightly",
    "moderate": r"moderate|moderately",
    "severe": r"severe|severely|large|massive|marked|markedly|extensive",
}
_ZONE_WORDS = {
    "upper lobe": r"upper",
    "middle lobe": r"middle|mid",
    "lingula": r"lingula|lingular",
    "lower lobe": r"lower|base|basal|basilar",
    "upper": r"upper|apex|apical",
    "middle": r"middle|mid",
    "lower": r"lower|base|basal|basilar",
    "plate-like": r"plate ?like|linear|discoid|subsegmental",
    "volume loss": r"volume loss|collapse",
    "apical": r"apical|apex|apices|upper",
    "basal": r"basal|basilar|base|bases|lower",
}
_WORDS = {name: re.compile(rf"\b(?:{words})\b") for name, words in (_SEVERITY_WORDS | _ZONE_WORDS).items()}


def parse(text: str) -> frozenset[tuple[str, str | None]]:
    """The findings that `text` asserts as (kind, side); both sides are two pairs.

    The side is None where the kind has none, and where it has one but the text does not say which: such a
    pair equals nothing in a phantom's truth. Never raises, whatever the text.
    """
    return frozenset((reading.kind, reading.side) for reading in _read(text))


def parse_findings(text: str) -> list[Finding]:
    """Like :func:`parse`, in order of mention and with the zone and severity that the text names.

    A finding on both sides comes as two; one that is said twice comes once.
    """
    return [Finding(*reading) for reading in dict.fromkeys(_read(text))]


def _read(text: str) -> Iterator[Reading]:
    text = re.sub(r"(?<=\d)\.(?=\d)", " ", text.lower())
    for sentence in re.split(r"[.;!?。；！？]|\n\s*\n", text):
        if _HAN.search(sentence):
            yield from read_chinese_sentence(sentence)
        else:
            yield from _read_sentence(" ".join(re.findall(r"[a-z0-9]+", sentence)))


@lru_cache(maxsize=65536)
def _read_sentence(sentence: str) -> tuple[Reading, ...]:
    for pattern, words in _REWRITES:
        sentence = pattern.sub(words, sentence)
    mentions = sorted(
        (match.start(), match.end(), kind)
        for kind, pattern in _MENTIONS.items()
        for match in pattern.finditer(sentence)
    )
    denied = _denied_spans(sentence)
    asserted = [
        (kind, own_words)
        for (_, end, kind), own_words in zip(mentions, _own_words(sentence, mentions), strict=True)
        if not any(first < end <= last for first, last in denied)
    ]
    shared = {side for _, own_words in asserted for side in _sides(own_words)}
    readings: list[Reading] = []
    for kind, own_words in asserted:
        zone = _first_named(own_words, KINDS[kind].zones)
        severity = _first_named(own_words, KINDS[kind].severities)
        sides: list[Side] = []
        if KINDS[kind].sides:
            implied = _ZONE_SIDES.get(zone)
            sides = sorted(_sides(own_words) or ({implied} if implied else shared))
        readings.extend(Reading(kind, side, zone, severity) for side in sides or (None,))
    return tuple(readings)


def _own_words(sentence: str, mentions: list[tuple[int, int, str]]) -> list[str]:
    """The part of the sentence that describes each mention: cut at the last joint before the next one."""
    cuts = [0]
    for (_, end, _), (start, _, _) in pairwise(mentions):
        joints = [end + match.start() for match in _JOINT.finditer(sentence[end:start])]
        cuts.append(joints[-1] if joints else end)
    cuts.append(len(sentence))
    return [sentence[first:last] for first, last in pairwise(cuts)][: len(mentions)]


def _denied_spans(sentence: str) -> list[tuple[int, int]]:
    """The parts (start, end) of the sentence that a negation before or after them denies."""
    spans = []
    late = list(_LATE_NEGATION.finditer(sentence))
    for match in late:
        before = sentence[: match.start()]
        starts = [found.end() for found in _SCOPE_END.finditer(before)]
        if match["verb"] in ("is", "was", "has", "has been"):
            starts += [found.end() for found in re.finditer(r"\b(?:and|with)\b", before)]
        spans.append((max(starts, default=0), match.end()))
    for match in _NEGATION.finditer(sentence):
        if any(found.start() <= match.start() < found.end() for found in late):
            continue
        end = (_NOT_SCOPE_END if match.group() == "not" else _SCOPE_END).search(sentence, match.end())
        spans.append((match.start(), end.start() if end else len(sentence)))
    return spans


def _sides(words: str) -> set[Side]:
    named = set(_SIDE.findall(words))
    if named - {"left", "right"} or (not named and _PAIRED.search(words)):
        return {"left", "right"}
    return named


def _first_named(words: str, names: tuple[str, ...]) -> str | None:
    """The one of `names` that `words` says, the earliest where it says several."""
    found = [(match.start(), name) for name in names if (match := _WORDS[name].search(words))]
    return min(found)[1] if found else None

"""Reads the findings out of Chinese text in the language of the phantoms, sentence by sentence.

Blanks and marks do not count, so that a raw text and one whose characters a cleaner parted read the same.
It is made for the grammar of :mod:`cxreport.phantom.language_zh` and near relatives of it, not for reports
from hospitals.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from cxreport.phantom.kinds import KINDS
from cxreport.study import Side


class Reading(NamedTuple):
    """A finding that a sentence asserts, on one side."""

    kind: str
    side: Side | None
    zone: str | None
    severity: str | None


_MENTIONS: dict[str, re.Pattern[str]] = {
    kind: re.compile(pattern)
    for kind, pattern in {
        "cardiomegaly": r"心(?:影|脏).{0,6}?(?:增大|扩大)",
        "pleural_effusion": r"(?<!心包)(?<!关节)(?<!腹腔)积液",
        "pneumothorax": r"气胸|胸腔.{0,6}?积气",
        "consolidation": r"实变",
        "atelectasis": r"不张|膨胀不全",
        "edema": r"(?<!皮下)(?<!软组织)水肿",
        "nodule": r"(?<!钙化)结节",
        "calcified_granuloma": r"肉芽肿|钙化结节",
        "mass": r"肿块|团块",
        "emphysema": r"肺气肿|过度充气",
        "elevated_hemidiaphragm": r"膈[肌面]?.{0,4}?(?:抬高|升高)",
        "hiatal_hernia": r"食管裂孔疝",
        "rib_fracture": r"肋骨?.{0,4}?骨折",
        "scoliosis": r"侧弯",
        "tortuous_aorta": r"主动脉.{0,6}?迂曲",
        "aortic_calcification": r"主动脉.{0,6}?钙化(?!肉芽肿|结节)",
        "scarring": r"瘢痕|纤维(?:灶|条索)",
        "central_line": r"(?:中心|颈内|锁骨下|深)静脉(?:置管|导管)",
        "endotracheal_tube": r"气管(?:内)?插管",
        "pacemaker": r"起搏器",
        "sternotomy_wires": r"胸骨.{0,4}?钢丝",
        "surgical_clips": r"(?:金属|手术|钛)夹",
    }.items()
}

_NEGATION = re.compile(r"未(?:见|发现|显示)|无|没有|不伴|(?:已)?(?:排除|除外)")
_LATE_NEGATION = re.compile(r"(?:已|均已|完全)(?:吸收|消失|消散|拔除|取出|撤除)|阴性|未见显示")
_SCOPE_END = re.compile(r"但|然而|[另可]见|(?<!未)见(?=[左右双两一])|而")
_JOINT = re.compile(r"[及和伴并与或]")

_SIDE = re.compile(r"[左右双两]")
_SIDES: dict[str, tuple[Side, ...]] = {
    "左": ("left",),
    "右": ("right",),
    "双": ("left", "right"),
    "两": ("left", "right"),
}
_ZONE_SIDES: dict[str | None, tuple[Side, ...]] = {"lingula": ("left",), "middle lobe": ("right",)}

_WORDS = {
    name: re.compile(pattern)
    for name, pattern in {
        "mild": r"轻度|轻微|少量|少许|小片",
        "moderate": r"中度|中等?量|(?<![小大])片状",
        "severe": r"重度|大量|大片",
        "upper lobe": r"上叶",
        "middle lobe": r"中叶",
        "lingula": r"舌[段叶]",
        "lower lobe": r"下叶",
        "upper": r"上(?=肺|野|部|肋)",
        "middle": r"中(?=肺|野|部|肋)",
        "lower": r"下(?=肺|野|部|肋)",
        "plate-like": r"盘状|线状|板状",
        "volume loss": r"容积(?:缩小|减小|减少)",
        "apical": r"肺尖",
        "basal": r"肺底|基底",
    }.items()
}


@lru_cache(maxsize=65536)
def read_chinese_sentence(sentence: str) -> tuple[Reading, ...]:
    """What `sentence` asserts; blanks and marks are taken out of it first."""
    sentence = "".join(character for character in sentence if character.isalnum())
    mentions = sorted(
        (match.start(), match.end(), kind)
        for kind, pattern in _MENTIONS.items()
        for match in pattern.finditer(sentence)
    )
    denied = _denied_spans(sentence)
    asserted = [
        (kind, own)
        for (_, end, kind), own in zip(mentions, _own_words(sentence, mentions), strict=True)
        if not any(first < end <= last for first, last in denied)
    ]
    shared = sorted({side for _, own in asserted for side in _sides(own)})
    readings: list[Reading] = []
    for kind, own in asserted:
        zone = _first_named(own, KINDS[kind].zones)
        severity = _first_named(own, KINDS[kind].severities)
        sides: list[Side] = []
        if KINDS[kind].sides:
            sides = sorted(_sides(own)) or list(_ZONE_SIDES.get(zone, ())) or shared
        readings.extend(Reading(kind, side, zone, severity) for side in sides or (None,))
    return tuple(readings)


def _own_words(sentence: str, mentions: list[tuple[int, int, str]]) -> list[str]:
    """The part of the sentence that describes each mention.

    In Chinese the description stands before the finding, so it begins behind the mention before; a joint
    between the two takes what stands before it along.
    """
    cuts = [0]
    for (_, end, _), (start, _, _) in pairwise(mentions):
        joints = [match.end() for match in _JOINT.finditer(sentence, end, max(end, start))]
        cuts.append(joints[0] if joints else end)
    cuts.append(len(sentence))
    return [sentence[first:last] for first, last in pairwise(cuts)][: len(mentions)]


def _denied_spans(sentence: str) -> list[tuple[int, int]]:
    """The parts (start, end) of the sentence that a negation before or after them denies."""
    spans = [(0, match.end()) for match in _LATE_NEGATION.finditer(sentence)]
    for match in _NEGATION.finditer(sentence):
        end = _SCOPE_END.search(sentence, match.end())
        spans.append((match.start(), end.start() if end else len(sentence)))
    return spans


def _sides(words: str) -> set[Side]:
    return {side for sign in _SIDE.findall(words) for side in _SIDES[sign]}


def _first_named(words: str, names: tuple[str, ...]) -> str | None:
    """The one of `names` that `words` says, the earliest where it says several."""
    found = [(match.start(), name) for name in names if (match := _WORDS[name].search(words))]
    return min(found)[1] if found else None

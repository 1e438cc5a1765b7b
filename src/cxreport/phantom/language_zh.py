"""The Chinese grammar of phantoms (simplified). :mod:`cxreport.phantom.parser_zh` reads it back.

No sentence rests on a comma: the cleaner ``characters`` takes commas away.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cxreport.phantom.grammar import BONE_KINDS, CENTRAL_KINDS, LUNG_KINDS, Grammar, NormalStatements, Wording
from cxreport.study import Finding, Report

_DEGREES = ("轻度", "中度", "重度")
_AMOUNTS = ("少量", "中等量", "大量")
_EXTENTS = ("小片状", "片状", "大片状")

_THIRDS = {"upper": ("上", "上", "上"), "middle": ("中", "中", "中"), "lower": ("下", "下", "下")}
_LOBES = {
    "upper lobe": ("上叶", "上叶", "上叶"),
    "middle lobe": ("中叶", "中叶", "中叶"),
    "lingula": ("舌段", "舌段", "舌段"),
    "lower lobe": ("下叶", "下叶", "下叶"),
}
_ENDS = {"apical": ("肺尖", "肺尖", "肺尖"), "basal": ("肺底", "肺底", "肺底")}


def _lung_spot(noun: str) -> Wording:
    """The wording of something round in one third of one lung."""
    return Wording(
        (
            f"{{side}}肺{{zone}}野{noun}。",
            f"{{side}}肺{{zone}}野可见{noun}。",
            f"{{side}}{{zone}}肺野见一{noun}。",
            f"{noun}位于{{side}}肺{{zone}}野。",
        ),
        zones=_THIRDS,
    )


def _either_side(*forms: str, **details: object) -> Wording:
    """Forms that fit one side and both alike."""
    return Wording(forms, forms, **details)  # type: ignore[arg-type]


WORDINGS: dict[str, Wording] = {
    "cardiomegaly": Wording(
        ("心影{severity}增大。", "心脏{severity}增大。", "可见心影{severity}增大。", "心脏{severity}扩大。")
    ),
    "pleural_effusion": _either_side(
        "{side}侧{severity}胸腔积液。",
        "可见{side}侧{severity}胸腔积液。",
        "{side}侧胸腔可见{severity}积液。",
        "{side}侧胸膜腔{severity}积液。",
        severities=_AMOUNTS,
    ),
    "pneumothorax": Wording(
        (
            "{side}侧{severity}气胸。",
            "可见{side}侧{severity}气胸。",
            "{side}侧胸腔可见{severity}积气。",
            "{side}侧胸腔见{severity}气胸征象。",
        ),
        severities=_AMOUNTS,
    ),
    "consolidation": Wording(
        (
            "{side}肺{zone}{severity}实变影。",
            "{side}肺{zone}可见{severity}实变。",
            "{side}肺{zone}见{severity}实变影。",
            "{severity}实变影位于{side}肺{zone}。",
        ),
        severities=_EXTENTS,
        zones=_LOBES,
    ),
    "atelectasis/plate-like": _either_side(
        "{side}肺底盘状不张。",
        "{side}下肺野可见盘状肺不张。",
        "{side}肺底见盘状肺不张。",
        "盘状肺不张位于{side}肺底。",
    ),
    "atelectasis/volume loss": _either_side(
        "{side}肺不张伴容积缩小。",
        "可见{side}肺不张伴容积缩小。",
        "{side}侧肺不张并肺容积减小。",
        "{side}肺不张及容积缩小。",
    ),
    "edema": Wording(
        (
            "{severity}肺水肿。",
            "可见{severity}肺水肿。",
            "双肺{severity}间质性水肿。",
            "两肺呈{severity}肺水肿改变。",
        )
    ),
    "nodule": _lung_spot("结节影"),
    "calcified_granuloma": _lung_spot("钙化肉芽肿"),
    "mass": _lung_spot("肿块影"),
    "emphysema": Wording(
        (
            "{severity}肺气肿。",
            "双肺{severity}肺气肿。",
            "两肺呈{severity}肺气肿改变。",
            "可见{severity}肺气肿。",
        )
    ),
    "elevated_hemidiaphragm": Wording(
        ("{side}侧膈肌抬高。", "{side}膈面抬高。", "可见{side}侧膈肌抬高。", "{side}侧膈面升高。")
    ),
    "hiatal_hernia": Wording(
        ("食管裂孔疝。", "可见食管裂孔疝。", "心影后方见食管裂孔疝。", "食管裂孔疝位于心影后方。")
    ),
    "rib_fracture": Wording(
        (
            "{side}侧{zone}部肋骨骨折。",
            "{side}侧{zone}部肋骨可见骨折。",
            "可见{side}侧{zone}部肋骨骨折。",
            "{side}{zone}肋骨折。",
        ),
        zones=_THIRDS,
    ),
    "scoliosis": Wording(
        (
            "脊柱{severity}侧弯凸向{side}侧。",
            "脊柱{severity}向{side}侧弯。",
            "胸椎{severity}侧弯凸面向{side}。",
            "可见脊柱{severity}{side}凸侧弯。",
        )
    ),
    "tortuous_aorta": Wording(("主动脉迂曲。", "主动脉弓迂曲。", "可见主动脉迂曲。", "胸主动脉走行迂曲。")),
    "aortic_calcification": Wording(
        ("主动脉钙化。", "主动脉弓钙化。", "主动脉壁可见钙化。", "可见主动脉结钙化影。")
    ),
    "scarring": _either_side(
        "{side}{zone}纤维灶。",
        "{side}{zone}可见纤维灶。",
        "{side}{zone}纤维条索影。",
        "{side}{zone}见瘢痕影。",
        zones=_ENDS,
    ),
    "central_line": Wording(
        (
            "{side}侧中心静脉导管。",
            "{side}侧中心静脉导管在位。",
            "可见{side}侧颈内静脉导管影。",
            "{side}侧中心静脉导管尖端位于上腔静脉。",
        )
    ),
    "endotracheal_tube": Wording(
        ("气管插管。", "气管插管在位。", "可见气管插管影。", "气管插管尖端位于隆突上方。")
    ),
    "pacemaker": Wording(
        (
            "{side}胸起搏器。",
            "{side}侧胸壁可见起搏器影。",
            "{side}侧胸部心脏起搏器。",
            "{side}侧胸部起搏器导线位于心影区。",
        )
    ),
    "sternotomy_wires": Wording(("胸骨钢丝。", "胸骨正中钢丝影。", "可见胸骨固定钢丝。", "胸骨缝合钢丝影。")),
    "surgical_clips": Wording(
        ("{side}胸金属夹影。", "可见{side}侧胸部金属夹。", "{side}侧胸壁见手术夹影。", "{side}侧胸部手术夹。")
    ),
}
"""By kind, or by ``kind/zone`` where the zone changes the whole sentence."""

NORMAL_STATEMENTS: NormalStatements = (
    (frozenset(("cardiomegaly",)), ("心影大小正常。", "心脏大小正常。", "心影不大。")),
    (CENTRAL_KINDS, ("纵隔未见增宽。", "纵隔居中无增宽。")),
    (LUNG_KINDS, ("双肺野清晰。", "两肺清晰。", "双肺纹理清晰。")),
    (frozenset(("pleural_effusion",)), ("双侧肋膈角锐利。", "两侧肋膈角清晰。")),
    (frozenset(("edema",)), ("肺血管纹理正常。", "肺血管影正常。")),
    (BONE_KINDS, ("骨质未见异常。", "胸廓骨质未见明显异常。", "所见骨骼完整。")),
)
"""What a statement denies, and its forms."""


def _listed(words: Sequence[str]) -> str:
    return "及".join(filter(None, ("、".join(words[:-1]), words[-1])))


CHINESE = Grammar(
    wordings=WORDINGS,
    severities=_DEGREES,
    adverbs=_DEGREES,
    sides={"left": "左", "right": "右", "bilateral": "双"},
    normal_statements=NORMAL_STATEMENTS,
    denials={"consolidation": "实变", "pleural_effusion": "胸腔积液", "pneumothorax": "气胸"},
    denial_forms=("未见{}。", "无{}。", "未见明显{}。", "未发现{}。"),
    listed=_listed,
    normal_impressions=("心肺未见明显异常。", "胸部未见急性病变。", "心肺膈未见明显异常。"),
    between="",
    finished=str,
)


def write_chinese(findings: Sequence[Finding], rng: np.random.Generator) -> Report:
    """Dictate in Chinese, see :meth:`cxreport.phantom.grammar.Grammar.write`."""
    return CHINESE.write(findings, rng)

"""The English grammar of phantoms. :mod:`cxreport.phantom.parser` reads it back."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from cxreport.phantom.grammar import BONE_KINDS, CENTRAL_KINDS, LUNG_KINDS, Grammar, Wording
from cxreport.study import Finding, Report

_MILD = ("mild", "moderate", "severe")
_SMALL = ("small", "moderate", "large")
_ADVERBS = ("mildly", "moderately", "severely")

_THIRDS = {
    "upper": ("upper", "upper", "upper"),
    "middle": ("mid", "mid", "mid"),
    "lower": ("lower", "lower", "lower"),
}
_LOBES = {
    "upper lobe": ("upper lobe", "upper lobe", "upper lobes"),
    "middle lobe": ("middle lobe", "middle lobe", "middle lobes"),
    "lingula": ("lingular", "lingula", "lingulae"),
    "lower lobe": ("lower lobe", "lower lobe", "lower lobes"),
}
_ENDS = {"apical": ("apical", "apex", "apices"), "basal": ("basal", "base", "bases")}


def _lung_spot(noun: str) -> Wording:
    """The wording of something round in one third of one lung."""
    return Wording(
        (
            f"{{side}} {{zonal}} lung {noun}.",
            f"There is a {noun} in the {{side}} {{zone}} lung.",
            f"A {noun} is seen in the {{side}} {{zone}} lung.",
            f"A {{side}} {{zonal}} lung {noun} is present.",
        ),
        zones=_THIRDS,
    )


WORDINGS: dict[str, Wording] = {
    "cardiomegaly": Wording(
        (
            "{severity} cardiomegaly.",
            "There is {severity} cardiomegaly.",
            "The heart is {adverb} enlarged.",
            "{severity} enlargement of the cardiac silhouette.",
        )
    ),
    "pleural_effusion": Wording(
        (
            "{severity} {side} pleural effusion.",
            "There is a {severity} {side} pleural effusion.",
            "A {severity} pleural effusion is seen on the {side}.",
            "{severity} {side}-sided pleural effusion is present.",
        ),
        bilateral=(
            "{severity} bilateral pleural effusions.",
            "There are {severity} bilateral pleural effusions.",
            "{severity} pleural effusions are seen bilaterally.",
            "{severity} left and right pleural effusions are present.",
        ),
        severities=_SMALL,
    ),
    "pneumothorax": Wording(
        (
            "{severity} {side} pneumothorax.",
            "There is a {severity} {side} pneumothorax.",
            "A {severity} pneumothorax is seen on the {side}.",
            "{severity} {side}-sided pneumothorax is present.",
        ),
        severities=_SMALL,
    ),
    "consolidation": Wording(
        (
            "{severity} {side} {zonal} consolidation.",
            "There is a {severity} consolidation in the {side} {zone}.",
            "{severity} airspace consolidation is seen in the {side} {zone}.",
            "A {severity} {side} {zonal} airspace opacity is present.",
        ),
        severities=_SMALL,
        zones=_LOBES,
    ),
    "atelectasis/plate-like": Wording(
        (
            "{side} basilar plate-like atelectasis.",
            "There is plate-like atelectasis in the {side} base.",
            "Plate-like atelectasis is seen at the {side} lung base.",
            "A band of plate-like atelectasis is present at the {side} base.",
        ),
        bilateral=(
            "Bibasilar plate-like atelectasis.",
            "There is plate-like atelectasis in both lung bases.",
            "Bilateral plate-like atelectasis is seen.",
            "Plate-like atelectasis is present at the left and right base.",
        ),
    ),
    "atelectasis/volume loss": Wording(
        (
            "{side} atelectasis with volume loss.",
            "There is atelectasis of the {side} lung with volume loss.",
            "Atelectasis with volume loss is seen on the {side}.",
            "{side} lung atelectasis and volume loss are present.",
        ),
        bilateral=(
            "Bilateral atelectasis with volume loss.",
            "There is atelectasis of both lungs with volume loss.",
            "Atelectasis with volume loss is seen bilaterally.",
            "Bilateral atelectasis and volume loss are present.",
        ),
    ),
    "edema": Wording(
        (
            "{severity} pulmonary edema.",
            "There is {severity} pulmonary edema.",
            "{severity} interstitial edema is seen.",
            "{severity} edema is present in both lungs.",
        )
    ),
    "nodule": _lung_spot("nodule"),
    "calcified_granuloma": _lung_spot("calcified granuloma"),
    "mass": _lung_spot("mass"),
    "emphysema": Wording(
        (
            "{severity} emphysema.",
            "There is {severity} emphysema.",
            "The lungs are {adverb} hyperinflated.",
            "{severity} emphysematous changes are seen.",
        )
    ),
    "elevated_hemidiaphragm": Wording(
        (
            "Elevated {side} hemidiaphragm.",
            "There is elevation of the {side} hemidiaphragm.",
            "The {side} hemidiaphragm is elevated.",
            "Elevation of the {side} hemidiaphragm is seen.",
        )
    ),
    "hiatal_hernia": Wording(
        (
            "Hiatal hernia.",
            "There is a hiatal hernia.",
            "A hiatal hernia is present.",
            "A hiatal hernia is seen behind the heart.",
        )
    ),
    "rib_fracture": Wording(
        (
            "{side} {zonal} rib fracture.",
            "There is a fracture of a {side} {zonal} rib.",
            "A {side} {zonal} rib fracture is seen.",
            "Fracture of a {side} {zonal} rib is present.",
        ),
        zones=_THIRDS,
    ),
    "scoliosis": Wording(
        (
            "{severity} scoliosis convex to the {side}.",
            "There is {severity} scoliosis convex to the {side}.",
            "{severity} {side} convex scoliosis is seen.",
            "The spine shows {severity} scoliosis with convexity to the {side}.",
        )
    ),
    "tortuous_aorta": Wording(
        (
            "Tortuous aorta.",
            "The aorta is tortuous.",
            "There is a tortuous thoracic aorta.",
            "Tortuosity of the thoracic aorta is seen.",
        )
    ),
    "aortic_calcification": Wording(
        (
            "Aortic calcification.",
            "The aortic arch is calcified.",
            "There is calcification of the aortic arch.",
            "Calcification of the aorta is seen.",
        )
    ),
    "scarring": Wording(
        (
            "{side} {zonal} scarring.",
            "There is scarring at the {side} {zone}.",
            "{side} {zonal} scarring is present.",
            "Scarring is seen at the {side} lung {zone}.",
        ),
        bilateral=(
            "Bi{zonal} scarring.",
            "There is bilateral {zonal} scarring.",
            "Scarring is present at both lung {zones}.",
            "Scarring is seen at the left and right lung {zone}.",
        ),
        zones=_ENDS,
    ),
    "central_line": Wording(
        (
            "{side} central venous catheter.",
            "There is a {side} central venous catheter.",
            "A {side} internal jugular central line is in place.",
            "{side}-sided central line with tip in the superior vena cava.",
        )
    ),
    "endotracheal_tube": Wording(
        (
            "Endotracheal tube in place.",
            "An endotracheal tube is in place.",
            "There is an endotracheal tube with tip above the carina.",
            "The endotracheal tube tip is above the carina.",
        )
    ),
    "pacemaker": Wording(
        (
            "{side} chest pacemaker.",
            "There is a {side}-sided pacemaker.",
            "A pacemaker is in place on the {side}.",
            "A {side} chest pacemaker is seen with leads over the heart.",
        )
    ),
    "sternotomy_wires": Wording(
        (
            "Sternotomy wires.",
            "There are median sternotomy wires.",
            "Sternotomy wires are in place.",
            "Median sternotomy wires are seen.",
        )
    ),
    "surgical_clips": Wording(
        (
            "{side} surgical clips.",
            "There are surgical clips over the {side} chest.",
            "Surgical clips are seen on the {side}.",
            "Surgical clips project over the {side} chest.",
        )
    ),
}
"""By kind, or by ``kind/zone`` where the zone changes the whole sentence."""

NORMAL_STATEMENTS: tuple[tuple[frozenset[str], tuple[str, ...]], ...] = (
    (
        frozenset(("cardiomegaly",)),
        ("Heart size is normal.", "The heart is normal in size.", "The heart is not enlarged."),
    ),
    (CENTRAL_KINDS, ("The mediastinum is normal.", "Mediastinal contours are normal.")),
    (LUNG_KINDS, ("The lungs are clear.", "Lungs are clear bilaterally.", "Both lungs are clear.")),
    (
        frozenset(("pleural_effusion",)),
        ("The costophrenic angles are sharp.", "Both costophrenic angles are sharp."),
    ),
    (frozenset(("edema",)), ("Pulmonary vascularity is normal.", "Normal pulmonary vascularity.")),
    (BONE_KINDS, ("The bones are unremarkable.", "No acute bony abnormality.", "The bones are intact.")),
)
"""What a statement denies, and its forms."""

_DENIALS = {
    "consolidation": "focal consolidation",
    "pleural_effusion": "pleural effusion",
    "pneumothorax": "pneumothorax",
}
_DENIAL_FORMS = ("No {}.", "There is no {}.", "No {} is seen.", "No evidence of {}.")
_NORMAL_IMPRESSIONS = ("No acute cardiopulmonary abnormality.", "No acute disease.", "No acute findings.")


def _listed(words: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _capitalised(sentence: str) -> str:
    return re.sub(r"^\w", lambda letter: letter.group().upper(), sentence)


ENGLISH = Grammar(
    wordings=WORDINGS,
    severities=_MILD,
    adverbs=_ADVERBS,
    sides={"left": "left", "right": "right", "bilateral": "bilateral"},
    normal_statements=NORMAL_STATEMENTS,
    denials=_DENIALS,
    denial_forms=_DENIAL_FORMS,
    listed=_listed,
    normal_impressions=_NORMAL_IMPRESSIONS,
    between=" ",
    finished=_capitalised,
)


def write(findings: Sequence[Finding], rng: np.random.Generator) -> Report:
    """Dictate in English, see :meth:`cxreport.phantom.grammar.Grammar.write`."""
    return ENGLISH.write(findings, rng)

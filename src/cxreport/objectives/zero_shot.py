"""Labels from sentences: an image has what it is nearer to the sentences of than to those of its absence.

As in CheXzero (Tiu et al., 2022) and CLIP's ensembles of prompts: the vectors of all sentences that say a
label is there are averaged, so are those that say it is not, and the score is the difference of the two
similarities. The sentences are such as radiologists write; none was chosen by scores of a test split.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from cxreport.data.text import clean
from cxreport.phantom.kinds import KINDS

if TYPE_CHECKING:
    from cxreport.objectives.contrastive import ContrastivePretraining

Sentences = tuple[str, ...]

NORMAL = (
    "No acute cardiopulmonary abnormality.",
    "The heart is normal in size. The lungs are clear.",
    "No acute disease.",
)
"""These deny every finding."""

_SENTENCES: dict[str, tuple[Sentences, Sentences]] = {
    "cardiomegaly": (
        ("Cardiomegaly.", "The heart is enlarged.", "Enlarged cardiac silhouette.", "Stable cardiomegaly."),
        ("The heart is normal in size.", "Heart size is within normal limits."),
    ),
    "pleural_effusion": (
        ("{side} pleural effusion.", "There is a small {side} pleural effusion.", "Blunting of the {side} "
         "costophrenic angle."),
        ("No pleural effusion.", "The costophrenic angles are clear."),
    ),
    "pneumothorax": (
        ("{side} pneumothorax.", "There is a {side} apical pneumothorax."),
        ("No pneumothorax.",),
    ),
    "consolidation": (
        ("{side} lung consolidation.", "There is airspace disease in the {side} lung.",
         "{side} lobe opacity.", "{side} lower lobe pneumonia."),
        ("No focal consolidation.", "No focal airspace disease."),
    ),
    "atelectasis": (
        ("{side} basilar atelectasis.", "There is subsegmental atelectasis in the {side} base.",
         "{side} lower lobe atelectasis."),
        ("The lungs are well expanded and clear.",),
    ),
    "edema": (
        ("Pulmonary edema.", "Interstitial edema.", "Pulmonary vascular congestion."),
        ("No pulmonary edema.", "Pulmonary vascularity is normal."),
    ),
    "nodule": (
        ("{side} lung nodule.", "There is a nodule in the {side} lung.",
         "Nodular opacity in the {side} lung."),
        ("No suspicious pulmonary nodules.", "No nodules or masses."),
    ),
    "calcified_granuloma": (
        ("{side} calcified granuloma.", "There is a calcified granuloma in the {side} lung.",
         "Calcified granuloma in the {side} upper lobe."),
        ("The lungs are clear.",),
    ),
    "mass": (
        ("{side} lung mass.", "There is a large mass in the {side} lung."),
        ("No nodules or masses.",),
    ),
    "emphysema": (
        ("Emphysema.", "The lungs are hyperinflated.", "Hyperexpanded lungs with flattened diaphragms.",
         "Chronic obstructive pulmonary disease."),
        ("The lungs are normally inflated.",),
    ),
    "elevated_hemidiaphragm": (
        ("Elevated {side} hemidiaphragm.", "There is elevation of the {side} hemidiaphragm."),
        ("The diaphragm is normal.",),
    ),
    "hiatal_hernia": (("Hiatal hernia.", "There is a large hiatal hernia."), ("No hiatal hernia.",)),
    "rib_fracture": (
        ("{side} rib fracture.", "There are {side} rib fractures.", "Old {side} rib fractures."),
        ("No acute bony abnormality.", "No fracture."),
    ),
    "scoliosis": (
        ("{side} scoliosis.", "Scoliosis of the thoracic spine, convex to the {side}."),
        ("The spine is normal.",),
    ),
    "tortuous_aorta": (
        ("Tortuous aorta.", "The thoracic aorta is tortuous.", "Ectasia of the aorta."),
        ("The aorta is normal.", "The mediastinum is unremarkable."),
    ),
    "aortic_calcification": (
        ("Aortic calcification.", "The aorta is calcified.", "Atherosclerotic calcification of the aorta."),
        ("The aorta is normal.", "The mediastinum is unremarkable."),
    ),
    "scarring": (
        ("{side} scarring.", "There is scarring in the {side} lung.", "{side} apical scarring."),
        ("The lungs are clear.",),
    ),
    "central_line": (
        ("{side} central venous catheter.", "There is a {side} PICC line with its tip in the SVC.",
         "{side} Port-A-Cath."),
        ("No lines or tubes.",),
    ),
    "endotracheal_tube": (
        ("Endotracheal tube.", "The endotracheal tube ends above the carina."),
        ("No lines or tubes.",),
    ),
    "pacemaker": (
        ("{side} pacemaker.", "There is a {side} chest pacemaker with leads in the heart."),
        ("No lines or tubes.",),
    ),
    "sternotomy_wires": (
        ("Sternotomy wires.", "There are median sternotomy wires.", "Status post CABG."),
        ("The heart is normal in size.",),
    ),
    "surgical_clips": (
        ("{side} surgical clips.", "There are surgical clips on the {side}."),
        ("The lungs are clear.",),
    ),
}  # fmt: skip
"""By kind: sentences that say it is there, with its side, and sentences that say it is not."""

_OF_LABELS: dict[str, tuple[Sentences, Sentences]] = {
    "Pneumonia": (("Pneumonia.", "Findings consistent with pneumonia."), ("No evidence of pneumonia.",)),
    "Pleural Other": (("Pleural thickening.", "Pleural plaques."), ("No pleural abnormality.",)),
    "No Finding": (NORMAL, ("Abnormal chest.", "There is an abnormality of the chest.")),
}
"""Of the labels that no kind of finding has."""


def sentences_of(target: str) -> tuple[list[str], list[str]]:
    """What says that `target` is there and what says that it is not, uncleaned.

    `target` is a CheXpert label, or a kind with its side as :func:`cxreport.objectives.targets.sided_name`
    writes it. A label has the sentences of all its kinds, on both sides.
    """
    first, _, rest = target.partition(" ")
    if rest in KINDS and first in ("left", "right"):
        return _of_kind(rest, (first,))
    if target in KINDS:
        return _of_kind(target, ("",))
    if target in _OF_LABELS:
        present, absent = _OF_LABELS[target]
        return list(present), list(absent)
    kinds = [kind for kind in KINDS.values() if target in kind.labels]
    parts = [_of_kind(kind.name, ("left", "right") if kind.sides else ("",)) for kind in kinds]
    there, not_there = ([text for part in parts for text in part[place]] for place in (0, 1))
    return list(dict.fromkeys(there)), list(dict.fromkeys(not_there))


def _of_kind(kind: str, sides: Sequence[str]) -> tuple[list[str], list[str]]:
    there, not_there = _SENTENCES[kind]
    present = [text.format(side=side) for side in sides for text in there]
    return present, [*not_there, *NORMAL]


@torch.no_grad()
def zero_shot_scores(
    model: ContrastivePretraining, image_vectors: torch.Tensor, targets: Sequence[str]
) -> np.ndarray:
    """Scores (N, L) of studies with `image_vectors` (N, W) for `targets`; higher where one is likelier."""
    columns = []
    for target in targets:
        there, not_there = (
            functional.normalize(model.text_vectors([clean(text) for text in texts]).mean(dim=0), dim=0)
            for texts in sentences_of(target)
        )
        columns.append(image_vectors @ (there - not_there))
    return torch.stack(columns, dim=1).double().cpu().numpy()

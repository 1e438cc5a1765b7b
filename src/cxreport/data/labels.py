"""Labels of releases as CheXpert's 14: 1 present, 0 absent, -1 uncertain, a missing name not mentioned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cxreport.study import LABELS

NIH_LABELS = {
    "Atelectasis": "Atelectasis",
    "Cardiomegaly": "Cardiomegaly",
    "Consolidation": "Consolidation",
    "Edema": "Edema",
    "Effusion": "Pleural Effusion",
    "Mass": "Lung Lesion",
    "Nodule": "Lung Lesion",
    "Pleural_Thickening": "Pleural Other",
    "Pneumonia": "Pneumonia",
    "Pneumothorax": "Pneumothorax",
}
"""ChestX-ray14's words that mean one of CheXpert's; infiltration, emphysema, fibrosis and hernia do not."""

NIH_WORDS = frozenset((*NIH_LABELS, "Infiltration", "Emphysema", "Fibrosis", "Hernia"))


def chexpert_labels(row: Mapping[str, Any]) -> dict[str, int]:
    """The labels in a row of the official tables, whose cells are ``1.0``, ``0.0``, ``-1.0`` or empty."""
    labels = {}
    for name in LABELS:
        try:
            value = float(row[name])
        except (KeyError, TypeError, ValueError):
            continue
        if value in (-1.0, 0.0, 1.0):
            labels[name] = int(value)
    return labels


def nih_labels(words: Iterable[str]) -> dict[str, int]:
    """ChestX-ray14's words as labels: those that it has words for are 1 or 0, and ``No Finding``."""
    words = set(words)
    labels = dict.fromkeys(NIH_LABELS.values(), 0)
    labels |= {NIH_LABELS[word]: 1 for word in words if word in NIH_LABELS}
    return {**labels, "No Finding": int("No Finding" in words)}

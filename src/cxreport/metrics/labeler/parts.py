"""What a state of a part of the chest says: a normal heart is no cardiomegaly."""

from __future__ import annotations

from cxreport.metrics.labeler.labels import Status

ABNORMAL = frozenset(("enlarged", "prominent"))
"""States that may as well be an adjective of the finding after them ("prominent nodule")."""

_LUNGS = ("Lung Opacity", "Consolidation")
_SIZES: dict[str, Status] = {
    "normal": "negative",
    "clear": "negative",
    "enlarged": "positive",
    "prominent": "positive",
    "borderline": "uncertain",
}
_FINE: dict[str, Status] = {"normal": "negative", "clear": "negative"}
_FULL: dict[str, Status] = dict.fromkeys(("congested", "prominent", "enlarged", "blunted"), "uncertain")

STATES: dict[str, tuple[tuple[str, ...], dict[str, Status]]] = {
    "heart": (("Cardiomegaly",), _SIZES),
    "mediastinum": (("Enlarged Cardiomediastinum",), _SIZES),
    "both": (("Cardiomegaly", "Enlarged Cardiomediastinum"), _SIZES),
    "heart_lung": (("Cardiomegaly", *_LUNGS), _FINE),
    "lung": (_LUNGS, _FINE),
    "pleura": (("Pleural Effusion", "Pneumothorax"), _FINE),
    "angle": (("Pleural Effusion",), {**_FINE, "blunted": "uncertain"}),
    "interstitium": (("Lung Opacity",), {"normal": "negative", "clear": "negative", "prominent": "positive"}),
    "vessels": (("Edema",), _FULL),
    "elsewhere": ((), {}),
}
"""Part: the labels it speaks of, and the status that each state gives them."""

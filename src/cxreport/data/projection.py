"""Words for projections, as DICOM headers and CSV files write them."""

from __future__ import annotations

import re

from cxreport.study import Projection

_FRONTAL = {"PA", "AP", "FRONTAL", "POSTEROANTERIOR", "ANTEROPOSTERIOR", "F"}
_LATERAL = {"L", "LL", "RL", "LAT", "LATERAL", "LLAT", "RLAT", "SAGITTAL"}


def projection_of(text: str) -> Projection | None:
    """The projection that a word or phrase such as ``PA``, ``AP Supine``, ``L`` or ``lateral`` names.

    None when it names none, or both.
    """
    words = set(re.findall(r"[A-Z]+", text.upper()))
    frontal, lateral = bool(words & _FRONTAL), bool(words & _LATERAL)
    if frontal == lateral:
        return None
    return "frontal" if frontal else "lateral"

"""Words for projections, as DICOM headers and CSV files write them."""

from __future__ import annotations

import re

from cxreport.study import Projection

_FRONTAL = {"PA", "AP", "FRONTAL", "POSTEROANTERIOR", "ANTEROPOSTERIOR", "F"}
_LATERAL = {"L", "LL", "RL", "LAT", "LATERAL", "LLAT", "RLAT", "SAGITTAL", "SEITLICH", "PROFIL", "PERFIL"}


def projection_of(text: str) -> Projection | None:
    """The projection that a word or phrase such as ``PA``, ``AP Supine``, ``L`` or ``lateral`` names.

    None when it names none, or both.
    """
    joined = re.sub(r"\b(postero|antero)[ -]+(anterior|posterior)\b", r"\1\2", text, flags=re.IGNORECASE)
    words = set(re.findall(r"[A-Z]+", joined.upper()))
    frontal = bool(words & _FRONTAL or re.search("正侧?位", text))
    lateral = bool(words & _LATERAL or "侧位" in text)
    if frontal == lateral:
        return None
    return "frontal" if frontal else "lateral"

"""What a DICOM header says of a radiograph: its projection and whether it is a chest that may be read.

No sentence from here quotes a text of the header, because any may name the patient: only words and codes of
fixed lists are repeated.
"""

from __future__ import annotations

import re

from pydicom import Dataset

from cxreport.data.projection import projection_of
from cxreport.study import Projection

# SNOMED CT codes and their older SNOMED-RT forms: PS3.16 CID 4010 (views), CID 4 and 4031 (regions).
_VIEW_CODES: dict[str, Projection] = {
    **dict.fromkeys(("399348003", "R-10206", "272479007", "R-40888", "399033003", "R-10202"), "frontal"),
    **dict.fromkeys(("399067008", "R-102CD", "399173006", "R-10236", "399198007", "R-10232"), "lateral"),
    **dict.fromkeys(("399260004", "R-10224", "399352003", "R-10228"), "lateral"),
}
# fmt: off
_CHEST_CODES = frozenset({
    "51185008", "T-D3000", "816094009", "43799004", "T-D3200", "39607008", "T-28000", "113197003", "T-11300",
    "56873002", "T-11210", "51299004", "T-12310", "80891009", "T-32000", "78904004", "416550000", "416775004",
    "417437006", "416319003", "416152001", "310787001", "272710004",
})
_CHEST_WORDS = ("CHEST", "THORA", "TORAX", "LUNG", "PULM", "RIB", "STERNUM", "HEART", "CLAVIC", "CXR", "胸")
_OTHER_PARTS = frozenset({
    "ABDOMEN", "ANKLE", "ARM", "BREAST", "CALCANEUS", "COCCYX", "CSPINE", "ELBOW", "EXTREMITY", "FEMUR",
    "FINGER", "FOOT", "FOREARM", "HAND", "HEAD", "HIP", "HUMERUS", "JAW", "KNEE", "LEG", "LSPINE", "NECK",
    "PATELLA", "PELVIS", "SCAPULA", "SHOULDER", "SKULL", "SPINE", "TIBIA", "TOE", "TSPINE", "WRIST",
})
# fmt: on
_RADIOGRAPHY = {"", "CR", "DX", "DR", "RG", "RF", "XA", "OT", "SC"}
_DAMAGE = (
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    LookupError,
    NotImplementedError,
    OverflowError,
)

TAGS = (
    "AnatomicRegionSequence",
    "BodyPartExamined",
    "BurnedInAnnotation",
    "Modality",
    "PatientOrientation",
    "PresentationIntentType",
    "ProtocolName",
    "SeriesDescription",
    "StudyDescription",
    "ViewCodeSequence",
    "ViewPosition",
)
"""The elements that are looked at here."""


def text_of(dataset: Dataset, keyword: str) -> str:
    """The value as one upper-case text; empty where it is absent or damaged."""
    try:
        return str(dataset.get(keyword) or "").upper().strip()
    except _DAMAGE:
        return ""


def projection(dataset: Dataset) -> Projection | None:
    """From ViewPosition, ViewCodeSequence, PatientOrientation, or SeriesDescription: the first that tells."""
    by_position = projection_of(text_of(dataset, "ViewPosition"))
    if by_position is not None:
        return by_position
    for code in _codes(dataset, "ViewCodeSequence"):
        if code in _VIEW_CODES:
            return _VIEW_CODES[code]
    axes = {direction[:1] for direction in _orientation(dataset)}
    if axes & {"L", "R"} and not axes & {"A", "P"}:
        return "frontal"
    if axes & {"A", "P"} and not axes & {"L", "R"}:
        return "lateral"
    return projection_of(text_of(dataset, "SeriesDescription"))


def suspicions(dataset: Dataset) -> list[str]:
    """Sentences on why the image may not be a fit chest radiograph."""
    notes = []
    part = _other_part(dataset)
    if part:
        notes.append(f"its body part is {part}, not a chest")
    if text_of(dataset, "Modality") not in _RADIOGRAPHY:
        notes.append("its modality is not radiography")
    if text_of(dataset, "PresentationIntentType") == "FOR PROCESSING":
        notes.append("it is raw detector data (FOR PROCESSING), not meant for display")
    if text_of(dataset, "BurnedInAnnotation") == "YES":
        notes.append("it has burned-in annotation, which may name the patient")
    row_direction = (*_orientation(dataset), "")[0]
    if row_direction.startswith("R") and not part:
        notes.append("it is mirrored: the patient's left is on the left of the picture")
    elif row_direction.startswith(("H", "F")) and not part:
        notes.append("it lies on its side: head and feet are left and right of the picture")
    return notes


def _other_part(dataset: Dataset) -> str:
    """A body part other than the chest, in a word of a fixed list or ``another``; empty for a chest.

    BodyPartExamined decides, else the code of the anatomic region, else the descriptions.
    """
    part = text_of(dataset, "BodyPartExamined")
    if part:
        if any(word in part for word in _CHEST_WORDS):
            return ""
        return part if part in _OTHER_PARTS else "another"
    codes = _codes(dataset, "AnatomicRegionSequence")
    if codes:
        return "" if _CHEST_CODES & set(codes) else "another"
    keywords = ("StudyDescription", "SeriesDescription", "ProtocolName")
    described = " ".join(text_of(dataset, keyword) for keyword in keywords)
    if any(word in described for word in _CHEST_WORDS):
        return ""
    named = [word for word in re.findall(r"(?<![A-Z-])[A-Z]+", described) if word in _OTHER_PARTS]
    return named[0] if named else ""


def _codes(dataset: Dataset, keyword: str) -> list[str]:
    try:
        return [
            str(item.get("CodeValue") or item.get("LongCodeValue") or "")
            for item in dataset.get(keyword) or ()
        ]
    except _DAMAGE:
        return []


def _orientation(dataset: Dataset) -> list[str]:
    """The patient directions of rows and columns, such as ``["L", "F"]``; empty where unknown."""
    try:
        value = dataset.get("PatientOrientation")
        return [str(direction).upper() for direction in value] if value and not isinstance(value, str) else []
    except _DAMAGE:
        return []

"""ReXrank's JSON: an object by study id, in the fuller form of CheXpert Plus with its bare NaN."""

from __future__ import annotations

import json
import math
from pathlib import Path

from releases import write_picture

STUDIES = {
    "study_a": {
        "image_path": ["a/view1_frontal.png", "a/view2_lateral.png"],
        "key_image_path": "a/view1_frontal.png",
        "context": "Age:50-60.Gender:M.Indication: Cough. Comparison: None.",
        "frontal_lateral": ["Frontal", "Lateral"],
        "section_findings": "Clear lungs.",
        "section_impression": "Normal.",
        "report": "FINDINGS: Clear lungs. IMPRESSION: Normal.",
        "split": "test",
        "subject_id": 19000001,
        "ap_pa": math.nan,
    },
    "study_b": {
        "image_path": ["b/0.png"],
        "key_image_path": "b/0.png",
        "context": "Age:20-30.Gender:F.Indication: . Comparison: .",
        "frontal_lateral": ["Frontal"],
        "section_findings": math.nan,
        "section_impression": "Mild edema, 肺水肿.",
        "report": "IMPRESSION: Mild edema.",
        "split": "test",
        "subject_id": 19000002,
        "ap_pa": "AP",
    },
}


def make(folder: Path) -> Path:
    """Returns the JSON; the images lie under ``images``."""
    for seed, name in enumerate(name for study in STUDIES.values() for name in study["image_path"]):
        write_picture(folder / "images" / name, seed)
    path = folder / "ReXRank_test.json"
    path.write_text(json.dumps(STUDIES, ensure_ascii=False, indent=4), encoding="utf-8")
    return path

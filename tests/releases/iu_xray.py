"""R2Gen's iu_xray.zip: ``annotation.json`` and two PNG files a study."""

from __future__ import annotations

import json
from pathlib import Path

from releases import write_picture

STUDIES = {
    "train": {"CXR9001_IM-0001": "The lungs are XXXX clear.", "CXR9002_IM-0002": "Heart is large."},
    "val": {"CXR9003_IM-0003-1001": "No effusion."},
    "test": {"CXR9004_IM-0004": "A nodule of 1.5 cm is on the left.", "CXR9005_IM-0005": " "},
}


def make(folder: Path, *, blank_key: bool = False, images: bool = True) -> None:
    """With `blank_key` as in an odd copy: the key of the test split is blank."""
    tree = {}
    for split, studies in STUDIES.items():
        key = "" if blank_key and split == "test" else split
        tree[key] = [
            {"id": name, "report": text, "image_path": [f"{name}/0.png", f"{name}/1.png"], "split": split}
            for name, text in studies.items()
        ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "annotation.json").write_text(json.dumps(tree))
    for place, name in enumerate(name for studies in STUDIES.values() for name in studies):
        for view in range(2 * images):
            write_picture(folder / "images" / name / f"{view}.png", 10 * place + view)

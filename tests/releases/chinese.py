"""Chinese reports: ``image_finding`` in R2Gen's JSON, or a CSV as a hospital's spreadsheet saves it."""

from __future__ import annotations

import json
from pathlib import Path

from releases import write_picture

REPORTS = (
    ("zh1", "train", "胸廓对称，双肺纹理清晰。心影不大。", "未见明显异常。"),
    ("zh2", "train", "右肺见约１．５cm结节影。", "右肺结节。"),
    ("zh3", "val", "左侧胸腔积液。", ""),
    ("zh4", "test", "双肺 纹理 增多。", "支气管炎。"),
)


def make(folder: Path) -> Path:
    """The JSON; no patients."""
    tree: dict[str, list[object]] = {"train": [], "val": [], "test": []}
    for seed, (name, split, findings, impressions) in enumerate(REPORTS):
        record = {"id": name, "image_finding": findings, "impressions": impressions, "split": split}
        tree[split].append({**record, "image_path": [f"{name}.png"]})
        write_picture(folder / f"{name}.png", seed)
    path = folder / "annotation.json"
    path.write_text(json.dumps(tree, ensure_ascii=False), encoding="utf-8")
    return path


def make_csv(folder: Path, encoding: str = "gb18030") -> Path:
    """A row an image: two rows for the first study."""
    rows = ["检查号,病人编号,图像路径,影像所见,影像诊断"]
    for place, (name, _, findings, impressions) in enumerate(REPORTS):
        rows += [f"{name},p{place},{name}.png,{findings},{impressions}"]
        write_picture(folder / f"{name}.png", place)
    rows.insert(2, rows[1].replace("zh1.png", "zh1b.png"))
    write_picture(folder / "zh1b.png", 20)
    path = folder / "reports.csv"
    path.write_text("\n".join(rows) + "\n", encoding=encoding)
    return path

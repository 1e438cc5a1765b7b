"""How well the contour of a chest agrees with the lungs of phantoms and the finding boxes of real X-rays.

    python benchmarks/contour.py [--phantoms 60] [--size 192] [--quick] [--json FILE]
    python benchmarks/contour.py --real DATASET [--real DATASET] [--json FILE]

On phantoms: the mean overlap (intersection over union) with the convex hull of the true lung fields, of the
contour and of the published rectangle, with 95 % bootstrap intervals, and how many images have no contour.

On prepared datasets, where no lung is drawn but some findings have a box (NIH ChestX-ray14): the share of
the boxes of lung findings that lies inside the region, beside the share of the picture that the region takes,
so that a larger region wins nothing. Three regions are compared: the contour, the published rectangle, and
the contour of another image, which has the sizes of contours but knows nothing of this image. Images are of
the train split; intervals are by bootstrap over patients.
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cxreport.data.images import decode
from cxreport.data.store import PreparedDataset
from cxreport.encoders.contour import Mask, convex_hull, find_contour, published_box
from cxreport.metrics.statistics import Tally, difference, group_numbers, mean_tally, scores_of
from cxreport.phantom.make import sample_findings
from cxreport.phantom.truth import frontal_and_lungs

SEED = 9223
SIZE = 256
OUTSIDE_LUNGS = ("Cardiomegaly", "Hernia")
"""Kinds whose boxes are not boxes of lung."""


def overlap(one: Mask, other: Mask) -> float:
    """Intersection over union of two masks."""
    return float((one & other).sum() / (one | other).sum())


def on_phantoms(count: int, size: int) -> dict[str, Any]:
    """Overlaps with the hull of the true lungs of phantoms with random findings, seeds from 0."""
    found, box, missed = [], [], 0
    for seed in range(count):
        findings = sample_findings(np.random.default_rng(seed))
        view, lungs = frontal_and_lungs(findings, size, 1000 + seed)
        hull = convex_hull(lungs)
        contour = find_contour(np.asarray(Image.open(io.BytesIO(view.image))))
        missed += not contour.found
        found.append(overlap(contour.hull, hull))
        box.append(overlap(published_box(*hull.shape), hull))
    scores = scores_of(
        [mean_tally("contour", np.array(found)), mean_tally("rectangle", np.array(box))], seed=SEED
    )
    return {"scores": scores, "images": count, "without_contour": missed, "least": min(found)}


def on_real(folders: list[Path]) -> dict[str, Any]:
    """Shares of finding boxes inside the contour, the rectangle and the contour of another image."""
    hulls, boxes, patients, images, missed = [], [], [], 0, 0
    for folder in folders:
        for study in PreparedDataset.open(folder).split("train"):
            for view in study.views:
                if view.projection == "lateral":
                    continue
                images += 1
                contour = find_contour(decode(view, SIZE))
                missed += not contour.found
                mine = [
                    finding.boxes["frontal"]
                    for finding in study.findings or ()
                    if "frontal" in finding.boxes and finding.kind not in OUTSIDE_LUNGS
                ]
                if mine:
                    hulls.append(contour.hull)
                    boxes.append(_painted(mine))
                    patients.append(study.patient_id)
    result: dict[str, Any] = {"images": images, "without_contour": missed, "boxed_images": len(hulls)}
    if hulls:
        others = [hulls[place - len(hulls) // 2] for place in range(len(hulls))]
        regions = {"contour": hulls, "rectangle": [published_box(SIZE, SIZE)] * len(hulls), "other": others}
        tallies = {name: _tally(region, boxes) for name, region in regions.items()}
        for name in ("rectangle", "other"):
            tallies[f"contour - {name}"] = difference(tallies["contour"], tallies[name])
        named = [_named(name, tally) for name, tally in tallies.items()]
        result["scores"] = scores_of(named, seed=SEED, groups=group_numbers(patients))
    return result


def _painted(boxes: list[tuple[float, float, float, float]]) -> Mask:
    """The union (SIZE, SIZE) of `boxes`, which are fractions of the picture."""
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    for box in boxes:
        left, top, right, bottom = (round(edge * SIZE) for edge in box)
        mask[top : max(bottom, top + 1), left : max(right, left + 1)] = True
    return mask


def _tally(regions: list[Mask], boxes: list[Mask]) -> Tally:
    """Mean share of the boxes inside the regions, mean size of the regions, and the one over the other."""
    inside = [(box & region).sum() / box.sum() for box, region in zip(boxes, regions, strict=True)]
    sizes = [region.mean() for region in regions]
    statistics = np.stack([inside, sizes, np.ones(len(sizes))], axis=1)

    def aggregate(sums: np.ndarray) -> np.ndarray:
        inside, size, count = np.moveaxis(sums, -1, 0)
        return np.stack([inside / count, size / count, inside / size], axis=-1)

    return Tally(("box inside", "size", "inside over size"), statistics, aggregate)


def _named(name: str, tally: Tally) -> Tally:
    return Tally(tuple(f"{name}: {score}" for score in tally.names), tally.statistics, tally.aggregate)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--phantoms", type=int, default=60)
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--real", type=Path, action="append", help="a prepared dataset instead of phantoms")
    parser.add_argument("--quick", action="store_true", help="four phantoms")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.real:
        result = on_real(options.real)
    else:
        result = on_phantoms(4 if options.quick else options.phantoms, options.size)
    for name, score in result.get("scores", {}).items():
        low, high = score["ci95"]
        print(f"{name:36} {score['value']:.3f} [{low:.3f}, {high:.3f}]  n {score['n']}")
    print(f"{result['without_contour']} of {result['images']} without a contour")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()

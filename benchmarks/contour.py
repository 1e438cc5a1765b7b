"""How well the contour of a chest agrees with the true lungs of phantoms.

    python benchmarks/contour.py [--phantoms 60] [--size 192]

Prints the mean overlap (intersection over union) with the convex hull of the true lung fields, with its 95 %
bootstrap interval, of the contour and of the published rectangle, and how many images have no contour.
"""

from __future__ import annotations

import argparse
import io

import numpy as np
from PIL import Image

from cxreport.encoders.contour import convex_hull, find_contour, published_box
from cxreport.metrics.statistics import mean_tally, scores_of
from cxreport.phantom.make import sample_findings
from cxreport.phantom.truth import frontal_and_lungs

SEED = 9223


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two masks."""
    return float((one & other).sum() / (one | other).sum())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--phantoms", type=int, default=60)
    parser.add_argument("--size", type=int, default=192)
    options = parser.parse_args()
    found, box, missed = [], [], 0
    for seed in range(options.phantoms):
        findings = sample_findings(np.random.default_rng(seed))
        view, lungs = frontal_and_lungs(findings, options.size, 1000 + seed)
        hull = convex_hull(lungs)
        contour = find_contour(np.asarray(Image.open(io.BytesIO(view.image))))
        missed += not contour.found
        found.append(overlap(contour.hull, hull))
        box.append(overlap(published_box(*hull.shape), hull))
    for name, values in (("contour", found), ("rectangle", box)):
        score = scores_of([mean_tally(name, np.array(values))], seed=SEED)[name]
        low, high = score["ci95"]
        print(f"{name:10} mean {score['value']:.3f} [{low:.3f}, {high:.3f}]  least {min(values):.3f}")
    print(f"{missed} of {options.phantoms} without a contour")


if __name__ == "__main__":
    main()

"""The pointing game: does the map of a sentence about a true finding point at that finding?

Source: Zhang et al., "Top-down Neural Attention by Excitation Backprop", ECCV 2016: a map hits when its
highest place lies in the box. The truth is that of phantoms, whose findings have boxes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cxreport.metrics.counts import ratio
from cxreport.metrics.statistics import Tally
from cxreport.phantom.parser import parse
from cxreport.study import Box, Finding, Projection, sided_kinds

NAMES = ("pointing_hits", "pointing_chance", "pointing_others")


def pointing(records: Sequence[Mapping[str, Any]], findings: Sequence[Sequence[Finding]]) -> Tally:
    """Hits over N studies; `records` are lines of a predictions file with maps, `findings` their truth.

    A sentence counts when it names a true (kind, side) that has a box in a view with a map.
    ``pointing_hits`` is the share of such sentences whose highest cell has its centre in a box of theirs,
    ``pointing_chance`` the mean share of cells whose centre lies there, and ``pointing_others`` the share of
    the draft's other sentences with a map whose highest cell lies in the same boxes: where a map points
    whatever the sentence. A sentence with an empty map misses.
    """
    rows = [_study(record["evidence"], truth) for record, truth in zip(records, findings, strict=True)]
    statistics = np.array(rows, dtype=np.float64).reshape(-1, 5)
    return Tally(NAMES, statistics, lambda sums: ratio(sums[..., :3], sums[..., [3, 3, 4]]))


def inside(grid: tuple[int, int], boxes: Sequence[Box]) -> np.ndarray:
    """Which cells (h, w) of a view have their centre in one of `boxes`."""
    height, width = grid
    rows = (np.arange(height) + 0.5)[:, None] / height
    columns = (np.arange(width) + 0.5)[None, :] / width
    found = np.zeros((height, width), dtype=bool)
    for left, top, right, bottom in boxes:
        found |= (left <= columns) & (columns < right) & (top <= rows) & (rows < bottom)
    return found


def _study(sentences: Sequence[Mapping[str, Any]], truth: Sequence[Finding]) -> list[float]:
    """Hits, summed chance and summed share of other sentences that hit; sentences that have each."""
    sums = [0.0] * 5
    said = [parse(sentence["sentence"]) for sentence in sentences]
    for place, sentence in enumerate(sentences):
        meant = [finding for finding in truth if sided_kinds([finding]) & said[place]]
        cells = _cells(sentence, meant)
        if not cells:
            continue
        others = [
            _hits(other["maps"], cells)
            for number, other in enumerate(sentences)
            if other["maps"] and not said[number] & said[place]
        ]
        sums[0] += _hits(sentence["maps"], cells)
        sums[1] += sum(one.sum() for one in cells.values()) / sum(one.size for one in cells.values())
        sums[3] += 1
        if others:
            sums[2] += sum(others) / len(others)
            sums[4] += 1
    return sums


def _cells(sentence: Mapping[str, Any], meant: Sequence[Finding]) -> dict[int, np.ndarray]:
    """The cells of every view's map that lie in a box of `meant`; nothing where no cell does."""
    cells = {}
    for seen in sentence["maps"]:
        projection: Projection = seen["projection"] or "frontal"
        boxes = [finding.boxes[projection] for finding in meant if projection in finding.boxes]
        cells[seen["view"]] = inside(tuple(seen["grid"]), boxes)
    return cells if any(one.any() for one in cells.values()) else {}


def _hits(maps: Sequence[Mapping[str, Any]], cells: Mapping[int, np.ndarray]) -> bool:
    highest = max(maps, key=lambda seen: max(seen["values"]))
    values = np.array(highest["values"])
    return bool(values.max() > 0 and cells[highest["view"]].flat[int(values.argmax())])

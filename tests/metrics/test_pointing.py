"""The pointing game on maps whose highest place is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cxreport.metrics.pointing import inside, pointing
from cxreport.study import Finding

LEFT = Finding("pleural_effusion", "left", severity="mild", boxes={"frontal": (0.5, 0.5, 1.0, 1.0)})
NODULE = Finding("nodule", "right", "upper", boxes={"lateral": (0.0, 0.0, 0.25, 0.25)})


def sentence(text: str, values: list[float], projection: str = "frontal") -> dict[str, Any]:
    return {
        "sentence": text,
        "maps": [{"view": 0, "projection": projection, "grid": [2, 2], "values": values}],
    }


def test_cells_count_by_their_centre() -> None:
    expected = np.zeros((4, 4), dtype=bool)
    expected[1:3, 2:] = True
    assert np.array_equal(inside((4, 4), [(0.6, 0.26, 1.0, 0.74)]), expected)
    assert not inside((2, 2), [(0.0, 0.0, 0.2, 0.2)]).any()


def test_hits_chance_and_other_sentences_by_hand() -> None:
    records = [
        {
            "evidence": [
                sentence("small left pleural effusion .", [0.0, 0.2, 0.0, 1.0]),  # hits, one cell of four
                sentence("the heart is not enlarged .", [1.0, 0.0, 0.0, 0.0]),
                sentence("the lungs are clear .", [0.0, 0.0, 0.0, 1.0]),
            ]
        },
        {"evidence": [sentence("small left pleural effusion .", [0.0, 0.0, 1.0, 0.0])]},  # misses
        {"evidence": [sentence("small right pleural effusion .", [0.0, 0.0, 0.0, 1.0])]},  # not true
        {"evidence": [sentence("right upper lung nodule .", [1.0, 0.0, 0.0, 0.0])]},  # no box in this view
        {"evidence": []},
    ]
    tally = pointing(records, [[LEFT], [LEFT], [LEFT], [NODULE], [LEFT]])
    assert dict(zip(tally.names, tally.values().tolist(), strict=True)) == {
        "pointing_hits": 0.5,
        "pointing_chance": 0.25,
        "pointing_others": 0.5,
    }


def test_an_empty_map_misses_and_chinese_is_read() -> None:
    text = "左 侧 少 量 胸 腔 积 液 ."
    first = Finding("pleural_effusion", "left", severity="mild", boxes={"frontal": (0.0, 0.0, 0.5, 0.5)})
    records = [{"evidence": [sentence(text, values)]} for values in ([0.0] * 4, [1.0, 0.0, 0.0, 0.0])]
    assert pointing(records, [[first], [first]]).per_sample()[:, 0].tolist() == [0.0, 1.0]


@pytest.mark.parametrize(("highest", "hit"), [("frontal", 1.0), ("lateral", 0.0)])
def test_the_view_with_the_highest_cell_points(highest: str, hit: float) -> None:
    one = sentence("small left pleural effusion .", [0.0, 0.0, 0.0, 1.0 if highest == "frontal" else 0.5])
    lateral = sentence("", [0.5 if highest == "frontal" else 1.0, 0.0, 0.0, 0.0], "lateral")["maps"][0]
    one["maps"].append(lateral | {"view": 1})
    assert pointing([{"evidence": [one]}], [[LEFT]]).values()[0] == hit

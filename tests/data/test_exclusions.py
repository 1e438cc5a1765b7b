from __future__ import annotations

import pytest

from cxreport.data.exclusions import Excluded, Exclusions


def test_counts_and_summary():
    exclusions = Exclusions()
    assert exclusions.summary() == "nothing left out"
    exclusions.add("a", "empty report")
    exclusions.add("b.png", "unreadable image", "b.png is empty (0 bytes).")
    exclusions.add("c", "empty report")
    assert exclusions.counts == {"empty report": 2, "unreadable image": 1}
    assert exclusions.summary() == "3 left out: empty report (2), unreadable image (1)"
    assert len(exclusions) == 3


def test_json_round_trip():
    exclusions = Exclusions()
    exclusions.add("b.png", "unreadable image", "b.png is empty (0 bytes).")
    assert Exclusions.from_json(exclusions.as_json()).items == exclusions.items


@pytest.mark.parametrize(
    ("item", "detail", "line"),
    [
        ("12.png", "12.png is empty (0 bytes).", "12.png is empty (0 bytes)."),
        ("a b.png", "There is no file a b.png.", "There is no file a b.png."),
        ("12", "12.png is empty (0 bytes).", "12: 12.png is empty (0 bytes)."),
        ("s7", "", "s7: empty report"),
    ],
)
def test_a_line_names_its_item_once(item: str, detail: str, line: str) -> None:
    assert Excluded(item, "empty report", detail).line == line

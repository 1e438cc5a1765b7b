from __future__ import annotations

from cxreport.data.exclusions import Exclusions


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

"""Side and severity of a finding, from the words around it in its segment of the sentence."""

from __future__ import annotations

from typing import cast

from cxreport.metrics.labeler.labels import Severity
from cxreport.metrics.labeler.scope import Reading, SentenceReader
from cxreport.study import Side


def side_of(reader: SentenceReader, reading: Reading) -> Side | None:
    """The side said before the finding in its segment, else after it; both sides are bilateral."""
    if not reader.sides:
        return None
    here = [(place, side) for place, segment, side in reader.sides if segment == reading.segment]
    before = [side for place, side in here if place < reading.end]
    after = [side for place, side in here if place >= reading.end]
    taken = {one.segment for one in reader.readings}
    lone = {
        segment: side
        for _, segment, side in reader.sides
        if segment not in taken and abs(segment - reading.segment) == 1
    }
    sides = before or after
    if before and reading.segment - 1 in lone:
        sides = [*before, lone[reading.segment - 1]]
    elif after and reading.segment + 1 in lone:
        sides = [*after, lone[reading.segment + 1]]
    if not sides:
        return None
    if "bilateral" in sides or {"left", "right"} <= set(sides):
        return "bilateral"
    return cast(Side, sides[-1])


def severity_of(reader: SentenceReader, reading: Reading) -> Severity | None:
    """The last severity before the finding and after the one before it, else the first after it."""
    here = [(place, value) for place, segment, value in reader.severities if segment == reading.segment]
    if not here:
        return None
    earlier = max(
        (one.end for one in reader.readings if one.segment == reading.segment and one.end <= reading.start),
        default=0,
    )
    before = [value for place, value in here if earlier <= place < reading.end]
    if before:
        return cast(Severity, before[-1])
    later = [
        one.start for one in reader.readings if one.segment == reading.segment and one.start >= reading.end
    ]
    after = [value for place, value in here if place >= reading.end and not later]
    return cast(Severity, after[0]) if after else None

"""Side and severity of a finding, from the words around it in its segment of the sentence."""

from __future__ import annotations

from collections import defaultdict
from typing import cast

from cxreport.metrics.labeler.labels import Severity
from cxreport.metrics.labeler.scope import Reading, SentenceReader
from cxreport.study import Side


class Attributes:
    """The sides and severities of one sentence, by segment."""

    def __init__(self, reader: SentenceReader) -> None:
        self._sides: defaultdict[int, list[tuple[int, str]]] = defaultdict(list)
        self._severities: defaultdict[int, list[tuple[int, str]]] = defaultdict(list)
        self._readings: defaultdict[int, list[Reading]] = defaultdict(list)
        for place, segment, side in reader.sides:
            self._sides[segment].append((place, side))
        for place, segment, severity in reader.severities:
            self._severities[segment].append((place, severity))
        for reading in reader.readings:
            self._readings[reading.segment].append(reading)

    def side(self, reading: Reading) -> Side | None:
        """The side said before the finding in its segment, else after it; both sides are bilateral."""
        here = self._sides.get(reading.segment, [])
        before = [side for place, side in here if place < reading.end]
        if before:
            sides = [*before, *self._lone(reading.segment - 1)]
        elif here:
            sides = [*(side for _, side in here), *self._lone(reading.segment + 1)]
        else:
            return None
        if "bilateral" in sides or {"left", "right"} <= set(sides):
            return "bilateral"
        return cast(Side, sides[0])

    def _lone(self, segment: int) -> list[str]:
        """The sides of a segment without a finding of its own ("left and right effusions")."""
        if segment in self._readings:
            return []
        return [side for _, side in self._sides.get(segment, [])]

    def severity(self, reading: Reading) -> Severity | None:
        """The last severity before the finding and after the one before it, else the first after it."""
        here = self._severities.get(reading.segment)
        if not here:
            return None
        others = [one for one in self._readings[reading.segment] if one is not reading]
        earlier = max((one.end for one in others if one.end <= reading.start), default=0)
        later = min((one.start for one in others if one.start >= reading.end), default=None)
        before = [value for place, value in here if earlier <= place < reading.end]
        after = [value for place, value in here if place >= reading.end and later is None]
        chosen = before[-1:] or after[:1]
        return cast(Severity, chosen[0]) if chosen else None

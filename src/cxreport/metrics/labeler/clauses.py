"""Where the clauses of a sentence begin, and what stands ahead in them."""

from __future__ import annotations

from collections.abc import Sequence

from cxreport.metrics.labeler.phrases import Event

SEPARATORS = frozenset(("comma", "and", "or"))
DENIALS = frozenset(("no", "not", "no_that", "gone", "asserted"))

_ENDS = SEPARATORS | {"break", "open", "close"}
_OPENERS = DENIALS | {"doubt", "doubtful", "history", "start", "severity", "state"}
"""A list of denied findings does not go on with one of these ("no effusion, small pneumothorax")."""


class Clauses:
    """Looks ahead from a place in the events of a sentence; a segment ends at a separator or a break."""

    def __init__(self, events: Sequence[Event]) -> None:
        self._events = events

    def ahead(self, place: int) -> list[Event]:
        """The events after `place` up to the end of its segment."""
        following = []
        for event in self._events[place + 1 :]:
            if event.role in _ENDS:
                break
            following.append(event)
        return following

    def next(self, place: int) -> Event | None:
        """The event after `place`, if it is in the same segment."""
        following = self._events[place + 1 : place + 2]
        return following[0] if following and following[0].role not in _ENDS else None

    def noun_ahead(self, place: int) -> Event | None:
        """The first finding or part of the chest in the rest of the segment."""
        return next((one for one in self.ahead(place) if one.role in ("find", "part")), None)

    def follows(self, place: int, role: str) -> bool:
        """Whether the event before `place` has the role."""
        return place > 0 and self._events[place - 1].role == role

    def list_ahead(self, place: int) -> bool:
        """Whether an "or" is to come before a break or a denial: a list goes on."""
        for event in self._events[place + 1 :]:
            if event.role == "or":
                return True
            if event.role == "break" or event.role in DENIALS:
                return False
        return False

    def begins(self, place: int) -> bool:
        """Whether a clause of its own follows the separator at `place`."""
        if place + 1 >= len(self._events):
            return False
        first = self._events[place + 1]
        if first.role in SEPARATORS:
            return False
        if first.role == "break" or first.role in DENIALS:
            return True
        if self._events[place].role == "or":
            return False
        following = self.ahead(place)
        roles = {one.role for one in following}
        if _says_something(following) or (first.role in ("part", "weak_part") and "state" in roles):
            return True
        starts = (
            first.role in _OPENERS
            or (first.role in ("side", "change") and "find" in roles)
            or (first.role == "large" and "side" in roles)
        )
        return starts and not self.list_ahead(place)


def is_part(event: Event | None) -> bool:
    """Whether an event is there and is a part of the chest."""
    return event is not None and event.role == "part"


def _says_something(events: Sequence[Event]) -> bool:
    """Whether a segment has a subject and a predicate, other than that a list is (not) seen."""
    for place, event in enumerate(events):
        if event.role in ("absent_after", "doubt_after"):
            return any(one.role == "find" for one in events[:place])
        if event.role == "verb" and (place + 1 == len(events) or events[place + 1].role != "seen"):
            return place > 0 and place + 1 < len(events)
    return False

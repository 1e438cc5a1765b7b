"""The Chinese labeler: the terms of a sentence, and the reach of each cue in its clause."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple, cast

from cxreport.data.sentences import lowered
from cxreport.metrics.labeler import chinese_vocabulary as vocabulary
from cxreport.metrics.labeler.labels import SUPPORT_DEVICES, Mention, Severity, Status
from cxreport.metrics.labeler.parts import STATES
from cxreport.study import Side

_SENTENCE = re.compile(r"(?:[^。；;！!\n.]|\.(?=\d)){1,400}")
"""A full stop is Chinese or, as cleaners write it, narrow; a decimal point is none. A text without full stops
is cut, so that time grows with its length."""
_HEADING = re.compile(
    r"(?P<skip>临床(?:诊断|资料|信息)|检查目的|主诉|现病史|病史|检查(?:方法|技术|部位)|对比|申请目的)[:：]"
    r"|(?:影像|检查|放射学?|x线)?(?:所见|表现|描述|印象|诊断|意见|结论|提示)[:：]"
)
_NUMBER = re.compile(r"^\s*[(（]?\d{1,2}[.、)）]\s*")


class _Event(NamedTuple):
    role: str
    value: str
    start: int
    end: int


class _Found:
    __slots__ = ("clause", "cue", "end", "joined", "labels", "role", "start", "status")

    def __init__(self, labels: Sequence[str], status: Status, start: int, end: int, clause: int) -> None:
        self.labels, self.status, self.start, self.end, self.clause = labels, status, start, end, clause
        self.cue = self.role = ""
        self.joined = False


def _alternatives() -> list[tuple[str, str, re.Pattern[str]]]:
    """(role, value, pattern) of every entry of the vocabulary."""
    tables: tuple[tuple[str, dict[str, tuple[str, ...]]], ...] = (
        ("find", vocabulary.FINDINGS),
        ("implied", vocabulary.IMPLIED),
        ("part", vocabulary.PARTS),
        ("state", vocabulary.STATES),
    )
    entries = [(role, value, "|".join(phrases)) for role, table in tables for value, phrases in table.items()]
    for table in (vocabulary.CUES, vocabulary.LIMITS):
        entries += [(role, role, "|".join(phrases)) for role, phrases in table.items()]
    return [(role, value, re.compile(pattern)) for role, value, pattern in entries]


_ALTERNATIVES = _alternatives()
_PRIORITY = {"find": 0, "implied": 0, "state": 1, "same": 2, "less": 2}
_SIDES = [(side, re.compile(pattern)) for side, pattern in vocabulary.SIDES.items()]
_PLACED = re.compile(vocabulary.PLACED)
_SEVERITIES = [(name, re.compile(pattern)) for name, pattern in vocabulary.SEVERITIES.items()]


def _events(sentence: str) -> list[_Event]:
    """The longest entries of the sentence from left to right; two labels with the same match both count."""
    matches = [
        (match.start(), match.start() - match.end(), _PRIORITY.get(role, 3), role, value, match.end())
        for role, value, pattern in _ALTERNATIVES
        for match in pattern.finditer(sentence)
        if match.end() > match.start()
    ]
    events: list[_Event] = []
    place = 0
    for start, _, _, role, value, end in sorted(matches):
        same = bool(events) and events[-1].start == start and events[-1].end == end
        if start >= place:
            events.append(_Event(role, value, start, end))
            place = end
        elif same and role == "find" and events[-1].role == "find":
            events[-1] = events[-1]._replace(value=f"{events[-1].value}|{value}")
        elif same and role == "doubt_after" and events[-1].role == "doubt":
            events[-1] = events[-1]._replace(value="either")
    return events


class _ClauseReader:
    """Reads the events of one sentence left to right."""

    def __init__(self, sentence: str) -> None:
        self.found: list[_Found] = []
        self._sentence, self._events = sentence, _events(sentence)
        self._scope: tuple[Status, _Event] | None = None
        self._parts: list[_Event] = []
        self._clause = 0
        self._joined = False
        for place, event in enumerate(self._events):
            self._place = place
            self._read(event)

    def _read(self, event: _Event) -> None:
        role = event.role
        if role in ("find", "implied"):
            self._find(event)
        elif role == "part":
            self._parts.append(event)
        elif role == "state":
            self._state(event)
        elif role == "no":
            if self._find_ahead():
                self._scope = ("negative", event)
            else:
                self._reach_back("negative", event)
        elif role in ("doubt", "doubt_after"):
            self._doubt(event)
        elif role == "gone":
            self._reach_back("negative", event)
        elif role == "history":
            self._scope = ("absent", event)
        elif role == "history_after":
            self._reach_back("absent", event)
        elif role in ("break", "same", "less"):
            if not (role == "break" and self._scope and self._scope[0] == "absent"):
                self._scope = None
        elif role == "comma":
            self._comma()
        self._joined = role == "join"

    def _find(self, event: _Event) -> None:
        status: Status = "uncertain" if event.role == "implied" else "positive"
        found = _Found(event.value.split("|"), status, event.start, event.end, self._clause)
        found.joined = self._joined
        if self._scope is not None:
            found.status = self._scope[0]
            found.role, found.cue = self._scope[1].role, self._text(self._scope[1])
        self.found.append(found)

    def _state(self, event: _Event) -> None:
        for part in self._parts:
            labels, statuses = STATES[part.value]
            if labels and event.value in statuses:
                end = max(part.end, event.end)
                found = _Found(labels, statuses[event.value], part.start, end, self._clause)
                found.cue = self._text(event)
                if self._scope is not None and found.status == "positive":
                    found.status, found.role = self._scope[0], self._scope[1].role
                    found.cue = self._text(self._scope[1])
                self.found.append(found)
        self._parts = []

    def _doubt(self, event: _Event) -> None:
        if self._scope is not None and self._scope[0] == "negative" and event.value == "either":
            return
        if event.role == "doubt" and self._find_ahead():
            self._scope = ("uncertain", event)
        else:
            self._reach_back("uncertain", event)

    def _reach_back(self, status: Status, event: _Event) -> None:
        """What is said after the findings of a list is said of all of them."""
        for found in reversed(self.found):
            if found.clause != self._clause:
                break
            device = SUPPORT_DEVICES in found.labels
            if status == "absent":
                if not device and "Fracture" not in found.labels:
                    found.status, found.cue, found.role = status, self._text(event), event.role
            elif found.status == "positive" and not (device and status == "uncertain"):
                found.status, found.cue, found.role = status, self._text(event), event.role
            if not found.joined:
                break

    def _find_ahead(self) -> bool:
        for event in self._events[self._place + 1 :]:
            if event.role in ("comma", "break", "no"):
                return False
            if event.role in ("find", "implied") or (event.role == "state" and self._parts):
                return True
        return False

    def _comma(self) -> None:
        """A clause of nothing but findings goes on with the list before it; any other starts afresh."""
        following: list[_Event] = []
        stop = len(self._sentence)
        for event in self._events[self._place + 1 :]:
            if event.role == "comma":
                stop = event.start
                break
            following.append(event)
        start = self._events[self._place].end
        bare = bool(following) and all(one.role in ("find", "join") for one in following)
        covered = sum(one.end - one.start for one in following)
        if not (bare and covered >= len(self._sentence[start:stop].strip()) and self._scope):
            self._scope = None
            self._clause += 1
        if any(found.clause == self._clause - 1 for found in self.found):
            self._parts = []

    def _text(self, event: _Event) -> str:
        return self._sentence[event.start : event.end]


def _side_of(clause: str, end: int) -> Side | None:
    sides = [side for side, pattern in _SIDES if pattern.search(clause, 0, end)]
    if "bilateral" in sides or len(sides) > 1:
        return "bilateral"
    return cast(Side, sides[0]) if sides else None


def _severity_of(clause: str, end: int) -> Severity | None:
    names = [
        (match.end(), name) for name, pattern in _SEVERITIES for match in pattern.finditer(clause, 0, end)
    ]
    return cast(Severity, max(names)[1]) if names else None


@lru_cache(maxsize=8192)
def read_chinese_sentence(sentence: str) -> tuple[Mention, ...]:
    """The mentions of one lower-case sentence; places count from its start."""
    mentions = []
    prior = any(word in sentence for word in vocabulary.PRIOR)
    for found in _ClauseReader(sentence).found:
        start = max(sentence.rfind(mark, 0, found.start) for mark in "，,、及和：:伴")
        clause, end = sentence[start + 1 :], found.end - start - 1
        side, severity = _side_of(clause, end), _severity_of(clause, end)
        if side is None:
            side = _side_of(
                sentence[max(sentence.rfind(mark, 0, found.start) for mark in "，,") + 1 : found.end], 200
            )
        if side is None and (placed := _PLACED.match(sentence, found.end)):
            side = _side_of(placed.group(), 200)
        for label in found.labels:
            mentions.append(
                Mention(
                    label,
                    found.status,
                    found.start,
                    found.end,
                    sentence[found.start : found.end],
                    side,
                    severity,
                    found.cue,
                    prior or found.status == "absent",
                )
            )
    return tuple(mentions)


def chinese_sentences(low: str) -> Iterator[tuple[int, int]]:
    """Start and end of every sentence about this exam; indication and history are left out."""
    skipping = False
    place = 0
    for heading in [*_HEADING.finditer(low), None]:
        end = heading.start() if heading else len(low)
        if not skipping:
            for match in _SENTENCE.finditer(low, place, end):
                yield match.span()
        if heading is not None:
            skipping, place = heading["skip"] is not None, heading.end()


def chinese_mentions(text: str) -> list[Mention]:
    """All mentions of a report in the order of the text."""
    low = lowered(text)
    mentions: list[Mention] = []
    for first, last in chinese_sentences(low):
        sentence = low[first:last]
        number = _NUMBER.match(sentence)
        first += number.end() if number else 0
        for mention in read_chinese_sentence(low[first:last]):
            start, end = mention.start + first, mention.end + first
            mentions.append(mention._replace(start=start, end=end, text=text[start:end]))
    return mentions

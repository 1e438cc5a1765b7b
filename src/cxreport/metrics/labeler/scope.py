"""What one sentence says of each finding in it: the reach of denial, doubt and history over a list of terms.

The terms of a sentence are read once, left to right. A cue before findings ("no", "may represent") opens a
scope that runs through a list and ends at a new clause; a cue after them ("is not seen") reaches back to
the findings it is said of. The idea is NegEx's (Chapman et al., J Biomed Inform 2001), with clauses and
lists instead of a window of words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cxreport.metrics.labeler.clauses import DENIALS, SEPARATORS, Clauses, is_part
from cxreport.metrics.labeler.labels import OTHER, SUPPORT_DEVICES, Status
from cxreport.metrics.labeler.parts import ABNORMAL, STATES
from cxreport.metrics.labeler.phrases import Event

_STAYING = frozenset(("Fracture", SUPPORT_DEVICES, "Pleural Other", "Lung Lesion", OTHER))
"""What was there before is there still, unless said otherwise."""


_NEAREST = DENIALS | {"find", "part"}
"""What a cue that may stand on either side looks for: a finding that nothing else denies first."""


class Reading:
    """A finding in a sentence, from word `start` to `end`; `cue` is the span of words that decided it."""

    __slots__ = ("cue", "end", "labels", "plain", "role", "segment", "start", "status")

    def __init__(self, labels: tuple[str, ...], start: int, end: int, segment: int, plain: Status) -> None:
        self.labels, self.start, self.end, self.segment = labels, start, end, segment
        self.plain: Status = plain
        self.status: Status = plain
        self.cue: tuple[int, int] | None = None
        self.role = ""


class _Scope:
    """A cue that reaches over what follows."""

    __slots__ = ("cue", "new", "role", "status", "used", "weak")

    def __init__(self, role: str, status: Status, event: Event, weak: bool = False) -> None:
        self.role, self.status, self.weak = role, status, weak
        self.cue = (event.start, event.end)
        self.used = self.new = False


class SentenceReader:
    """Reads the terms of one sentence; :attr:`readings` holds what it found."""

    def __init__(self, events: Sequence[Event], words: Sequence[str]) -> None:
        self.readings: list[Reading] = []
        self._clauses, self._words = Clauses(events), words
        self._scope: _Scope | None = None
        self._outer: list[_Scope | None] = []
        self._parts: list[Event] = []
        self._forward: tuple[str, Event] | None = None
        self._chain: list[Reading] = []
        self._chain_before: list[Reading] = []
        self._joined = self._verb = False
        self._unchanged = self._part_said = False
        self.segment = self._part_segment = 0
        self.sides: list[tuple[int, int, str]] = []
        self.severities: list[tuple[int, int, str]] = []
        for place, event in enumerate(events):
            self._place = place
            _ACTIONS[event.role](self, event)

    # Findings and parts of the chest

    def _find(self, event: Event) -> None:
        labels, plain = event.value
        if self._verb:
            self._new_chain()
        reading = self._add(labels, event.start, event.end, plain)
        if self._scope is None and self._clauses.follows(self._place, "former") and not _STAYING & {*labels}:
            reading.status, reading.role = "absent", "former"
        self._apply_scope(reading, self._scope)
        self._forward = None

    def _tip(self, event: Event) -> None:
        labels, plain = event.value
        if self._verb:
            self._new_chain()
        self._add(labels, event.start, event.end, plain).role = "fixed"

    def _pronoun(self, event: Event) -> None:
        """ "No effusion on the right but a small one on the left"."""
        if self.readings:
            self._find(Event("find", (self.readings[-1].labels, "positive"), event.start, event.end))

    def _add(self, labels: tuple[str, ...], start: int, end: int, plain: Status) -> Reading:
        reading = Reading(labels, start, end, self.segment, plain)
        self.readings.append(reading)
        self._chain.append(reading)
        return reading

    def _apply_scope(self, reading: Reading, scope: _Scope | None) -> None:
        if scope is None:
            return
        scope.used = True
        reading.status, reading.cue, reading.role = scope.status, scope.cue, scope.role

    def _part(self, event: Event) -> None:
        if self._verb and not self._parts:
            self._new_chain()
        if self._forward is not None:
            state, said = self._forward
            self._say(state, said, [event])
        self._parts.append(event)
        self._part_segment = self.segment

    def _weak_part(self, event: Event) -> None:
        following = self._words[event.end] if event.end < len(self._words) else ""
        beside = self._clauses.next(self._place)
        if following in ("and", "or", ",", "/") or (
            beside is not None and beside.role == "state" and beside.start == event.end
        ):
            self._part(Event("part", event.value, event.start, event.end))

    def _state(self, event: Event) -> None:
        state, following = event.value, self._clauses.noun_ahead(self._place)
        if state == "borderline" and following is not None and following.role == "find":
            if following.start == event.end:
                self._scope = _Scope("doubtful", "uncertain", event, weak=True)
            return
        near = following is not None and following.start - event.end <= 3
        if state == "enlarged" and near and self._denied() and following and following.role == "find":
            self._change(event)
            return
        adjective = near and (
            state in ABNORMAL or (self.segment != self._part_segment and is_part(following))
        )
        if state == "normal" and self._verb:
            self._normalise(event)
        if self._parts and not adjective:
            self._say(state, event, self._parts)
            self._parts = []
            self._forward = None
        else:
            self._forward = (state, event)

    def _normalise(self, event: Event) -> None:
        """ "Interstitial markings are normal": a word for a finding is not always one."""
        for reading in self._chain[-1:]:
            if {"Edema", "Lung Opacity"} & set(reading.labels):
                reading.status, reading.cue = "negative", (event.start, event.end)

    def _say(self, state: str, said: Event, parts: Sequence[Event]) -> None:
        for part in parts:
            labels, statuses = STATES[part.value]
            if state not in statuses:
                continue
            if said.start < part.start and (state in ABNORMAL and part.start - said.end > 4):
                continue
            start, end = min(part.start, said.start), max(part.end, said.end)
            if self._verb:
                self._new_chain()
            status = statuses[state]
            reading = self._add(labels, start, end, status)
            reading.cue = (said.start, said.end)
            scope = self._scope
            if scope is not None and scope.role in ("no", "not", "no_that", "gone") and status == "negative":
                if scope.role == "not" and not scope.used:
                    reading.status = "uncertain"
            elif scope is not None:
                self._apply_scope(reading, scope)

    # Cues

    def _open_scope(self, event: Event) -> None:
        """A cue before findings; what the denial of a doubt or a doubt of history is stays as it was."""
        role, scope = event.role, self._scope
        if role == "no" and event.end == len(self._words) and self._chain:
            self._reach_back("negative", event)
            return
        if scope is not None and not scope.used and scope.status == "negative":
            if role == "doubt":
                scope.cue = (scope.cue[0], event.end)
                return
            if role in ("no", "not") and scope.role in ("not", "no_that") and self._adjacent(scope, event):
                self._scope = None
                return
        if role == "doubt" and scope is not None and scope.status in ("negative", "absent"):
            return
        self._scope = _Scope(role, _PRE[role], event, weak=role == "not")
        self._unchanged = False
        if self._verb and role != "not":
            self._new_chain()

    def _adjacent(self, scope: _Scope, event: Event) -> bool:
        return not {",", "and", "or"} & set(self._words[scope.cue[1] : event.start])

    def _either_side(self, event: Event) -> None:
        """A word that stands before a finding ("possible edema") or after it ("edema is possible")."""
        status: Status = "negative" if event.role == "gone_after" else "uncertain"
        following = self._clauses.ahead(self._place)
        nearest = next((one.role for one in following if one.role in _NEAREST), "")
        if nearest in ("find", "part"):
            if self._scope is None or self._scope.status not in ("negative", "absent"):
                self._scope = _Scope(event.role, status, event, weak=True)
        else:
            self._reach_back(status, event)

    def _after(self, event: Event) -> None:
        status = _POST[event.role]
        if not (self._chain or self._chain_before) and any(
            one.role == "find" for one in self._clauses.ahead(self._place)
        ):
            self._scope = _Scope(event.role, status, event, weak=True)
        else:
            self._reach_back(status, event)

    def _reach_back(self, status: Status, event: Event) -> None:
        chain = self._chain or self._chain_before
        for reading in chain if self._joined else chain[-1:]:
            if reading.role in ("history", "fixed") or (
                status == "uncertain" and SUPPORT_DEVICES in reading.labels
            ):
                continue
            if status == "negative" and reading.role == "no_that":
                reading.status, reading.cue = "positive", (event.start, event.end)
            elif status == "negative" or reading.status == "positive":
                reading.status, reading.cue, reading.role = status, (event.start, event.end), event.role
        self._verb = True
        self._parts = []
        if self._scope is not None and self._scope.weak:
            self._scope = None

    def _versus(self, event: Event) -> None:
        if self._scope is not None and self._scope.status == "negative":
            return
        self._doubt_last(event)
        self._scope = _Scope("doubt", "uncertain", event)

    def _doubt_last(self, event: Event) -> None:
        for reading in (self._chain or self._chain_before)[-1:]:
            if reading.status == "positive":
                reading.status, reading.cue, reading.role = "uncertain", (event.start, event.end), "versus"

    def _neutral(self, event: Event) -> None:
        return

    def _denied(self) -> bool:
        scope = self._scope
        return scope is not None and scope.role in ("no", "not") and not scope.used and not scope.new

    def _change(self, event: Event) -> None:
        """ "No change in the effusion" does not deny the effusion."""
        following = self._clauses.noun_ahead(self._place)
        of_part = self._parts if following is None else is_part(following)
        if of_part and (event.value == "increased" or (event.value == "increase" and not self._denied())):
            self._state(Event("state", "prominent", event.start, event.end))
        elif self._denied():
            self._scope = None
            self._unchanged = True

    def _new(self, event: Event) -> None:
        if self._scope is not None and self._scope.role in ("no", "not"):
            self._scope.new = True
        elif self._unchanged and self._clauses.follows(self._place, "or"):
            self._scope = _Scope("no", "negative", event)
        self._unchanged = False

    # Limits

    def _break(self, event: Event) -> None:
        if event.value == "likely" and self._scope is not None and self._scope.status == "uncertain":
            return
        keeps = event.value == "cause" and self._scope is not None and self._scope.role == "no"
        if not keeps:
            self._scope = None
        following = self._clauses.next(self._place)
        if (
            following is None
            or following.role != "state"
            or self._clauses.noun_ahead(self._place) is not None
        ):
            self._parts = []
        self._forward, self._unchanged = None, False
        if self._chain:
            self._chain_before = self._chain
        self._new_chain()
        self.segment += 1

    def _new_chain(self) -> None:
        self._chain, self._joined, self._verb = [], False, False

    def _spoken_of(self, event: Event) -> None:
        """ "Prior effusion" is history; "the prior effusion is smaller" is not."""
        for reading in self._chain[-1:]:
            if reading.role == "former" and reading.status == "absent":
                reading.status = "positive"

    def _verb_word(self, event: Event) -> None:
        self._spoken_of(event)
        self._verb = self._verb or bool(self._chain)
        self._forward = None
        self._part_said = bool(self._parts)
        if self._scope is not None and self._scope.weak and self._scope.used:
            self._scope = None

    def _separator(self, event: Event) -> None:
        role = event.role
        ends = self._clauses.begins(self._place) and not self._doubt_goes_on(role)
        if role == "or" and self._scope is None:
            self._alternatives(event)
        elif self._scope is not None and (
            ends or (role == "comma" and self._scope.weak and not self._clauses.list_ahead(self._place))
        ):
            self._scope = None
        if self._forward is not None and (ends or (role == "comma" and self._forward[0] in ABNORMAL)):
            self._forward = None
        if self._part_said and any(
            one.role in ("part", "weak_part") for one in self._clauses.ahead(self._place)
        ):
            self._parts = []
        self._part_said = False
        self._joined = self._joined or role != "comma"
        self.segment += 1

    def _doubt_goes_on(self, role: str) -> bool:
        """ "May represent infiltrate and mild edema": what is named without a side is in doubt as well."""
        if role != "and" or self._scope is None or self._scope.role != "doubt":
            return False
        roles = [one.role for one in self._clauses.ahead(self._place)]
        return roles[:1] == ["severity"] and not {"side", "verb"} & set(roles)

    def _alternatives(self, event: Event) -> None:
        """ "Atelectasis or pneumonia", neither denied: each is uncertain."""
        chain, following = self._chain, self._clauses.ahead(self._place)
        if (
            not chain
            or self._verb
            or self._unchanged
            or chain[-1].segment != self.segment
            or chain[-1].status != "positive"
        ):
            return
        if any(one.role in DENIALS for one in following):
            return
        next_find = next((one for one in following if one.role == "find"), None)
        if next_find is None or {*chain[-1].labels, *next_find.value[0]} & {SUPPORT_DEVICES}:
            return
        self._doubt_last(event)
        self._scope = _Scope("doubtful", "uncertain", event, weak=True)

    def _open(self, event: Event) -> None:
        self._outer.append(self._scope)
        self._scope = None
        self.segment += 1

    def _close(self, event: Event) -> None:
        self._scope = self._outer.pop() if self._outer else None
        self.segment += 1

    # Attributes

    def _side(self, event: Event) -> None:
        self.sides.append((event.start, self.segment, event.value))

    def _severity(self, event: Event) -> None:
        self.severities.append((event.start, self.segment, event.value))

    def _large(self, event: Event) -> None:
        self.severities.append((event.start, self.segment, "severe"))
        following = self._clauses.next(self._place)
        if self._parts or (
            following is not None and following.role == "part" and following.start == event.end
        ):
            self._state(Event("state", "prominent", event.start, event.end))


_PRE: dict[str, Status] = {
    "no": "negative",
    "not": "negative",
    "no_that": "negative",
    "gone": "negative",
    "doubt": "uncertain",
    "history": "absent",
}
_POST: dict[str, Status] = {"absent_after": "negative", "doubt_after": "uncertain"}
_ACTIONS: dict[str, Callable[[SentenceReader, Event], Any]] = {
    "find": SentenceReader._find,
    "tip": SentenceReader._tip,
    "pronoun": SentenceReader._pronoun,
    "part": SentenceReader._part,
    "weak_part": SentenceReader._weak_part,
    "state": SentenceReader._state,
    **dict.fromkeys(_PRE, SentenceReader._open_scope),
    **dict.fromkeys(_POST, SentenceReader._after),
    "doubtful": SentenceReader._either_side,
    "query": SentenceReader._either_side,
    "suspicious": SentenceReader._either_side,
    "gone_after": SentenceReader._either_side,
    "versus": SentenceReader._versus,
    "asserted": SentenceReader._neutral,
    "neutral": SentenceReader._neutral,
    "change": SentenceReader._change,
    "new": SentenceReader._new,
    "break": SentenceReader._break,
    "verb": SentenceReader._verb_word,
    "former": SentenceReader._neutral,
    "seen": SentenceReader._spoken_of,
    "start": SentenceReader._neutral,
    **dict.fromkeys(SEPARATORS, SentenceReader._separator),
    "open": SentenceReader._open,
    "close": SentenceReader._close,
    "side": SentenceReader._side,
    "severity": SentenceReader._severity,
    "large": SentenceReader._large,
}

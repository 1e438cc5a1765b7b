"""Sections, sentences and words of an English report, with their places in the text."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cxreport.data.sentences import SENTENCE_END

_REASONS = (
    r"indications?|(?:clinical |patient |brief |medical |social )?history|hx|reason for (?:the )?"
    r"(?:exam(?:ination)?|study|request)|clinical (?:indication|information|statement|data|details|question)"
    r"|clinical history/?(?: indication)?|symptoms?|diagnosis|referring diagnosis"
)
_OTHERS = (
    r"comparisons?|comparison (?:study|exam(?:ination)?)s?|compared|technique|exam(?:ination)?s?|study|"
    r"procedures?|examination date|views?|type of exam(?:ination)?|protocol|signed by|dictated by"
)
_RESULTS = (
    r"findings?|impressions?|conclusions?|opinion|interpretation|results?|report|final report|summary|"
    r"findings? and impressions?|findings?/impressions?|assessment|addendum|recommendations?"
)
_PICTURES = r"(?:[a-z0-9,()/ -]{0,40}\b)?(?:chest|views?|radiographs?)\b[a-z0-9,()/ -]{0,40}"
"""A heading such as "PA and lateral chest:", after which results follow."""
_HEADER = re.compile(
    rf"(?:^|[\n.;:!?])\s{{0,20}}\b"
    rf"(?:(?P<reason>{_REASONS})|(?P<other>{_OTHERS})|(?P<result>{_RESULTS}|{_PICTURES}))[ \t]*:"
)
_BLANK_LINE = re.compile(r"\n[ \t]*\n")
_BARE_REASON = re.compile(
    r"\s*(?:indication|clinical (?:history|indication|information)|reason for (?:exam|study|examination)"
    r"|comparison|technique)\b(?! (?:of|to|with))"
)
_SHORT_LINE = 50
"""Characters; a line that was wrapped is longer."""
_WORD = re.compile(r"\+/-|[^\W_]+(?:['’]t\b)?|[,:()/?]")
_OPEN_ENDED = re.compile(
    r"(?:,|\b(?:and|or|of|the|a|an|with|without|in|is|are|no|for|to|at|from|by|than|right|left|was|were|has|"
    r"have|may|be|not|small|mild|bilateral|pleural|lower|upper|pulmonary))$"
)


def sentences(low: str) -> Iterator[tuple[int, int]]:
    """Start and end of every sentence of lower-case text that is about this exam.

    Indication, history, comparison and technique are left out, see :func:`_skip`.
    """
    if ":" not in low:
        for start, end in _split(low, 0, len(low)):
            if not _BARE_REASON.match(low, start):
                yield start, end
        return
    headers = list(_HEADER.finditer(low))
    last_result = max((number for number, header in enumerate(headers) if header["result"]), default=-1)
    place = 0
    for number, header in enumerate([*headers, None]):
        end = header.start() if header else len(low)
        yield from _split(low, place, end)
        if header is not None:
            place = header.end()
            if header["result"] is None:
                following = headers[number + 1].start() if number + 1 < len(headers) else len(low)
                short = header["reason"] is None or number > last_result
                place = _skip(low, place, following, sentence=short)


def _skip(low: str, start: int, end: int, *, sentence: bool) -> int:
    """Where a section that is not about this exam ends: at the next heading (`end`) or a blank line.

    Comparison and technique, and any such section of a text without a heading for results, end with their
    first sentence: what follows is often the report.
    """
    while start < end and low[start].isspace():
        start += 1
    blank = _BLANK_LINE.search(low, start, end)
    if blank:
        end = blank.start()
    first = next(_split(low, start, end), None) if sentence else None
    return first[1] if first else end


def _split(low: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    place = start
    for match in SENTENCE_END.finditer(low, start, end):
        if match.start() > place:
            yield from _lines(low, place, match.start())
        place = match.end()
    if place < end:
        yield from _lines(low, place, end)


def _lines(low: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Short lines are sentences without a full stop; long ones are a wrapped paragraph."""
    if low.find("\n", start, end) < 0:
        yield start, end
        return
    place = start
    while (stop := low.find("\n", place, end)) >= 0:
        line = low[low.rfind("\n", 0, stop) + 1 : stop].strip()
        place = stop + 1
        if 0 < len(line) <= _SHORT_LINE and not _OPEN_ENDED.search(line):
            yield start, stop
            start = place
    if start < end:
        yield start, end


def words_of(sentence: str) -> tuple[list[str], list[tuple[int, int]]]:
    """The words and separating marks of a lower-case sentence, and their places in it."""
    words: list[str] = []
    places: list[tuple[int, int]] = []
    for match in _WORD.finditer(sentence):
        words.append(match.group())
        places.append(match.span())
    return words, places

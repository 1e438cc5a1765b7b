"""The English labeler: sentences, terms, scopes, and the mentions they give."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache

from cxreport.data.sentences import lowered
from cxreport.metrics.labeler import cues, vocabulary
from cxreport.metrics.labeler.attributes import Attributes
from cxreport.metrics.labeler.forms import IRREGULAR, STEMS
from cxreport.metrics.labeler.labels import Mention
from cxreport.metrics.labeler.phrases import WORD, Lexicon, Term, expand
from cxreport.metrics.labeler.scope import SentenceReader
from cxreport.metrics.labeler.sentences import sentences, words_of

CACHED_SENTENCES = 8192
LONGEST_SENTENCE = 250
"""Words; a longer one (a text without full stops) is cut, so that time grows with the length of a text."""


def _terms() -> Iterator[tuple[str, Term]]:
    named: defaultdict[str, list[str]] = defaultdict(list)
    for label, phrases in vocabulary.FINDINGS.items():
        for phrase in phrases:
            for reading in expand(phrase):
                if label not in named[reading]:
                    named[reading].append(label)
    for phrase, labels in named.items():
        yield phrase, Term("find", (tuple(labels), "positive"))
    for label, phrases in (("Edema", vocabulary.CONGESTION), ("Pleural Effusion", vocabulary.BLUNTING)):
        for phrase in phrases:
            yield phrase, Term("find", ((label,), "uncertain"))
    for phrase in vocabulary.TIPS:
        yield phrase, Term("tip", (("Support Devices",), "positive"))
    for phrase in vocabulary.EXTUBATION:
        yield phrase, Term("find", (("Support Devices",), "negative"))
    for table, role in (
        (vocabulary.PARTS, "part"),
        (vocabulary.STATES, "state"),
        (cues.SIDES, "side"),
        (cues.SEVERITIES, "severity"),
    ):
        for value, phrases in table.items():
            yield from ((phrase, Term(role, value)) for phrase in phrases)
    yield from ((word, Term("weak_part", value)) for word, value in vocabulary.WEAK_PARTS.items())
    yield from ((phrase, Term("large")) for phrase in cues.LARGE)
    yield from ((phrase, Term("pronoun")) for phrase in cues.PRONOUNS)
    yield "(increased|enlarging)", Term("change", "increased")
    yield "increase", Term("change", "increase")
    yield "(due to|secondary to|related to|caused by)", Term("break", "cause")
    yield "likely", Term("break", "likely")
    for table in (cues.CUES, cues.LIMITS):
        for role, phrases in table.items():
            yield from ((phrase, Term(role)) for phrase in phrases)


_VOCABULARY = frozenset(word for phrase, _ in _terms() for word in WORD.findall(phrase.replace("|", " ")))


@lru_cache(maxsize=65536)
def canonical(word: str) -> str:
    """The form of a lower-case word in the lexicon; empty for a word that changes nothing."""
    if word in cues.SKIPPED:
        return ""
    known = IRREGULAR.get(word)
    if known is not None:
        return known
    for stem, form in STEMS:
        if word.startswith(stem):
            return form
    if len(word) > 3 and word[-1] == "s" and word[:-1] in _VOCABULARY:
        return word[:-1]
    return word


_LEXICON = Lexicon(_terms(), canonical)


@lru_cache(maxsize=CACHED_SENTENCES)
def read_sentence(sentence: str) -> tuple[Mention, ...]:
    """The mentions of one lower-case sentence; places count from its start."""
    return read_sentence_uncached(sentence)


def read_sentence_uncached(sentence: str) -> tuple[Mention, ...]:
    """As :func:`read_sentence`, without the cache."""
    all_words, all_places = words_of(sentence)
    words: list[str] = []
    places: list[tuple[int, int]] = []
    for word, place in zip(all_words, all_places, strict=True):
        form = canonical(word)
        if form:
            words.append(form)
            places.append(place)
    prior = not cues.PRIOR.isdisjoint(all_words) or not any(map({*all_words}.isdisjoint, cues.COMPARED))
    if len(words) <= LONGEST_SENTENCE:
        return tuple(_mentions(words, sentence, places, prior))
    cuts = range(0, len(words), LONGEST_SENTENCE)
    pieces = [slice(cut, cut + LONGEST_SENTENCE) for cut in cuts]
    return tuple(one for piece in pieces for one in _mentions(words[piece], sentence, places[piece], prior))


def _mentions(
    words: Sequence[str], sentence: str, places: Sequence[tuple[int, int]], prior: bool
) -> Iterator[Mention]:
    events = _LEXICON.events(words)
    if not events:
        return
    reader = SentenceReader(events, words)
    attributes = Attributes(reader)
    for reading in reader.readings:
        start, end = places[reading.start][0], places[reading.end - 1][1]
        cue = ""
        if reading.cue is not None:
            cue = sentence[places[reading.cue[0]][0] : places[reading.cue[1] - 1][1]]
        side, severity = attributes.side(reading), attributes.severity(reading)
        for label in reading.labels:
            status = reading.status
            yield Mention(
                label,
                status,
                start,
                end,
                sentence[start:end],
                side,
                severity,
                cue,
                prior or status == "absent",
            )


def english_mentions(text: str) -> list[Mention]:
    """All mentions of a report in the order of the text, with the text's own letters."""
    low = lowered(text)
    mentions: list[Mention] = []
    for first, last in sentences(low):
        for mention in read_sentence(low[first:last]):
            start, end = mention.start + first, mention.end + first
            mentions.append(mention._replace(start=start, end=end, text=text[start:end]))
    return mentions


def english_statuses(text: str) -> Iterator[tuple[str, str]]:
    """(label, status) of every mention: what :func:`english_mentions` finds, without the places."""
    low = lowered(text)
    for first, last in sentences(low):
        for mention in read_sentence(low[first:last]):
            yield mention.label, mention.status

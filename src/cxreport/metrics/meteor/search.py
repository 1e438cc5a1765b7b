"""The search for METEOR's best alignment, for many pairs of texts at a time.

Source: METEOR 1.5, ``Aligner.resolve``: a beam of 40 partial alignments that goes over the words of the
reference. A partial alignment is better with more matched words, then with fewer chunks, then with the
smaller distance; ties keep their order. Three properties of the published search are kept because they decide
which alignment wins: words of stem, synonym and paraphrase matches count half and the sum is cut to a whole
number at every match; a chunk is counted when it ends; and a partial alignment inherits the distances of the
matches that were tried before its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain

import numpy as np

from cxreport.metrics.meteor.matching import EXACT, LENGTH_BITS, MATCHER_BITS, MATCHERS, Candidates

BEAM = 40

_MOST_PAIRS = 512
_MOST_CELLS = 1 << 25
_LARGEST_KEY = 1 << 62
_NOTHING = -1
_FINISHED = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Aligned:
    """What the best alignment of every pair matched.

    ``draft`` and ``reference`` (P, 4, 2): content words and function words by matcher; ``chunks`` (P,).
    """

    draft: np.ndarray
    reference: np.ndarray
    chunks: np.ndarray


def align(pairs: Sequence[Candidates], function_words: frozenset[str]) -> Aligned:
    """The best alignment of every pair, counted."""
    draft, reference = (np.zeros((len(pairs), MATCHERS, 2)) for _ in range(2))
    counts = Aligned(draft, reference, np.zeros(len(pairs)))
    for places in _batches(pairs):
        batch = _Batch.of([pairs[place] for place in places], function_words)
        found = _count(batch, *_search(batch))
        for field in fields(Aligned):
            getattr(counts, field.name)[places] = getattr(found, field.name)
    return counts


@dataclass(frozen=True)
class _Batch:
    """Pairs as arrays: P pairs, T places in the longest reference, L different lists of matches.

    ``lists`` (P, T) names the list of every place, ``bounds`` (L + 1,) where it stands among the matches, and
    the other arrays hold the fields of every match. List 0 is empty.
    """

    lists: np.ndarray
    definite: np.ndarray
    ends: np.ndarray
    bounds: np.ndarray
    matcher: np.ndarray
    start: np.ndarray
    draft_words: np.ndarray
    reference_words: np.ndarray
    gain: np.ndarray
    draft_function: np.ndarray
    reference_function: np.ndarray

    @classmethod
    def of(cls, pairs: Sequence[Candidates], function_words: frozenset[str]) -> _Batch:
        names: dict[int, int] = {}
        lists: list[list[int]] = [[]]
        for pair in pairs:
            for matches in pair.matches:
                if matches and names.setdefault(id(matches), len(lists)) == len(lists):
                    lists.append(matches)
        packed = np.fromiter(chain.from_iterable(lists), dtype=np.int64)
        mask = (1 << LENGTH_BITS) - 1
        matcher = packed & (1 << MATCHER_BITS) - 1
        reference_words = packed >> MATCHER_BITS & mask
        draft_words = packed >> MATCHER_BITS + LENGTH_BITS & mask
        gains = [np.where(matcher == EXACT, words, words // 2) for words in (draft_words, reference_words)]
        return cls(
            lists=_padded([[names.get(id(each), 0) for each in pair.matches] for pair in pairs], np.int64),
            definite=_padded([pair.definite for pair in pairs], np.bool_),
            ends=np.array([len(pair.reference) for pair in pairs]),
            bounds=np.cumsum([0, *map(len, lists)]),
            matcher=matcher,
            start=packed >> MATCHER_BITS + 2 * LENGTH_BITS,
            draft_words=draft_words,
            reference_words=reference_words,
            gain=gains[0] + gains[1],
            draft_function=_padded([[w in function_words for w in pair.draft] for pair in pairs], np.bool_),
            reference_function=_padded(
                [[w in function_words for w in pair.reference] for pair in pairs], np.bool_
            ),
        )


@dataclass(frozen=True)
class _Beam:
    """Partial alignments in rows (R,), sorted by pair and from best to worst.

    ``resume`` is the first place of the reference after the last match or skipped word, ``last`` the place in
    the draft after the last match, or -1 after a skipped word.
    """

    pair: np.ndarray
    matched: np.ndarray
    chunks: np.ndarray
    distance: np.ndarray
    resume: np.ndarray
    last: np.ndarray

    def rows(self, rows: np.ndarray) -> _Beam:
        return _Beam(*(getattr(self, field.name)[rows] for field in fields(self)))

    def best_first(self, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """The order of `rows` by pair and merit; stable."""
        matched = self.matched[rows]
        keys = (self.pair[rows], matched.max() - matched, self.chunks[rows], self.distance[rows])
        sizes = [int(key.max()) + 1 for key in keys]
        if np.prod(sizes, dtype=object) >= _LARGEST_KEY:
            return np.lexsort(keys[::-1])
        packed = keys[0]
        for key, size in zip(keys[1:], sizes[1:], strict=True):
            packed = packed * size + key
        return packed.argsort(kind="stable")


_History = list[tuple[int, np.ndarray, np.ndarray]]
"""Of every step: the place, and of every row after it the row before and the match taken, or -1."""


def _search(batch: _Batch) -> tuple[_Beam, _History]:
    """The best row of every pair, and how the rows came about."""
    pairs, longest = batch.lists.shape
    zeros = np.zeros(pairs, dtype=np.int64)
    beam = _Beam(np.arange(pairs), zeros, zeros, zeros, zeros, zeros - 1)
    used = np.zeros((pairs, batch.draft_function.shape[1]), dtype=np.bool_)
    history: _History = []
    for place in range(longest + 1):
        if np.any(batch.ends == place):
            beam, kept = _finish(beam, batch.ends[beam.pair] == place)
            used = used[kept]
            history.append((place, kept, np.full(len(kept), _NOTHING)))
        if place < longest:
            beam, parents, matches = _step(batch, beam, used, place)
            used = _use(batch, used[parents], matches)
            history.append((place, parents, matches))
    return beam, history


def _finish(beam: _Beam, ending: np.ndarray) -> tuple[_Beam, np.ndarray]:
    """Closes the last chunk of the rows at the end of their reference and keeps the best of each pair."""
    beam = replace(
        beam,
        chunks=beam.chunks + (ending & (beam.last != _NOTHING)),
        resume=np.where(ending, _FINISHED, beam.resume),
    )
    order = beam.best_first()
    pair = beam.pair[order]
    first = np.concatenate([[True], pair[1:] != pair[:-1]])
    kept = np.sort(order[first | ~ending[order]])
    return beam.rows(kept), kept


def _step(batch: _Batch, beam: _Beam, used: np.ndarray, place: int) -> tuple[_Beam, np.ndarray, np.ndarray]:
    """Every row with each of its free matches at `place`, then without; the best 40 of each pair stay.

    Returns them, the row before of each, and the match taken or -1. `used` (R, D) marks words of the draft. A
    row within a longer match only waits, and a definite match is never left out.
    """
    here = beam.resume == place
    row, match = _free_matches(batch, used, np.where(here, batch.lists[beam.pair, place], 0))
    before, tried = _distances(np.abs(batch.start[match] - place), row, len(here))
    staying = np.flatnonzero(~(here & batch.definite[beam.pair, place]))
    taken = _take(batch, beam.rows(row), match, before, place)
    stayed = _stay(beam.rows(staying), here[staying], tried[staying])
    grown = _Beam(
        *(np.concatenate([getattr(part, field.name) for part in (taken, stayed)]) for field in fields(_Beam))
    )
    row_of = np.concatenate([row, staying])
    match_of = np.concatenate([match, np.full(len(staying), _NOTHING)])
    order = _best(grown, np.argsort(row_of, kind="stable"))
    return grown.rows(order), row_of[order], match_of[order]


def _take(batch: _Batch, beam: _Beam, match: np.ndarray, before: np.ndarray, place: int) -> _Beam:
    """Rows with one match more."""
    start = batch.start[match]
    return replace(
        beam,
        matched=beam.matched + batch.gain[match],
        chunks=beam.chunks + ((beam.last != _NOTHING) & (beam.last != start)),
        distance=beam.distance + before,
        resume=place + batch.reference_words[match],
        last=start + batch.draft_words[match],
    )


def _stay(beam: _Beam, skips: np.ndarray, tried: np.ndarray) -> _Beam:
    """Rows without a match at this place; where `skips`, the word is left out and ends a chunk."""
    return replace(
        beam,
        chunks=beam.chunks + (skips & (beam.last != _NOTHING)),
        distance=beam.distance + tried,
        resume=beam.resume + skips,
        last=np.where(skips, _NOTHING, beam.last),
    )


def _distances(apart: np.ndarray, row: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Of every match the distances of those before it in its row, and of every row their sum."""
    summed = np.concatenate([[0], np.cumsum(apart)])
    begin = summed[np.searchsorted(row, np.arange(rows + 1))]
    return summed[:-1] - begin[row], np.diff(begin)


def _best(beam: _Beam, order: np.ndarray) -> np.ndarray:
    """The first 40 rows of every pair by merit; rows as good keep `order`."""
    order = order[beam.best_first(order)]
    pair = beam.pair[order]
    first = np.flatnonzero(np.concatenate([[True], pair[1:] != pair[:-1]]))
    rank = np.arange(len(pair)) - np.repeat(first, np.diff(np.append(first, len(pair))))
    return order[rank < BEAM]


def _free_matches(batch: _Batch, used: np.ndarray, lists: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(row, match) of every match in the lists (R,) of the rows that uses no used word of the draft."""
    begin = batch.bounds[lists]
    count = batch.bounds[lists + 1] - begin
    row = np.repeat(np.arange(len(lists)), count)
    match = np.arange(len(row)) + np.repeat(begin - (np.cumsum(count) - count), count)
    start = batch.start[match]
    free = ~used[row, start]
    longer = np.flatnonzero(batch.draft_words[match] > 1)
    for word in range(1, int(batch.draft_words[match[longer]].max(initial=0))):
        longer = longer[batch.draft_words[match[longer]] > word]
        free[longer] &= ~used[row[longer], start[longer] + word]
    return row[free], match[free]


def _use(batch: _Batch, used: np.ndarray, match: np.ndarray) -> np.ndarray:
    """`used` (R, D) with the words of the match of every row marked."""
    row = np.flatnonzero(match != _NOTHING)
    match = match[row]
    used[row, batch.start[match]] = True
    for word in range(1, int(batch.draft_words[match].max(initial=0))):
        longer = batch.draft_words[match] > word
        used[row[longer], batch.start[match[longer]] + word] = True
    return used


def _count(batch: _Batch, beam: _Beam, history: _History) -> Aligned:
    """Follows the best rows back to their beginning and counts what they matched."""
    pairs = len(batch.lists)
    draft, reference = (np.zeros((pairs, MATCHERS, 2)) for _ in range(2))
    row, pair = np.arange(len(beam.pair)), beam.pair
    for place, parents, matches in reversed(history):
        taken = matches[row]
        row = parents[row]
        at = taken != _NOTHING
        match, of = taken[at], pair[at]
        for words, counts, function, start in (
            (batch.draft_words[match], draft, batch.draft_function, batch.start[match]),
            (batch.reference_words[match], reference, batch.reference_function, np.full(len(of), place)),
        ):
            for word in range(int(words.max(initial=0))):
                long = words > word
                is_function = function[of[long], start[long] + word].astype(np.int64)
                counts[of[long], batch.matcher[match[long]], is_function] += 1
    chunks = np.zeros(pairs)
    chunks[pair] = beam.chunks
    return Aligned(draft, reference, chunks)


def _batches(pairs: Sequence[Candidates]) -> Iterator[np.ndarray]:
    """Places of pairs of about the same length that are searched together."""
    order = np.argsort([len(pair.reference) for pair in pairs], kind="stable")
    batch: list[int] = []
    longest = 0
    for place in order:
        longest = max(longest, len(pairs[place].draft), 1)
        if batch and (len(batch) == _MOST_PAIRS or (len(batch) + 1) * BEAM * longest > _MOST_CELLS):
            yield np.array(batch)
            batch, longest = [], max(len(pairs[place].draft), 1)
        batch.append(int(place))
    if batch:
        yield np.array(batch)


def _padded(rows: Sequence[Sequence[int]], kind: type) -> np.ndarray:
    """Rows of different length in one array, filled up with zeros; at least one column."""
    array: np.ndarray = np.zeros((len(rows), max(1, *map(len, rows))), dtype=kind)
    for row, values in enumerate(rows):
        array[row, : len(values)] = values
    return array

"""METEOR's search written the slow and plain way, one partial alignment after the other.

Source: METEOR 1.5, ``Aligner.resolve``, read as a description. It shares nothing with the array version but
the packing of a match.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from cxreport.metrics.meteor.matching import EXACT, Candidates

BEAM = 40


@dataclass(frozen=True)
class Match:
    matcher: int
    start: int
    draft_words: int
    reference_words: int
    place: int

    @property
    def gain(self) -> int:
        lengths = (self.draft_words, self.reference_words)
        return sum(words if self.matcher == EXACT else words // 2 for words in lengths)


@dataclass(frozen=True)
class Path:
    matches: tuple[Match, ...] = ()
    matched: int = 0
    chunks: int = 0
    distance: int = 0
    resume: int = 0
    last: int | None = None
    used: frozenset[int] = frozenset()

    @property
    def merit(self) -> tuple[int, int, int]:
        return (-self.matched, self.chunks, self.distance)

    def skip(self) -> Path:
        return replace(self, chunks=self.chunks + (self.last is not None), last=None, resume=self.resume + 1)

    def take(self, match: Match) -> Path:
        breaks = self.last is not None and self.last != match.start
        return replace(
            self,
            matches=(*self.matches, match),
            matched=self.matched + match.gain,
            chunks=self.chunks + breaks,
            resume=match.place + match.reference_words,
            last=match.start + match.draft_words,
            used=self.used | words(match),
        )


def words(match: Match) -> frozenset[int]:
    return frozenset(range(match.start, match.start + match.draft_words))


def unpacked(code: int, place: int) -> Match:
    lengths = code >> 2
    return Match(code & 3, code >> 10, lengths >> 4 & 15, lengths & 15, place)


def best_path(pair: Candidates) -> Path:
    """The alignment that METEOR chooses."""
    paths = [Path()]
    for place, codes in enumerate(pair.matches):
        grown = []
        for path in sorted(paths, key=lambda path: path.merit)[:BEAM]:
            if path.resume > place:
                grown.append(path)
                continue
            matches = [unpacked(code, place) for code in codes]
            if pair.definite[place]:
                taken = path.take(matches[0])
                grown.append(replace(taken, distance=path.distance + abs(matches[0].start - place)))
                continue
            for match in matches:
                if not path.used & words(match):
                    grown.append(path.take(match))
                    path = replace(path, distance=path.distance + abs(match.start - place))
            grown.append(path.skip())
        paths = grown
    ended = [
        replace(path, chunks=path.chunks + (path.last is not None))
        for path in sorted(paths, key=lambda path: path.merit)[:BEAM]
    ]
    return min(ended, key=lambda path: path.merit)

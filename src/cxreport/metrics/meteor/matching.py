"""Which words and phrases of a draft and of its reference may be matched, by which of METEOR's four matchers.

Source: METEOR 1.5, classes ExactMatcher, StemMatcher, SynonymMatcher and ParaphraseMatcher. The order of the
possible matches of a word decides ties of the later search, so it is theirs: exact, stem and synonym matches
by place in the draft; then rules applied to the reference, then rules applied to the draft. It compares
words by their 32-bit hash codes, so a few different words are equal to it, such as "as" and "c5".
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cxreport.metrics.meteor.lexicon import Lexicon, Paraphrases
from cxreport.metrics.meteor.stemmer import stem

EXACT, STEM, SYNONYM, PARAPHRASE = range(4)
MATCHERS = 4

Words = tuple[str, ...]
Match = int
"""A possible match of a place in the reference, packed by :func:`pack`."""

MATCHER_BITS, LENGTH_BITS = 2, 4
_START = MATCHER_BITS + 2 * LENGTH_BITS


def pack(matcher: int, start: int, draft_words: int = 1, reference_words: int = 1) -> Match:
    """One number for: the matcher, the first word in the draft, how many words of the draft and reference."""
    return ((start << LENGTH_BITS | draft_words) << LENGTH_BITS | reference_words) << MATCHER_BITS | matcher


@dataclass(frozen=True)
class Candidates:
    """The possible matches of a draft with its reference.

    ``matches[t]`` are those that start at word t of the reference; lists of equal words may be one object.
    ``definite[t]`` is true where there is one alone and no other match touches any of its words.
    """

    draft: Words
    reference: Words
    matches: list[list[Match]]
    definite: list[bool]


@dataclass(frozen=True)
class _Phrases:
    """Phrases of one text that have rules: (place, words, paraphrases); and the places of paraphrases."""

    sources: list[tuple[int, int, list[int]]]
    places: Mapping[int, list[int]]


class Matchers:
    """The four matchers for texts that are all known beforehand."""

    def __init__(self, lexicon: Lexicon, texts: Iterable[Words]) -> None:
        texts = set(texts)
        vocabulary: set[str] = set().union(*texts)
        equal = _companions({word: (_hash_code(word),) for word in vocabulary})
        stems = _companions({word: (_hash_code(stem(word)),) for word in vocabulary})
        synonyms = _companions({word: lexicon.synonyms.of(word) for word in vocabulary})
        self._words = {
            word: (equal[word], stems[word] - equal[word], synonyms[word] - equal[word])
            for word in vocabulary
        }
        self._words_of: dict[int, int] = {}
        self._phrases = self._phrases_of(texts, lexicon.paraphrases)

    def candidates(self, draft: Words, reference: Words) -> Candidates:
        """Possible matches of two of the known texts."""
        places: dict[str, list[int]] = defaultdict(list)
        for place, word in enumerate(draft):
            places[word].append(place)
        covered_draft = [0] * len(draft)
        of_word: dict[str, list[Match]] = {}
        for word, count in Counter(reference).items():
            of_word[word] = self._word_matches(word, places)
            for match in of_word[word]:
                covered_draft[match >> _START] += count
        matches = [of_word[word] for word in reference]
        covered_reference = [len(each) for each in matches]
        more: dict[int, list[Match]] = defaultdict(list)
        for place, words, start, draft_words in self._phrase_matches(draft, reference):
            more[place].append(pack(PARAPHRASE, start, draft_words, words))
            for word_place in range(start, start + draft_words):
                covered_draft[word_place] += 1
            for word_place in range(place, place + words):
                covered_reference[word_place] += 1
        for place, phrases in more.items():
            matches[place] = matches[place] + phrases
        definite = [
            len(each) == 1 and _touched_once(place, each[0], covered_draft, covered_reference)
            for place, each in enumerate(matches)
        ]
        return Candidates(draft, reference, matches, definite)

    def _word_matches(self, word: str, places: Mapping[str, list[int]]) -> list[Match]:
        found: list[Match] = []
        for matcher, words in zip((EXACT, STEM, SYNONYM), self._words[word], strict=True):
            starts = [place for other in words & places.keys() for place in places[other]]
            found += [pack(matcher, place) for place in sorted(starts)]
        return found

    def _phrase_matches(self, draft: Words, reference: Words) -> Iterator[tuple[int, int, int, int]]:
        """(place, words) in the reference and (place, words) in the draft of every rule that applies."""
        ours, theirs = self._phrases[draft], self._phrases[reference]
        for place, words, targets in theirs.sources:
            for target in targets:
                for start in ours.places.get(target, ()):
                    yield place, words, start, self._words_of[target]
        for start, words, targets in ours.sources:
            for target in targets:
                for place in theirs.places.get(target, ()):
                    yield place, self._words_of[target], start, words

    def _phrases_of(self, texts: Collection[Words], paraphrases: Paraphrases) -> dict[Words, _Phrases]:
        """What rules say about every text; rules whose paraphrase stands in no text are left out."""
        nodes = {text: _nodes(text, paraphrases) for text in texts}
        for found in nodes.values():
            self._words_of.update((node, words) for _, words, node in found)
        targets = {
            node: [target for target in paraphrases.targets(node) if target in self._words_of]
            for node in self._words_of
        }
        wanted = {target for each in targets.values() for target in each}
        result = {}
        for text, found in nodes.items():
            places: dict[int, list[int]] = defaultdict(list)
            for place, _, node in found:
                if node in wanted:
                    places[node].append(place)
            sources = [(place, words, targets[node]) for place, words, node in found if targets[node]]
            result[text] = _Phrases(sources, places)
        return result


def _nodes(text: Words, paraphrases: Paraphrases) -> list[tuple[int, int, int]]:
    """(place, words, node) of every run of words with which a phrase of the table starts."""
    found = []
    for place in range(len(text)):
        node = 0
        for words, word in enumerate(text[place : place + (1 << LENGTH_BITS) - 1], start=1):
            node = paraphrases.child(node, word)
            if not node:
                break
            found.append((place, words, node))
    return found


def _companions(groups: Mapping[str, Iterable[int]]) -> dict[str, frozenset[str]]:
    """The words that share a group with a word; the word itself is one where it has a group."""
    members: dict[int, list[str]] = defaultdict(list)
    for word, of_word in groups.items():
        for group in of_word:
            members[group].append(word)
    return {
        word: frozenset().union(*(members[group] for group in of_word)) for word, of_word in groups.items()
    }


def _hash_code(word: str) -> int:
    """Java's ``String.hashCode``, without its sign."""
    code = 0
    letters = word.encode("utf-16-be", "surrogatepass")
    for high, low in zip(letters[::2], letters[1::2], strict=True):
        code = (code * 31 + (high << 8 | low)) & 0xFFFFFFFF
    return code


def _touched_once(place: int, match: Match, draft: Sequence[int], reference: Sequence[int]) -> bool:
    """Whether no other match covers a word of `match`, given how many cover every word."""
    words = match >> MATCHER_BITS & (1 << LENGTH_BITS) - 1
    start, draft_words = match >> _START, match >> MATCHER_BITS + LENGTH_BITS & (1 << LENGTH_BITS) - 1
    return all(reference[place + word] == 1 for word in range(words)) and all(
        draft[start + word] == 1 for word in range(draft_words)
    )

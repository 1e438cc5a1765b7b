"""The search over arrays against the same search written plainly, and what no alignment may do."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lexicon_by_hand import make_lexicon
from plain_search import best_path

from cxreport.metrics.meteor import search
from cxreport.metrics.meteor.matching import MATCHERS, Matchers
from cxreport.metrics.meteor.search import align

LEXICON = make_lexicon(
    function_words="a the",
    synonyms={"b": [1], "c": [1], "a": [2], "the": [2]},
    paraphrases=[("a b", "c"), ("c", "a b"), ("b", "the a"), ("the", "of the"), ("c d e", "b")],
)
WORDS = "a b c d e the of runs running"
texts = st.lists(st.sampled_from(WORDS.split()), max_size=14).map(tuple)


def counted(pairs: list[tuple[tuple[str, ...], tuple[str, ...]]]) -> None:
    """Compares every count of the array version with the plain one."""
    matchers = Matchers(LEXICON, {text for pair in pairs for text in pair})
    candidates = [matchers.candidates(*pair) for pair in pairs]
    aligned = align(candidates, LEXICON.function_words)
    for place, pair in enumerate(candidates):
        path = best_path(pair)
        draft, reference = (np.zeros((MATCHERS, 2)) for _ in range(2))
        for match in path.matches:
            for word in pair.draft[match.start : match.start + match.draft_words]:
                draft[match.matcher, int(word in LEXICON.function_words)] += 1
            for word in pair.reference[match.place : match.place + match.reference_words]:
                reference[match.matcher, int(word in LEXICON.function_words)] += 1
        np.testing.assert_array_equal(aligned.draft[place], draft)
        np.testing.assert_array_equal(aligned.reference[place], reference)
        assert aligned.chunks[place] == path.chunks
        taken = [
            word for match in path.matches for word in range(match.start, match.start + match.draft_words)
        ]
        assert len(taken) == len(set(taken))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=6))
def test_equals_the_plain_search(pairs: list[tuple[tuple[str, ...], tuple[str, ...]]]) -> None:
    counted(pairs)


def test_equals_the_plain_search_where_the_beam_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = random.Random(3)
    words = WORDS.split()
    pairs = [
        tuple(tuple(generator.choices(words, k=generator.randint(20, 45))) for _ in range(2))
        for _ in range(12)
    ]
    counted(pairs)  # type: ignore[arg-type]
    monkeypatch.setattr(search, "_LARGEST_KEY", 0)
    monkeypatch.setattr(search, "_MOST_PAIRS", 5)
    counted(pairs)  # type: ignore[arg-type]


def test_the_beam_is_40_wide() -> None:
    """With 39 or 41 partial alignments these two texts would be aligned in another way."""
    draft = "e e the the d e a the the e the the e e e a d the a d d e a e a the e e a a"
    reference = "a e d the the a d a a a a d the a a the e e a d"
    counted([(tuple(draft.split()), tuple(reference.split()))])


def test_a_swap_costs_chunks() -> None:
    draft, reference = ("d", "e", "runs"), ("runs", "d", "e")
    aligned = align([Matchers(LEXICON, {draft, reference}).candidates(draft, reference)], frozenset())
    assert aligned.chunks.tolist() == [2.0]
    assert aligned.draft[0, 0].tolist() == [3.0, 0.0]


def test_no_pairs() -> None:
    assert align([], frozenset()).chunks.shape == (0,)

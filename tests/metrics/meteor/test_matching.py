"""The four matchers on word lists made by hand."""

from __future__ import annotations

from collections.abc import Sequence

from lexicon_by_hand import make_lexicon
from plain_search import unpacked

from cxreport.metrics.meteor.lexicon import Lexicon
from cxreport.metrics.meteor.matching import EXACT, PARAPHRASE, STEM, SYNONYM, Candidates, Matchers

LEXICON = make_lexicon(
    synonyms={"big": [1, 2], "large": [1], "lung": [3], "pulmonary": [3], "foot": [4], "pes": [4]},
    irregular={"feet": "foot"},
    paraphrases=[("is not", "no"), ("no", "without any"), ("no", "not"), ("of", "in")],
)


def candidates(draft: str, reference: str, lexicon: Lexicon = LEXICON) -> Candidates:
    texts = tuple(draft.split()), tuple(reference.split())
    return Matchers(lexicon, texts).candidates(*texts)


def fields(pair: Candidates, place: int) -> Sequence[tuple[int, int, int, int]]:
    matches = [unpacked(code, place) for code in pair.matches[place]]
    return [(match.matcher, match.start, match.draft_words, match.reference_words) for match in matches]


def test_exact_then_stem_then_synonym_by_place() -> None:
    pair = candidates("large lungs lung pulmonary big", "lung big")
    assert fields(pair, 0) == [(EXACT, 2, 1, 1), (STEM, 1, 1, 1), (SYNONYM, 1, 1, 1), (SYNONYM, 3, 1, 1)]
    assert fields(pair, 1) == [(EXACT, 4, 1, 1), (SYNONYM, 0, 1, 1)]
    assert pair.definite == [False, False]


def test_irregular_and_inflected_forms_have_the_synonyms_of_their_lemma() -> None:
    assert fields(candidates("pes", "feet"), 0) == [(SYNONYM, 0, 1, 1)]
    assert fields(candidates("larger", "big"), 0) == [(SYNONYM, 0, 1, 1)]
    assert LEXICON.synonyms.of("bigs") == {1, 2}
    assert LEXICON.synonyms.of("nothing") == frozenset()


def test_rules_apply_to_the_reference_and_then_to_the_draft() -> None:
    pair = candidates("there without any no", "no effusion is not there")
    # "no" of the reference becomes "without any"; "is not" becomes "no".
    assert fields(pair, 0) == [(EXACT, 3, 1, 1), (PARAPHRASE, 1, 2, 1)]
    assert fields(pair, 2) == [(PARAPHRASE, 3, 1, 2)]
    # The rule of the draft's "no" is applied the other way about.
    assert fields(pair, 3) == [(PARAPHRASE, 3, 1, 1)]
    assert fields(candidates("of", "in"), 0) == [(PARAPHRASE, 0, 1, 1)]


def test_definite_is_a_single_match_that_nothing_else_touches() -> None:
    assert candidates("a b c", "c x b").definite == [True, False, True]
    assert candidates("a a", "a").definite == [False]
    assert candidates("no x", "is not x").definite == [False, False, True]  # "is not" and "not" overlap
    assert candidates("no x", "is x").definite == [False, True]


def test_texts_without_words() -> None:
    assert candidates("", "a").matches == [[]]
    assert candidates("a", "").matches == []


def test_words_with_one_hash_code_are_equal_as_in_the_published_program() -> None:
    """``31 * ord("a") + ord("s") == 31 * ord("c") + ord("5")``."""
    assert fields(candidates("c5 as", "as"), 0) == [(EXACT, 0, 1, 1), (EXACT, 1, 1, 1)]
    assert fields(candidates("c4", "as"), 0) == []

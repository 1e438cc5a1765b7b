"""METEOR 1.5 (Denkowski and Lavie 2014) for English, without Java."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from cxreport.metrics.meteor.lexicon import Lexicon
from cxreport.metrics.meteor.matching import Matchers
from cxreport.metrics.meteor.normalize import meteor_words
from cxreport.metrics.meteor.resources import load_lexicon
from cxreport.metrics.meteor.search import align
from cxreport.metrics.ngrams import reference_lists
from cxreport.metrics.statistics import Tally

ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
MATCHER_WEIGHTS = np.array([1.0, 0.6, 0.8, 0.6])
"""Exact, stem, synonym, paraphrase: the parameters of METEOR 1.5 for English, task rank."""

STATISTICS = 23
LENGTHS, FUNCTION_WORDS, BY_MATCHER, CHUNKS, MATCHED = slice(2), slice(2, 4), slice(4, 20), 20, slice(21, 23)
"""Where the numbers stand; two at a time are of the draft and of the reference."""


def meteor(hypotheses: Sequence[str], references: Sequence[str] | Sequence[Sequence[str]]) -> Tally:
    """METEOR of English texts; of several references of a sample the one with the best score counts.

    The corpus score is the formula over the summed statistics, as the published program has it, not the mean
    of the samples. Raises MetricUnavailable where the word lists of METEOR are not installed.
    """
    lists = reference_lists(hypotheses, references)
    pairs = [(draft, text) for draft, texts in zip(hypotheses, lists, strict=True) for text in texts]
    statistics = match_statistics(pairs, _lexicon())
    counts = np.array([len(texts) for texts in lists])
    if len(pairs) > len(counts):
        statistics = statistics[_best_of(score_from_statistics(statistics)[:, 0], counts)]
    return meteor_tally(statistics)


def meteor_tally(statistics: np.ndarray) -> Tally:
    """The tally of the 23 statistics (N, 23) of every sample."""
    return Tally(("meteor",), _without_perfect_chunks(statistics), score_from_statistics)


def match_statistics(pairs: Sequence[tuple[str, str]], lexicon: Lexicon) -> np.ndarray:
    """METEOR's 23 numbers (N, 23) of pairs of draft and reference, in the order of the published program.

    Words of both texts; function words of both; for every matcher (exact, stem, synonym, paraphrase) matched
    content words of both and matched function words of both; chunks; matched words of both.
    """
    texts = {text for pair in pairs for text in pair}
    words = {text: tuple(meteor_words(text, lexicon.keeps_dot)) for text in texts}
    function_words = {text: sum(word in lexicon.function_words for word in words[text]) for text in texts}
    statistics = np.zeros((len(pairs), STATISTICS))
    for place, pair in enumerate(pairs):
        statistics[place, LENGTHS] = [len(words[text]) for text in pair]
        statistics[place, FUNCTION_WORDS] = [function_words[text] for text in pair]
    same = np.array([words[draft] == words[reference] for draft, reference in pairs], dtype=np.bool_)
    statistics[same] = _matched_whole(statistics[same])
    differing = np.flatnonzero(~same).tolist()
    matchers = Matchers(lexicon, {words[text] for place in differing for text in pairs[place]})
    candidates = [matchers.candidates(words[pairs[place][0]], words[pairs[place][1]]) for place in differing]
    aligned = align(candidates, lexicon.function_words)
    by_matcher = np.stack([aligned.draft, aligned.reference], axis=-1)
    statistics[differing, BY_MATCHER] = by_matcher.reshape(len(differing), BY_MATCHER.stop - BY_MATCHER.start)
    statistics[differing, CHUNKS] = aligned.chunks
    statistics[differing, MATCHED] = by_matcher.sum(axis=(1, 2))
    return statistics


def score_from_statistics(statistics: np.ndarray) -> np.ndarray:
    """METEOR (..., 1) of statistics (..., 23), of one sample or summed; 0 where nothing matches."""
    length, function = statistics[..., LENGTHS], statistics[..., FUNCTION_WORDS]
    by_matcher = statistics[..., BY_MATCHER].reshape(*statistics.shape[:-1], len(MATCHER_WEIGHTS), 2, 2)
    kinds = np.array([DELTA, 1 - DELTA])
    matched = np.einsum("m,k,...mkt->...t", MATCHER_WEIGHTS, kinds, by_matcher)
    whole = DELTA * (length - function) + (1 - DELTA) * function
    chunks = _without_perfect_chunks(statistics)[..., CHUNKS]
    with np.errstate(divide="ignore", invalid="ignore"):
        precision, recall = np.moveaxis(matched / whole, -1, 0)
        mean = 1 / ((1 - ALPHA) / precision + ALPHA / recall)
        fragmentation = chunks / statistics[..., MATCHED].mean(axis=-1)
        score = mean * (1 - GAMMA * fragmentation**BETA)
    return np.nan_to_num(np.maximum(score, 0.0), nan=0.0)[..., None]


def _matched_whole(statistics: np.ndarray) -> np.ndarray:
    """The statistics of texts that are equal: every word matches exactly, in one chunk."""
    statistics = statistics.copy()
    length, function = statistics[:, LENGTHS], statistics[:, FUNCTION_WORDS]
    exact = BY_MATCHER.start
    statistics[:, exact : exact + 4] = np.concatenate([length - function, function], axis=1)
    statistics[:, CHUNKS] = length[:, 0] > 0
    statistics[:, MATCHED] = length
    return statistics


def _without_perfect_chunks(statistics: np.ndarray) -> np.ndarray:
    """Texts that match completely in one chunk are not fragmented: they add no chunk to a sum."""
    whole = np.all(statistics[..., LENGTHS] == statistics[..., MATCHED], axis=-1)
    statistics = statistics.copy()
    statistics[..., CHUNKS] = np.where(whole & (statistics[..., CHUNKS] == 1), 0, statistics[..., CHUNKS])
    return statistics


def _best_of(scores: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The place of the first best score in each of consecutive groups of `counts` (N,)."""
    ends = np.cumsum(counts)
    return np.array(
        [end - count + scores[end - count : end].argmax() for end, count in zip(ends, counts, strict=True)]
    )


@cache
def _lexicon() -> Lexicon:
    return load_lexicon()

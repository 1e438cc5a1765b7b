"""ROUGE-L (Lin 2004) as published by ``pycocoevalcap``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cxreport.metrics.ngrams import reference_lists
from cxreport.metrics.statistics import Tally, mean_tally

_BETA = 1.2


def rouge_l(hypotheses: Sequence[str], references: Sequence[str] | Sequence[Sequence[str]]) -> Tally:
    """Mean over samples of the longest-common-subsequence F-score with beta 1.2.

    Texts are split on single blanks, so a doubled blank is an empty word that counts, and an empty text
    is one empty word. With several references the best precision and the best recall are taken
    separately. Source: ``pycocoevalcap/rouge/rouge.py``.
    """
    lists = reference_lists(hypotheses, references)
    values = [_f_score(hypothesis, texts) for hypothesis, texts in zip(hypotheses, lists, strict=True)]
    return mean_tally("rouge_l", np.array(values, dtype=np.float64))


def common_subsequence_length(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence, bit-parallel (Hyyro 2004, "Bit-parallel LCS-length")."""
    positions: dict[str, int] = {}
    for index, word in enumerate(first):
        positions[word] = positions.get(word, 0) | 1 << index
    full = (1 << len(first)) - 1
    state = full
    for word in second:
        matched = state & positions.get(word, 0)
        state = ((state + matched) | (state - matched)) & full
    return len(first) - state.bit_count()


def _f_score(hypothesis: str, references: Sequence[str]) -> float:
    words = hypothesis.split(" ")
    precision = recall = 0.0
    for reference in references:
        reference_words = reference.split(" ")
        common = common_subsequence_length(reference_words, words)
        precision = max(precision, common / len(words))
        recall = max(recall, common / len(reference_words))
    if precision == 0 or recall == 0:
        return 0.0
    return (1 + _BETA**2) * precision * recall / (recall + _BETA**2 * precision)

"""Word lists of a few words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cxreport.metrics.meteor import resources
from cxreport.metrics.meteor.lexicon import Lexicon, Paraphrases, Strings, Synonyms


def strings(texts: Sequence[str]) -> Strings:
    encoded = [text.encode() for text in sorted(texts)]
    return Strings(b"".join(encoded), np.cumsum([len(text) for text in encoded], dtype=np.int32))


def make_lexicon(
    *,
    function_words: str = "",
    synonyms: Mapping[str, Sequence[int]] | None = None,
    irregular: Mapping[str, str] | None = None,
    paraphrases: Sequence[tuple[str, str]] = (),
) -> Lexicon:
    """Word lists by hand: sets of each lemma, lemma of each irregular form, rules of phrases."""
    sets = dict(sorted((synonyms or {}).items()))
    forms = dict(sorted((irregular or {}).items()))
    phrases = sorted({tuple(side.split()) for rule in paraphrases for side in rule})
    words = sorted({word for phrase in phrases for word in phrase})
    keys, nodes = resources._tree(
        np.array([words.index(word) for phrase in phrases for word in phrase], dtype=np.int64),
        np.array([len(phrase) for phrase in phrases], dtype=np.int64),
    )
    node_of = dict(zip(phrases, nodes.tolist(), strict=True))
    rules: list[list[int]] = [[] for _ in range(len(keys) + 1)]
    for source, target in paraphrases:
        rules[node_of[tuple(source.split())]].append(node_of[tuple(target.split())])
    lemmas = list(sets)
    return Lexicon(
        function_words=frozenset(function_words.split()),
        keeps_dot={},
        synonyms=Synonyms(
            strings(lemmas),
            np.cumsum([0, *map(len, sets.values())]),
            np.array([number for row in sets.values() for number in row], dtype=np.int32),
            strings(list(forms)),
            np.arange(len(forms) + 1),
            np.array([lemmas.index(lemma) for lemma in forms.values()], dtype=np.int32),
        ),
        paraphrases=Paraphrases(
            strings(words),
            keys,
            np.cumsum([0, *map(len, rules)]),
            np.array([target for row in rules for target in row], dtype=np.int32),
        ),
    )

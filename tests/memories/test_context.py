"""Which train studies a context may be chosen from, and which are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from cxreport.errors import UserError
from cxreport.memories.bank import Bank, Entry, Origin
from cxreport.memories.context import NEGATIVE, POSITIVE, Contexts, drawn, sides_of
from cxreport.model_options import LanguageModelOptions, R2GenCSROptions

TEXTS = ["opacity is noted .", "clear .", "a notebook .", "no effusion .", "edema .", "normal heart ."]
NORMAL, ILL, SILENT = {"No Finding": 1}, {"Edema": 1, "No Finding": 0}, dict[str, int]()
LABELS = [ILL, NORMAL, SILENT, NORMAL, {"Edema": -1}, NORMAL]


def options(context: str, **more: Any) -> R2GenCSROptions:
    model = LanguageModelOptions(path="none")
    return R2GenCSROptions(language_model=model, context=context, context_pairs=1, **more)


class TestSides:
    @pytest.mark.parametrize("context", ["label", "nearest"])
    def test_by_the_label_no_finding_where_there_are_labels(self, context: str) -> None:
        assert sides_of(options(context), TEXTS, LABELS) == ([0, 4], [1, 3, 5])

    @pytest.mark.parametrize("context", ["keyword", "fixed"])
    def test_by_a_word_also_inside_another(self, context: str) -> None:
        assert sides_of(options(context), TEXTS, LABELS) == ([0, 2], [1, 3, 4, 5])

    def test_a_word_that_marks_what_is_normal(self) -> None:
        chinese = ["未 见 异 常 。", "肺 炎 。", "心 影 未 见 增 大 。"]
        chosen = options("keyword", context_keyword="未 见", keyword_marks="negative")
        assert sides_of(chosen, chinese, [SILENT] * 3) == ([1], [0, 2])

    def test_at_random_the_sides_share_nothing_and_miss_nothing(self) -> None:
        positive, negative = sides_of(options("random"), TEXTS, LABELS)
        assert sorted(positive + negative) == list(range(6))
        assert len(positive) == len(negative) == 3
        others = [sides_of(options("random", context_seed=seed), TEXTS, LABELS)[0] for seed in range(20)]
        assert len({tuple(side) for side in others}) > 5

    @pytest.mark.parametrize(
        ("context", "texts", "labels", "why"),
        [
            ("label", TEXTS, [ILL] * 6, r"label finds 0 negative.*0 of 6 train studies have the label No F"),
            ("nearest", TEXTS, [NORMAL] * 6, "nearest finds 0 positive"),
            ("nearest", TEXTS, [SILENT] * 6, "nearest finds 0 positive"),
            ("keyword", ["clear ."] * 3, [ILL] * 3, "0 of 3 train reports contain 'note'"),
            ("fixed", ["noted ."] * 3, [ILL] * 3, "fixed finds 0 negative"),
            ("random", ["clear ."], [ILL], "too few studies"),
        ],
    )
    def test_a_side_without_studies(self, context: str, texts: Any, labels: Any, why: str) -> None:
        with pytest.raises(UserError, match=why):
            sides_of(options(context), texts, labels)


class TestDrawing:
    def test_the_seed_and_the_side_decide(self) -> None:
        places, chosen = list(range(100, 200)), options("keyword", context_pool=5)
        pool = drawn(places, chosen, POSITIVE)
        assert len(set(pool)) == 5
        assert set(pool) <= set(places)
        assert pool == drawn(places, chosen, POSITIVE)
        assert pool != drawn(places, chosen, NEGATIVE)
        assert pool != drawn(places, options("keyword", context_pool=5, context_seed=1), POSITIVE)

    def test_a_smaller_pool_is_the_start_of_a_larger_one(self) -> None:
        pools = [drawn(range(50), options("fixed", context_pool=size), NEGATIVE) for size in (3, 30)]
        assert pools[0] == pools[1][:3]

    def test_no_more_than_there_are(self) -> None:
        assert sorted(drawn([4, 8], options("keyword"), NEGATIVE)) == [4, 8]


def bank_of(kinds: list[str], vectors: Any = None) -> Bank:
    entries = [Entry(f"s{number}", f"p{number % 4}", kind) for number, kind in enumerate(kinds)]
    rows = torch.eye(len(kinds)) if vectors is None else torch.tensor(vectors)
    return Bank(rows, entries, Origin({"sha256": "d"}))


class TestContexts:
    def test_the_first_or_drawn_ones_of_each_side(self) -> None:
        contexts = Contexts(bank_of([NEGATIVE] * 5 + [POSITIVE] * 5), pairs=2)
        first = contexts.first()
        assert {side: places.tolist() for side, places in first.items()} == {
            NEGATIVE: [0, 1],
            POSITIVE: [5, 6],
        }
        draws = [contexts.first(seed) for seed in range(20)]
        assert {len(set(draw[NEGATIVE].tolist())) for draw in draws} == {2}
        assert {place for draw in draws for place in draw[NEGATIVE].tolist()} == set(range(5))
        assert {place for draw in draws for place in draw[POSITIVE].tolist()} == set(range(5, 10))
        assert np.array_equal(contexts.first(3)[POSITIVE], contexts.first(3)[POSITIVE])

    def test_the_nearest_of_each_side_but_of_another_patient(self) -> None:
        kinds = [NEGATIVE, POSITIVE, NEGATIVE, POSITIVE, NEGATIVE, POSITIVE]
        vectors = [[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [0.5, 1.0], [0.0, 1.0], [0.9, 0.3]]
        contexts = Contexts(bank_of(kinds, vectors), pairs=2)
        query = torch.tensor([[1.0, 0.0]])
        found = contexts.nearest(query, [], [])
        assert (found[NEGATIVE].tolist(), found[POSITIVE].tolist()) == ([[0, 2]], [[1, 5]])
        found = contexts.nearest(query, ["new"], ["p2"])  # owns s2
        assert (found[NEGATIVE].tolist(), found[POSITIVE].tolist()) == ([[0, 4]], [[1, 5]])
        with pytest.raises(UserError, match="make a larger bank or ask for fewer"):
            contexts.nearest(query, ["new"], ["p1"])  # owns s1 and s5

    def test_a_bank_without_a_side(self) -> None:
        with pytest.raises(UserError, match="0 negative studies, and a context needs 1"):
            Contexts(bank_of([POSITIVE, POSITIVE]), pairs=1)

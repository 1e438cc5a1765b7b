"""R@K against counting every order, by hand, and at chance."""

from __future__ import annotations

from itertools import pairwise, permutations
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cxreport.metrics.retrieval import hits_at, retrieval_scores


def counted(similarities: list[int], relevant: list[bool], depth: int) -> float:
    """The share of all orders of equal candidates in which a right answer is among the first."""
    orders = [
        order
        for order in permutations(range(len(similarities)))
        if all(similarities[a] >= similarities[b] for a, b in pairwise(order))
    ]
    return float(np.mean([any(relevant[place] for place in order[:depth]) for order in orders]))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), depth=st.integers(1, 7))
def test_ties_are_counted_as_every_order_of_them(data: st.DataObject, depth: int) -> None:
    similarities = data.draw(arrays(np.int64, 5, elements=st.integers(0, 2)))
    relevant = data.draw(arrays(np.bool_, 5).filter(lambda each: each.any()))
    found = hits_at(similarities[None].astype(float), relevant[None], depth)[0]
    assert found == pytest.approx(counted(similarities.tolist(), relevant.tolist(), depth), abs=1e-12)


def test_by_hand() -> None:
    similarities = np.array([[0.9, 0.5, 0.1], [0.2, 0.3, 0.9], [0.1, 0.2, 0.3]])
    own = np.eye(3, dtype=bool)
    assert hits_at(similarities, own, 1).tolist() == [1, 0, 1]
    assert hits_at(similarities, own, 2).tolist() == [1, 1, 1]
    scores = retrieval_scores(similarities, own, ["a", "b", "b"], seed=1, depths=(1, 2))
    assert scores["R@1"]["value"] == pytest.approx(2 / 3)
    assert scores["R@1"]["chance"] == pytest.approx(1 / 3)
    assert scores["R@1"]["times_chance"] == pytest.approx(2)
    assert scores["R@2"]["ci95"] == [1, 1]
    assert scores["R@1"]["n"] == 3


@pytest.mark.parametrize(("right", "depth"), [(1, 5), (3, 5), (10, 10), (2, 1)])
def test_equal_similarities_are_chance(right: int, depth: int) -> None:
    relevant = np.zeros((2, 40), dtype=bool)
    relevant[:, :right] = True
    expected = 1 - comb(40 - right, depth) / comb(40, depth)
    assert hits_at(np.ones((2, 40)), relevant, depth) == pytest.approx(expected)


def test_a_duplicate_report_gains_nothing() -> None:
    """Of four equal candidates one is a study's own: it is among the first two half of the time."""
    similarities, own = np.array([[0.8, 0.8, 0.8, 0.8, 0.1]]), np.array([[1, 0, 0, 0, 0]], dtype=bool)
    assert hits_at(similarities, own, 2)[0] == pytest.approx(0.5)
    identical = np.array([[1, 1, 1, 1, 0]], dtype=bool)
    assert hits_at(similarities, identical, 1)[0] == 1


def test_a_query_without_an_answer_is_refused() -> None:
    with pytest.raises(ValueError, match="no right answer"):
        hits_at(np.zeros((1, 2)), np.zeros((1, 2), dtype=bool), 1)

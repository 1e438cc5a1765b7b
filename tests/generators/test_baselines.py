"""Baselines and the shuffle, against brute force and by their properties."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxreport.generators import baselines
from cxreport.generators.baselines import most_frequent, nearest_neighbour, other_studies, random_train


def test_most_frequent_breaks_ties_by_the_alphabet_whatever_the_order() -> None:
    assert most_frequent(["normal .", "edema .", "normal ."]) == "normal ."
    assert most_frequent(["b", "a", "b", "a", "c"]) == most_frequent(["a", "b", "c", "a", "b"]) == "a"


def test_random_train_is_seeded_and_follows_the_frequencies() -> None:
    reports = ["normal ."] * 3 + ["edema ."]
    drawn = random_train(reports, 4000, seed=1)
    assert drawn == random_train(reports, 4000, seed=1)
    assert drawn != random_train(reports, 4000, seed=2)
    assert Counter(drawn)["normal ."] / 4000 == pytest.approx(0.75, abs=0.03)


def test_baselines_need_reports() -> None:
    with pytest.raises(ValueError, match="no train reports"):
        most_frequent([])
    with pytest.raises(ValueError, match="no train reports"):
        random_train([], 3, seed=0)


def test_nearest_neighbour_equals_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "_TRAIN_BLOCK", 7)
    rng = np.random.default_rng(0)
    train, queries = rng.normal(size=(31, 5)).astype(np.float32), rng.normal(size=(11, 5)).astype(np.float32)
    expected = []
    for query in queries:
        cosines = [query @ row / np.linalg.norm(query) / np.linalg.norm(row) for row in train]
        expected.append(f"report {int(np.argmax(cosines))}")
    assert nearest_neighbour(train, [f"report {i}" for i in range(31)], queries) == expected


def test_nearest_neighbour_ignores_length_and_takes_the_earlier_of_equals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(baselines, "_TRAIN_BLOCK", 2)
    train = np.array([[0.0, 1.0], [2.0, 0.1], [40.0, 2.0], [20.0, 1.0]])
    assert nearest_neighbour(train, list("abcd"), np.array([[1.0, 0.05], [0.0, 0.0], [0.0, 9.0]])) == [
        "b",
        "a",
        "a",
    ]


def test_rounding_decides_nothing_between_features_of_one_direction() -> None:
    directions = np.random.default_rng(5).normal(size=(20, 1, 7))
    for direction in directions:
        train = direction * np.linspace(0.1, 9, 40)[:, None]
        assert nearest_neighbour(train, [str(i) for i in range(40)], direction) == ["0"]


def test_nearest_neighbour_refuses_features_that_are_no_numbers() -> None:
    with pytest.raises(ValueError, match="not finite"):
        nearest_neighbour(np.array([[np.nan]]), ["a"], np.array([[1.0]]))
    with pytest.raises(ValueError, match="2 feature rows for 1"):
        nearest_neighbour(np.ones((2, 1)), ["a"], np.ones((1, 1)))


@given(st.lists(st.sampled_from("aabc"), min_size=2, max_size=40), st.integers(0, 5))
def test_every_study_gets_another_one_and_as_few_as_possible_their_own_truth(
    truths: list[str], seed: int
) -> None:
    partners = other_studies(truths, seed)
    assert sorted(partners) == list(range(len(truths)))
    assert all(partner != index for index, partner in enumerate(partners))
    same = sum(truths[partner] == truths[index] for index, partner in enumerate(partners))
    largest = max(Counter(truths).values())
    assert same == max(0, 2 * largest - len(truths))


def test_shuffles_are_seeded_and_need_two_studies() -> None:
    truths = list(range(30))
    assert other_studies(truths, 1) == other_studies(truths, 1) != other_studies(truths, 2)
    with pytest.raises(ValueError, match="no other study"):
        other_studies(["a"], 0)

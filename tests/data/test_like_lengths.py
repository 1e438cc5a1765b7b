"""Batches of texts of like length: nothing lost, little padding, other batches in every epoch."""

from __future__ import annotations

import numpy as np
import pytest

from cxreport.data.batch import EpochSampler

LENGTHS = np.random.default_rng(3).integers(5, 120, size=2003).tolist()
BATCH = 16


def batches(order: list[int]) -> list[list[int]]:
    return [order[start : start + BATCH] for start in range(0, len(order), BATCH)]


def padded(order: list[int]) -> int:
    """Words that a model reads when every batch is as long as its longest text."""
    return sum(len(batch) * max(LENGTHS[index] for index in batch) for batch in batches(order))


def test_every_text_comes_once_and_little_is_padding() -> None:
    plain = list(EpochSampler(2003, 1))
    alike = list(EpochSampler(2003, 1, lengths=LENGTHS, batch_size=BATCH))
    assert sorted(alike) == list(range(2003))
    words = sum(LENGTHS)
    assert padded(plain) / words > 1.6
    assert padded(alike) / words < 1.1


def test_long_and_short_batches_are_mixed_and_no_epoch_is_like_another() -> None:
    sampler = EpochSampler(2003, 1, lengths=LENGTHS, batch_size=BATCH)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert {frozenset(batch) for batch in batches(first)}.isdisjoint(map(frozenset, batches(second)))
    means = [np.mean([LENGTHS[index] for index in batch]) for batch in batches(first)[:-1]]
    half = len(means) // 2
    assert np.mean(means[:half]) == pytest.approx(np.mean(means[half:]), rel=0.3)


def test_processes_share_a_batch_of_like_length() -> None:
    shares = [list(EpochSampler(2003, 1, r, 2, lengths=LENGTHS, batch_size=BATCH)) for r in range(2)]
    assert len(shares[0]) == len(shares[1]) == 1002
    assert sorted({*shares[0], *shares[1]}) == list(range(2003))
    for one, other in list(zip(*map(batches, shares), strict=True))[:-1]:
        assert np.ptp([LENGTHS[index] for index in one + other]) <= 20

"""Dropout from random bytes has the statistics of dropout."""

from __future__ import annotations

import pytest
import torch

from cxreport.memories.layers import Dropout, dropout, dropout_factors


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_rate_and_the_mean_hold(rate: float) -> None:
    torch.manual_seed(0)
    x = torch.ones(1000, 1001)
    dropped = dropout(x, rate)
    assert float((dropped == 0).float().mean()) == pytest.approx(rate, abs=1 / 512 + 0.002)
    assert float(dropped.mean()) == pytest.approx(1, abs=0.01)
    assert len(dropped.unique()) == 2


def test_values_are_dropped_one_by_one() -> None:
    torch.manual_seed(0)
    kept = dropout_factors((200_000,), 0.5, torch.ones(1)) > 0
    for lag in (1, 2, 4, 7, 8, 64):
        both = (kept[lag:] & kept[:-lag]).float().mean()
        assert float(both) == pytest.approx(0.25, abs=0.01), lag
    for byte in range(8):
        assert float(kept[byte::8].float().mean()) == pytest.approx(0.5, abs=0.02), byte


def test_gradients_pass_where_values_do() -> None:
    torch.manual_seed(0)
    x = torch.randn(50, requires_grad=True)
    dropped = dropout(x, 0.3)
    dropped.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.where(dropped == 0, 0.0, 256 / (256 - round(0.3 * 256))))


def test_seeded_and_silent_in_evaluation() -> None:
    layer, x = Dropout(0.5), torch.randn(9, 3)
    draws = []
    for _ in range(2):
        torch.manual_seed(4)
        draws.append(layer(x))
    assert torch.equal(*draws)
    assert layer.eval()(x) is x
    assert dropout(x, 0.0) is x

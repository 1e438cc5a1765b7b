"""Hopfield memory: what an update does, when it stops, and what a batch shares."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from cxreport.memories.hopfield import STOP, HopfieldMemory, HopfieldOptions

WIDTH, HEADS, HEAD_WIDTH = 6, 3, 5


def build(
    steps: int | None = 0, patterns: int | Tensor = 9, scaling: float = 4.0, dropout: float = 0.0
) -> HopfieldMemory:
    torch.manual_seed(1)
    options = HopfieldOptions(WIDTH, HEAD_WIDTH, 4, 7, HEADS, scaling, steps, dropout)
    return HopfieldMemory(patterns, options).double()


def states(samples: int = 2) -> Tensor:
    return torch.randn(samples, 4, WIDTH, dtype=torch.double, generator=torch.Generator().manual_seed(3))


def test_without_updates_by_the_equations() -> None:
    memory, x = build(patterns=torch.randn(9, WIDTH)), states()
    found = memory(x)
    normal = torch.nn.functional.layer_norm
    y = normal(memory.patterns[0], (WIDTH,))
    read, association = [], []
    for head in range(HEADS):
        narrow, wide = slice(5 * head, 5 * head + 5), slice(4 * head, 4 * head + 4)
        query = memory.query(normal(x, (WIDTH,)))[..., narrow]
        weights = torch.softmax(4.0 * query @ memory.key(y)[:, narrow].T, dim=-1)
        association.append(weights)
        read.append(weights @ memory.value(y)[:, wide])
    torch.testing.assert_close(found.association, torch.stack(association, dim=1))
    torch.testing.assert_close(found.output, memory.output(torch.cat(read, dim=-1)))


def energy(queries: Tensor, keys: Tensor, scaling: float) -> Tensor:
    """Of every state (B, H, L): -lse(beta, K q) + q.q / 2, up to a constant."""
    fit = torch.logsumexp(scaling * queries @ keys.transpose(1, 2), dim=-1) / scaling
    return queries.square().sum(dim=-1) / 2 - fit


def test_an_update_lowers_the_energy() -> None:
    memory = build()
    keys, _ = memory.project()
    queries = torch.randn(2, HEADS, 4, HEAD_WIDTH, dtype=torch.double)
    energies = []
    for _ in range(6):
        energies.append(energy(queries, keys, 4.0))
        queries = memory.settle(queries, keys) @ keys
    falls = torch.stack(energies).diff(dim=0)
    assert (falls <= 1e-12).all()
    assert (falls[0] < 0).all()


@pytest.mark.parametrize("steps", [1, None])
def test_a_state_moves_to_the_pattern_it_is_nearest_to(steps: int | None) -> None:
    memory = build(steps, scaling=20.0)
    keys = torch.eye(HEAD_WIDTH, dtype=torch.double).expand(HEADS, -1, -1)
    nearest = torch.tensor([3, 0, 4, 1])
    start = 0.5 * keys[0, nearest] + 0.1
    association = memory.settle(start.expand(2, HEADS, -1, -1), keys)
    assert (association.argmax(dim=-1) == nearest).all()
    moved = association @ keys
    assert ((moved - keys[0, nearest]).norm(dim=-1) < 0.01).all()
    assert ((start - keys[0, nearest]).norm(dim=-1) > 0.4).all()


def test_more_updates_sharpen_what_is_found() -> None:
    x = states()
    entropies = []
    for steps in (0, 1, 3):
        association = build(steps, scaling=8.0)(x).association.detach()
        entropies.append(float(-(association * association.clamp(min=1e-30).log()).sum()))
    assert entropies[0] > entropies[1] > entropies[2]
    assert entropies[0] < 2 * HEADS * 4 * math.log(9)


def test_settled_states_stay_and_the_rule_counts_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    memory, calls = build(None), []
    plain = memory._associate
    monkeypatch.setattr(memory, "_associate", lambda *given: calls.append(1) or plain(*given))
    keys, _ = memory.project()
    settled = memory.settle(torch.randn(2, HEADS, 4, HEAD_WIDTH, dtype=torch.double), keys)
    assert len(calls) > 2
    assert (settled - plain(settled @ keys, keys)).norm() < 10 * STOP
    for steps in (0, 1, 2):
        limited = build(steps)
        counted: list[int] = []
        monkeypatch.setattr(limited, "_associate", lambda *given, c=counted: c.append(1) or plain(*given))
        limited.settle(torch.randn(2, HEADS, 4, HEAD_WIDTH, dtype=torch.double), keys)
        assert len(counted) == steps + 1


def test_every_head_settles_for_itself() -> None:
    memory = build(None, scaling=5.0)
    keys = torch.randn(HEADS, 8, HEAD_WIDTH, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    queries = torch.randn(
        2, HEADS, 4, HEAD_WIDTH, dtype=torch.double, generator=torch.Generator().manual_seed(2)
    )
    together = memory.settle(queries, keys)
    for head in range(HEADS):
        kept = slice(head, head + 1)
        assert torch.equal(memory.settle(queries[:, kept], keys[kept]), together[:, kept])


def test_without_updates_a_batch_shares_nothing() -> None:
    memory, x = build(0), states(5)
    whole = memory(x)
    for sample in range(5):
        alone = memory(x[sample : sample + 1])
        torch.testing.assert_close(alone.output[0], whole.output[sample], atol=1e-12, rtol=0)
        torch.testing.assert_close(alone.association[0], whole.association[sample], atol=1e-12, rtol=0)


@pytest.mark.parametrize("steps", [0, 2])
def test_every_parameter_is_taught(steps: int) -> None:
    memory = build(steps)
    memory(states()).output.square().sum().backward()
    for name, parameter in memory.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        # a constant added to all keys cancels in the softmax
        assert (parameter.grad.abs().max() > 1e-9) is not (steps == 0 and name == "key.bias"), name


def test_stored_patterns_are_saved_and_not_taught() -> None:
    stored = torch.randn(9, WIDTH, dtype=torch.double)
    memory = build(patterns=stored)
    assert "patterns" not in dict(memory.named_parameters())
    other = build(patterns=torch.zeros(9, WIDTH))
    other.load_state_dict(memory.state_dict())
    assert torch.equal(other(states()).output, memory(states()).output)
    assert "patterns" in dict(build().named_parameters())


def test_projected_patterns_can_be_kept() -> None:
    memory, x = build(2), states()
    kept = memory.project()
    assert torch.equal(memory(x, kept).output, memory(x).output)


def test_dropout_acts_on_the_association_in_training_only() -> None:
    memory, x = build(dropout=0.5), states()
    assert not torch.equal(memory(x).output, memory(x).output)
    assert torch.equal(memory.eval()(x).output, memory(x).output)

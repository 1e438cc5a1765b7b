"""Relational memory and conditional normalisation against the paper's equations, one number at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cxreport.memories.layers import UnbiasedLayerNorm
from cxreport.memories.relational import ConditionalLayerNorm, RelationalMemory


def build(
    seed: int = 1, width: int = 8, slots: int = 3, heads: int = 2, dropout: float = 0.0
) -> RelationalMemory:
    torch.manual_seed(seed)
    return RelationalMemory(width, slots, heads, dropout).double()


def by_the_equations(memory: RelationalMemory, m: Tensor, y: Tensor) -> Tensor:
    """One step of one study, M (S, D) and y (D,), head by head and slot by slot."""
    slots, width = m.shape
    size = width // memory.heads
    seen = torch.cat([m, y[None]])
    rows = []
    for slot in range(slots):
        found = []
        for head in range(memory.heads):
            part = slice(head * size, (head + 1) * size)
            query = (memory.query.weight @ m[slot] + memory.query.bias)[part]
            keys = (seen @ memory.key.weight.T + memory.key.bias)[:, part]
            values = (seen @ memory.value.weight.T + memory.value.bias)[:, part]
            found.append(torch.softmax(keys @ query / size**0.5, dim=0) @ values)
        z = m[slot] + memory.output.weight @ torch.cat(found) + memory.output.bias
        inner = (memory.mlp[0].weight @ z + memory.mlp[0].bias).clamp(min=0)
        renewed = z + (memory.mlp[2].weight @ inner + memory.mlp[2].bias).clamp(min=0)
        gates = memory.token_gate.weight @ y + memory.token_gate.bias
        gates = gates + memory.memory_gate.weight @ torch.tanh(m[slot]) + memory.memory_gate.bias
        enter, keep = torch.sigmoid(gates[:width]), torch.sigmoid(gates[width:])
        rows.append(keep * m[slot] + enter * torch.tanh(renewed))
    return torch.stack(rows)


def test_three_steps_by_the_equations() -> None:
    memory = build()
    tokens = torch.randn(2, 3, 8, dtype=torch.float64)
    with torch.no_grad():
        history = memory(tokens)
        for study in range(2):
            m = torch.eye(3, 8, dtype=torch.float64)
            for step in range(3):
                m = by_the_equations(memory, m, tokens[study, step])
                torch.testing.assert_close(history[study, step], m.flatten())


def test_the_first_memory_is_the_padded_identity() -> None:
    expected = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0]])
    first = build(width=4, slots=2).float().initial(2)
    assert torch.equal(first, torch.stack([expected, expected]))


def test_step_by_step_as_all_at_once() -> None:
    memory = build()
    tokens = torch.randn(4, 6, 8, dtype=torch.float64)
    with torch.no_grad():
        m, history = memory.initial(4), memory(tokens)
        for step in range(6):
            m = memory.step(m, tokens[:, step])
            torch.testing.assert_close(m.flatten(1), history[:, step])


def test_gradients_are_those_of_finite_differences() -> None:
    memory = build(width=4, slots=2)
    tokens = torch.randn(1, 3, 4, dtype=torch.float64, requires_grad=True)
    parameters = tuple(memory.parameters())
    names = [name for name, _ in memory.named_parameters()]

    def run(tokens: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(memory, dict(zip(names, values, strict=True)), (tokens,))

    assert torch.autograd.gradcheck(run, (tokens, *parameters))


def test_later_tokens_do_not_reach_back() -> None:
    memory = build()
    tokens = torch.randn(1, 5, 8, dtype=torch.float64)
    changed = tokens.clone()
    changed[:, 3] += 1
    with torch.no_grad():
        before, after = memory(tokens), memory(changed)
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.equal(before[:, 3], after[:, 3])


def test_dropout_acts_in_training_only() -> None:
    memory = build(dropout=0.5)
    tokens = torch.randn(1, 4, 8, dtype=torch.float64)
    with torch.no_grad():
        first, second = memory(tokens), memory(tokens)
        assert not torch.equal(first, second)
        memory.eval()
        assert torch.equal(memory(tokens), memory(tokens))


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_conditional_norm_by_hand(shift: float) -> None:
    norm = ConditionalLayerNorm(3, 6)
    with torch.no_grad():
        for part in (norm.gamma_shift, norm.beta_shift):
            for parameter in part.parameters():
                parameter.zero_()
        norm.gamma_shift[2].bias.fill_(shift)
        norm.beta_shift[2].bias.copy_(torch.tensor([0.0, shift, 0.0]))
        out = norm(torch.tensor([[1.0, 2.0, 6.0]]), torch.randn(1, 6))
    # mean 3, unbiased std sqrt((4 + 1 + 9) / 2) = sqrt(7)
    plain = torch.tensor([[-2.0, -1.0, 3.0]]) / (7**0.5 + 1e-6)
    torch.testing.assert_close(out, (1 + shift) * plain + torch.tensor([0.0, shift, 0.0]))


def test_the_memory_moves_the_norm() -> None:
    torch.manual_seed(0)
    norm = ConditionalLayerNorm(4, 8)
    x = torch.randn(1, 4)
    assert not torch.allclose(norm(x, torch.randn(1, 8)), norm(x, torch.randn(1, 8)))
    assert norm.gamma_shift[0].bias.eq(0.1).all()


def test_plain_norm_is_not_torchs() -> None:
    norm = UnbiasedLayerNorm(3)
    out = norm(torch.tensor([1.0, 2.0, 6.0]))
    torch.testing.assert_close(out, torch.tensor([-2.0, -1.0, 3.0]) / (7**0.5 + 1e-6))
    constant = torch.full((3,), 5.0, requires_grad=True)
    norm(constant).sum().backward()
    assert torch.equal(norm(constant), torch.zeros(3))
    assert constant.grad is not None
    assert torch.isfinite(constant.grad).all()

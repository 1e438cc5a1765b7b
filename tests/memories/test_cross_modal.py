"""Cross-modal memory against the paper's equations, one head and one input at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cxreport.memories.cross_modal import CrossModalMemory


def build(rows: int = 12, top: int = 4, dropout: float = 0.0, seed: int = 1) -> CrossModalMemory:
    torch.manual_seed(seed)
    memory = CrossModalMemory(8, rows, heads=2, top=top, dropout=dropout).double()
    with torch.no_grad():
        memory.matrix.normal_()
    return memory


def by_the_equations(memory: CrossModalMemory, x: Tensor) -> tuple[Tensor, list[set[int]]]:
    """The response (D,) to x (D,), and the rows that each head selected."""
    found, selected = [], []
    for head in range(memory.heads):
        part = slice(4 * head, 4 * head + 4)
        query = (memory.query.weight @ x + memory.query.bias)[part]
        keys = (memory.matrix @ memory.key.weight.T + memory.key.bias)[:, part]
        values = (memory.matrix @ memory.value.weight.T + memory.value.bias)[:, part]
        scores = keys @ query / 2
        best = scores.argsort(descending=True)[: memory.top]
        found.append(torch.softmax(scores[best], dim=0) @ values[best])
        selected.append(set(best.tolist()))
    return memory.output.weight @ torch.cat(found) + memory.output.bias, selected


def test_one_input_at_a_time() -> None:
    memory = build()
    x = torch.randn(2, 3, 8, dtype=torch.double)
    reading = memory(x)
    assert reading.weights.shape == reading.rows.shape == (2, 3, 2, 4)
    for study in range(2):
        for place in range(3):
            response, selected = by_the_equations(memory, x[study, place])
            torch.testing.assert_close(reading.response[study, place], response)
            assert [set(rows) for rows in reading.rows[study, place].tolist()] == selected
    torch.testing.assert_close(reading.weights.sum(dim=-1), torch.ones(2, 3, 2, dtype=torch.double))
    assert (reading.weights.diff(dim=-1) <= 0).all()


def test_heads_select_for_themselves() -> None:
    rows = build()(torch.randn(20, 8, dtype=torch.double)).rows
    assert any(set(first) != set(second) for first, second in rows.tolist())


def test_with_all_rows_it_is_attention() -> None:
    memory = build(rows=6, top=6)
    x = torch.randn(3, 8, dtype=torch.double)
    keys, values = memory.keys_values()
    queries = memory.query(x).view(3, 2, 4).transpose(0, 1)
    attended = torch.nn.functional.scaled_dot_product_attention(queries, keys, values)
    torch.testing.assert_close(memory(x).response, memory.output(attended.transpose(0, 1).flatten(1)))


def test_only_selected_rows_are_taught() -> None:
    memory = build(rows=30, top=2)
    reading = memory(torch.randn(3, 8, dtype=torch.double))
    reading.response.square().sum().backward()
    assert memory.matrix.grad is not None
    taught = memory.matrix.grad.abs().sum(dim=1).nonzero().flatten().tolist()
    assert set(taught) == set(reading.rows.flatten().tolist())
    assert all(value.grad is not None and value.grad.isfinite().all() for value in memory.parameters())


def test_projected_rows_can_be_kept() -> None:
    memory, x = build(), torch.randn(5, 8, dtype=torch.double)
    kept = memory.keys_values()
    assert torch.equal(memory(x, kept).response, memory(x).response)


def test_dropout_acts_on_the_weights_in_training_only() -> None:
    memory, x = build(dropout=0.5), torch.randn(1, 8, dtype=torch.double)
    assert not torch.equal(memory(x).response, memory(x).response)
    with torch.no_grad():
        mean = torch.stack([memory(x).response for _ in range(4000)]).mean(dim=0)
        exact = memory.eval()(x).response
    torch.testing.assert_close(mean, exact, atol=0.05, rtol=0)


@pytest.mark.parametrize("width", [32, 256])
def test_the_matrix_starts_as_published(width: int) -> None:
    torch.manual_seed(0)
    matrix = CrossModalMemory(width, 2000, heads=2, top=4, dropout=0.1).matrix.detach()
    assert float(matrix.std()) == pytest.approx(1 / width, rel=0.02)
    assert abs(float(matrix.mean())) < 0.05 / width

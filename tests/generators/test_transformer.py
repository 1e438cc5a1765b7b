"""Transformer parts: attention by hand, rows of a ragged batch, shared caches of beams, positions."""

from __future__ import annotations

import math

import pytest
import torch

from cxreport.generators.memory_transformer import MemoryTransformer
from cxreport.generators.transformer import (
    Ancestry,
    Attention,
    KeyValueCache,
    Places,
    position_table,
    take_beams,
)
from cxreport.model_options import R2GenOptions


def test_attention_by_hand() -> None:
    torch.manual_seed(0)
    attention = Attention(4, 2, dropout=0.0)
    x, context = torch.randn(1, 2, 4), torch.randn(1, 3, 4)
    mask = torch.tensor([[True, True, True], [True, False, True]])
    with torch.no_grad():
        found = attention(x, context, mask)
        joined = torch.zeros(2, 4)
        for head in (slice(0, 2), slice(2, 4)):
            query, key = attention.query(x)[0, :, head], attention.key(context)[0, :, head]
            scores = (query @ key.T / math.sqrt(2)).masked_fill(~mask, -1e9)
            joined[:, head] = torch.softmax(scores, dim=1) @ attention.value(context)[0, :, head]
        torch.testing.assert_close(found[0], attention.output(joined))


def test_attention_with_dropout_has_the_right_mean() -> None:
    torch.manual_seed(0)
    attention = Attention(4, 2, dropout=0.25)
    x, context = torch.randn(1, 2, 4), torch.randn(1, 3, 4)
    mask = torch.tensor([[True, True, False], [True, False, True]])
    with torch.no_grad():
        mean = torch.stack([attention(x, context, mask) for _ in range(4000)]).mean(0)
        torch.testing.assert_close(mean, attention.eval()(x, context, mask), atol=0.02, rtol=0)


def test_rows_leave_out_padding_and_change_nothing_else() -> None:
    torch.manual_seed(0)
    options = R2GenOptions(width=16, feed_forward=24, heads=2, layers=2, memory_heads=2, dropout=0.0)
    network = MemoryTransformer(9, 5, options)
    ids = torch.tensor([[0, 3, 4, 5, 6], [0, 7, 0, 0, 0], [0, 2, 9, 0, 0]])
    real = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]]).bool()
    features = torch.randn(3, 4, 5)
    network.feature_dropout.rate = 0.0
    found = []
    for places in (None, Places(real)):
        network.zero_grad()
        decoded = network.decode(network.encode(features), None, ids, places)
        rows = decoded[real] if places is None else decoded
        rows.square().sum().backward()
        gradients = [value.grad for value in network.parameters() if value.grad is not None]
        found.append([rows.detach(), *gradients])
    assert found[0][0].shape == (10, 16)
    for whole, ragged in zip(*found, strict=True):
        torch.testing.assert_close(whole, ragged, atol=1e-4, rtol=1e-4)


def test_places_go_there_and_back() -> None:
    real = torch.tensor([[True, False, True], [False, True, False]])
    grid = torch.arange(12.0).reshape(2, 3, 2)
    places = Places(real)
    rows = places.rows(grid)
    assert torch.equal(rows, grid[real])
    assert torch.equal(places.grid(rows), grid * real.unsqueeze(2))


def test_a_cache_keeps_everything_in_order() -> None:
    cache = KeyValueCache()
    parts = [torch.randn(2, 3, width, 4) for width in (1, 3, 3, 20, 3)]
    for count, part in enumerate(parts, start=1):
        keys, values = cache.extend(part, -part)
        assert torch.equal(keys, torch.cat(parts[:count], dim=2))
        assert torch.equal(values, -keys)


def test_beams_see_their_own_ancestors() -> None:
    ancestry = Ancestry(1, torch.device("cpu"))
    assert ancestry.extend(1).tolist() == [[[[True]]]]
    ancestry.reorder(torch.tensor([[0, 0]]))
    assert ancestry.extend(2).int().tolist() == [[[[1, 1, 0], [1, 0, 1]]]]
    ancestry.reorder(torch.tensor([[1, 1]]))
    assert ancestry.extend(2).int().tolist() == [[[[1, 0, 1, 1, 0], [1, 0, 1, 0, 1]]]]


def test_beams_are_taken_within_their_study() -> None:
    x = torch.arange(12).reshape(2, 3, 2)
    taken = take_beams(x, torch.tensor([[2, 2], [0, 1]]))
    assert taken.tolist() == [[[4, 5], [4, 5]], [[6, 7], [8, 9]]]


@pytest.mark.parametrize("width", [6, 7])
def test_positions_by_the_formula(width: int) -> None:
    table = position_table(40, width)
    for position, channel in ((0, 0), (0, 1), (7, 2), (39, 5), (3, width - 1)):
        angle = position / 10000 ** (2 * (channel // 2) / width)
        expected = math.cos(angle) if channel % 2 else math.sin(angle)
        assert float(table[position, channel]) == pytest.approx(expected, abs=1e-5)

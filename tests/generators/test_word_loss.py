"""The loss that says which words image tokens stand for."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from cxreport.generators.word_loss import word_loss

TABLE = torch.eye(4, 3)
"""Words 0, 1 and 2 lie along an axis each; word 3 nowhere."""


def told(image: Tensor, reports: list[list[int]], present: Tensor | None = None) -> float:
    """The loss; -1 ends a report, and word 1 pads it, which has to count no more than any other."""
    ids = torch.tensor(reports)
    return float(word_loss(image, present, TABLE, ids.clamp_min(0) + (ids < 0).long(), ids >= 0))


def test_by_hand() -> None:
    """Two studies, of which the first alone has word 1; both have word 0; word 2 is in neither."""
    image = torch.tensor([[[0.0, 2.0, 5.0]], [[0.0, -1.0, 5.0]]])
    even, sure = math.log((1 + 0.5) / 1.5), math.log((2 + 0.5) / 0.5)

    def missed(logit: float) -> float:
        return math.log1p(math.exp(-logit))

    by_word = [2 * missed(sure), missed(1.5 + even) + missed(1.5 - even)]
    assert told(image, [[0, 1], [0, -1]]) == pytest.approx(sum(by_word) / 4, rel=1e-6)


def test_several_tokens_are_their_log_sum_exp() -> None:
    tokens = torch.randn(3, 5, 3, generator=torch.Generator().manual_seed(1))
    one = tokens.logsumexp(dim=1, keepdim=True)  # the table's axes are the words
    reports = [[0, 1], [1, 2], [0, -1]]
    assert told(tokens, reports) == pytest.approx(told(one, reports), rel=1e-5)


def test_tokens_that_do_not_exist_say_nothing() -> None:
    tokens = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(2))
    present = torch.tensor([[True, True, False], [True, True, True]])
    changed = tokens.clone()
    changed[0, 2] = 50.0
    reports = [[0, 1], [2, 1]]
    assert told(tokens, reports, present) == told(changed, reports, present)
    assert told(tokens, reports) != told(changed, reports)


def test_what_every_study_says_does_not_count() -> None:
    tokens = torch.randn(2, 1, 3, generator=torch.Generator().manual_seed(3))
    reports = [[0, 1], [2, 1]]
    assert told(tokens + 4.0, reports) == pytest.approx(told(tokens, reports), rel=1e-5)


def test_it_teaches_tokens_the_words_and_leaves_the_words_alone() -> None:
    table = torch.randn(6, 8, generator=torch.Generator().manual_seed(4), requires_grad=True)
    tokens = torch.zeros(4, 2, 8, requires_grad=True)
    ids = torch.tensor([[0, 5], [1, 5], [2, 5], [3, 5]])
    with torch.no_grad():
        start = float(word_loss(tokens, None, table, ids, ids >= 0))
    optimizer = torch.optim.Adam([tokens], lr=0.1)
    tokens.data.normal_(generator=torch.Generator().manual_seed(5))
    for _ in range(100):
        optimizer.zero_grad()
        loss = word_loss(tokens, None, table, ids, ids >= 0)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert table.grad is None
    assert float(loss.detach()) < 0.2 * start
    scores = (tokens @ table.T).logsumexp(dim=1)
    own = (scores - scores.mean(dim=0))[:, :4].argmax(dim=1)
    assert own.tolist() == [0, 1, 2, 3]

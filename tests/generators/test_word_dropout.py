"""What word dropout hides, and where it is applied."""

from __future__ import annotations

import pytest
import torch

from cxreport.generators.word_dropout import WordDropout


def test_a_share_of_the_words_is_hidden_whole_and_the_rest_is_as_it_was() -> None:
    torch.manual_seed(0)
    words = torch.rand(50, 40, 3) + 1
    seen = WordDropout(0.3)(words)
    hidden = (seen == 0).all(dim=2)
    torch.testing.assert_close(seen[~hidden], words[~hidden], atol=0, rtol=0)
    assert hidden.float().mean().item() == pytest.approx(0.3, abs=0.03)


def test_evaluation_hides_nothing() -> None:
    words = torch.rand(2, 5, 3)
    assert WordDropout(0.9).eval()(words) is words
    assert WordDropout(0.0)(words) is words

"""The causal convolution against PyTorch's, in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from cxreport.encoders.causal_conv import MOST_TAPS, causal_conv


def reference(x: Tensor, weight: Tensor, bias: Tensor, order: Tensor | None = None) -> Tensor:
    """The formula, one group and one step at a time."""
    width, taps = x.shape[2], weight.shape[1]
    groups, out = len(weight) // width, []
    for group in range(groups):
        visits = torch.arange(x.shape[1]) if order is None else order[group]
        own = slice(group * width, (group + 1) * width)
        padded = functional.pad(x[:, visits], (0, 0, taps - 1, 0))
        steps = [(padded[:, t : t + taps] * weight[own].t()).sum(1) + bias[own] for t in range(x.shape[1])]
        out.append(torch.stack(steps, dim=1)[:, visits.argsort()])
    return functional.silu(torch.cat(out, dim=2))


@settings(max_examples=10, deadline=None)
@given(
    batch=st.integers(1, 2),
    width=st.integers(1, 36),
    groups=st.integers(1, 4),
    taps=st.integers(1, 6),
    length=st.integers(1, 70),
    ordered=st.booleans(),
    threads=st.integers(1, 3),
)
def test_result_and_gradients(
    batch: int, width: int, groups: int, taps: int, length: int, ordered: bool, threads: int
) -> None:
    torch.manual_seed(width)
    shapes = ((batch, length, width), (groups * width, taps), (groups * width,))
    exact = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    order = torch.stack([torch.randperm(length) for _ in range(groups)]) if ordered else None
    expected = reference(*exact, order)
    expected.sin().sum().backward()
    torch.set_num_threads(threads)
    try:
        for dtype, within in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
            ours = [each.detach().to(dtype).requires_grad_() for each in exact]
            found = causal_conv(*ours, order)
            found.sin().sum().backward()
            for mine, theirs in (
                (found, expected),
                *((a.grad, b.grad) for a, b in zip(ours, exact, strict=True)),
            ):
                assert mine is not None
                scale = theirs.abs().max().clamp(min=1e-3)
                torch.testing.assert_close(mine.double() / scale, theirs / scale, atol=within, rtol=0)
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("taps", [MOST_TAPS, MOST_TAPS + 1])
def test_longest_kernels(taps: int) -> None:
    x, weight, bias = torch.randn(1, 80, 16), torch.randn(16, taps), torch.randn(16)
    exact = reference(*(each.double() for each in (x, weight, bias)))
    torch.testing.assert_close(causal_conv(x, weight, bias).double(), exact, atol=1e-4, rtol=1e-4)


def test_a_later_step_does_not_change_an_earlier_one() -> None:
    x, weight, bias = torch.randn(1, 50, 16), torch.randn(16, 4), torch.randn(16)
    before = causal_conv(x, weight, bias)
    x[:, 30:] += 1
    after = causal_conv(x, weight, bias)
    assert torch.equal(before[:, :30], after[:, :30])
    assert not torch.equal(before[:, 30], after[:, 30])


def test_shapes_that_do_not_fit() -> None:
    x = torch.zeros(1, 5, 6)
    with pytest.raises(ValueError, match="do not fit 6 channels"):
        causal_conv(x, torch.zeros(7, 4), torch.zeros(7))
    with pytest.raises(ValueError, match="do not fit 6 channels"):
        causal_conv(x, torch.zeros(6, 4), torch.zeros(5))
    with pytest.raises(ValueError, match=r"order must be \(1, 5\)"):
        causal_conv(x, torch.zeros(6, 4), torch.zeros(6), torch.zeros(2, 5, dtype=torch.int64))


def test_the_operator_keeps_the_rules_of_pytorch() -> None:
    arguments = (torch.randn(1, 6, 8), torch.randn(16, 4), torch.randn(16), None)
    torch.library.opcheck(torch.ops.cxreport.causal_conv.default, arguments)

"""VMamba: the four scans of a map against their definition."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from cxreport.encoders import build_encoder
from cxreport.encoders.vmamba import CrossScan
from cxreport.errors import UserError
from cxreport.options import EncoderOptions


def scanned_by_definition(scan: CrossScan, x: Tensor) -> Tensor:
    """Each direction is a list of places; h = exp(dt A) h + dt B x and y = C h + D x, place by place."""
    height, width, inner = x.shape[1:]
    by_rows = [(row, column) for row in range(height) for column in range(width)]
    by_columns = [(row, column) for column in range(width) for row in range(height)]
    total = torch.zeros(x.shape[0], height, width, inner, dtype=x.dtype)
    for direction, places in enumerate([by_rows, by_columns, by_rows[::-1], by_columns[::-1]]):
        own = slice(direction * inner, (direction + 1) * inner)
        decay, skip = -scan.log_decay[own].exp(), scan.skip[own]
        state = torch.zeros(x.shape[0], inner, scan.state_size, dtype=x.dtype)
        for row, column in places:
            here = x[:, row, column]
            given = here @ scan.scan_projection[direction].T
            rank, b, c = given.split([scan.rank, scan.state_size, scan.state_size], dim=1)
            step = functional.softplus(rank @ scan.step_weight[direction].T + scan.step_bias[direction])
            state = (step.unsqueeze(2) * decay).exp() * state + (step * here).unsqueeze(2) * b.unsqueeze(1)
            total[:, row, column] += (state * c.unsqueeze(1)).sum(2) + skip * here
    return total


@pytest.mark.parametrize("state_size", [1, 3])
def test_four_scans_equal_their_definition(state_size: int) -> None:
    torch.manual_seed(0)
    scan = CrossScan(width=8, state_size=state_size, expansion=2.0)
    for parameter in scan.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x = torch.randn(2, 3, 5, 16)
    with torch.no_grad():
        ours, expected = scan._scanned(x), scanned_by_definition(scan.double(), x.double())
    torch.testing.assert_close(ours.double(), expected, atol=1e-4, rtol=1e-4)


def test_first_steps_lie_between_a_thousandth_and_a_tenth() -> None:
    torch.manual_seed(0)
    scan = CrossScan(width=32, state_size=4, expansion=2.0)
    steps = functional.softplus(scan.step_bias.detach())
    assert 0.001 <= float(steps.min()) < 0.003
    assert 0.05 < float(steps.max()) <= 0.1 + 1e-6
    torch.testing.assert_close(scan.log_decay.exp(), torch.tensor([1.0, 2, 3, 4]).expand(256, 4))


def test_r2gencsr_sees_49_tokens_of_1024() -> None:
    with torch.device("meta"):
        encoder = build_encoder(EncoderOptions(name="vmamba_base"))
    assert encoder.width == 1024
    assert round(sum(value.numel() for value in encoder.parameters()) / 1e6, 1) == 87.5
    small = build_encoder(EncoderOptions(name="vmamba_base", width=4, depths=(1, 1, 1, 1))).eval()
    with torch.no_grad():
        assert small(torch.randn(1, 3, 224, 224)).grid == (7, 7)


def test_fewer_stages_and_an_odd_width() -> None:
    encoder = build_encoder(EncoderOptions(name="vmamba_tiny", width=8, depths=(1, 2))).eval()
    with torch.no_grad():
        tokens = encoder(torch.randn(1, 3, 40, 24))
    assert (tokens.grid, encoder.width) == ((5, 3), 16)
    with pytest.raises(UserError, match="width must be even"):
        build_encoder(EncoderOptions(name="vmamba_tiny", width=9))

"""A Hopfield memory over banks: projected once, kept where nothing changes, blind to a sample's own patient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cxreport.errors import UserError
from cxreport.memories.bank import Bank, Entry, Origin
from cxreport.memories.bank_memory import BankMemory
from cxreport.memories.hopfield import HopfieldMemory, HopfieldOptions

OPTIONS = HopfieldOptions(6, head_width=5, value_width=4, output_width=7, heads=3, dropout=0.0)
IDS = (["x", "s1", "y"], ["p9", "p1", "p0"])
"""Samples of a stranger, of the study s1, and of the patient of s0."""


def bank(count: int, width: int, seed: int = 0, first: int = 0) -> Bank:
    vectors = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    entries = [Entry(f"s{number}", f"p{number}") for number in range(first, first + count)]
    return Bank(vectors, entries, Origin({"source": "test"}))


def build(seed: int = 1) -> BankMemory:
    """Five entries of the memory's own width, then four of another one."""
    torch.manual_seed(seed)
    return BankMemory([bank(5, 6), bank(4, 3, seed=1, first=1)], OPTIONS).eval()


def states() -> Tensor:
    return torch.randn(3, 2, 6, generator=torch.Generator().manual_seed(4))


def test_as_when_every_sample_projects_a_bank_of_its_own() -> None:
    """The published code expands the bank over the batch and projects each copy."""
    memory, x = build(), states()
    first, second = (each.vectors for each in memory.banks)
    patterns = torch.cat([first, memory.fits[1](second)])
    found = memory.look_up(x)
    for row in range(len(x)):
        alone = HopfieldMemory(patterns.detach(), OPTIONS).eval()
        alone.load_state_dict(
            {key: value for key, value in memory.state_dict().items() if not key.startswith(("fits", "sha"))}
            | {"patterns": patterns.detach()[None]}
        )
        expected = alone(x[row : row + 1])
        torch.testing.assert_close(found.output[row : row + 1], expected.output)
        torch.testing.assert_close(found.association[row : row + 1], expected.association)


def test_projected_once_a_step_and_kept_without_gradients() -> None:
    memory, x = build(), states()
    shapes: list[tuple[int, ...]] = []
    memory.key.register_forward_hook(lambda _module, given, _found: shapes.append(tuple(given[0].shape)))
    uncached = memory.look_up(x)
    assert shapes == [(9, 6)]  # one projection, whatever the batch
    with torch.no_grad():
        cached = [memory.look_up(x) for _ in range(3)]
    assert len(shapes) == 2
    for each in cached:
        assert torch.equal(each.output, uncached.output)
        assert torch.equal(each.association, uncached.association)


def test_kept_ones_are_made_again_for_changed_weights() -> None:
    memory, x = build(), states()
    for weight in (memory.fits[1].weight, memory.key.bias, memory.value_norm.weight):
        with torch.no_grad():
            memory.look_up(x)
            weight.mul_(3.0).add_(0.5)
            kept = memory.look_up(x).output
        assert torch.equal(kept, memory.look_up(x).output)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert memory.look_up(x).output.dtype == torch.bfloat16
    with torch.inference_mode():
        assert torch.equal(memory.look_up(x).output, kept)
    assert memory.look_up(x).output.requires_grad


def test_gradients_reach_the_fitting_layer() -> None:
    memory = build()
    memory.look_up(states()).output.square().sum().backward()
    assert isinstance(memory.fits[0], torch.nn.Identity)
    assert float(memory.fits[1].weight.grad.abs().sum()) > 0


def test_own_entries_are_hidden() -> None:
    memory = build()
    hidden = memory.hidden_from(*IDS)
    assert hidden is not None
    assert [row.nonzero()[:, 0].tolist() for row in hidden] == [[], [1, 5], [0]]
    association = memory.look_up(states(), hidden).association
    assert (association[1, :, :, [1, 5]] == 0).all()
    assert (association[2, :, :, 0] == 0).all()
    torch.testing.assert_close(association.sum(dim=3), torch.ones(3, 3, 2))
    seen = memory.look_up(states()).association
    assert torch.equal(association[0], seen[0])
    rest = [place for place in range(9) if place not in (1, 5)]
    shares = seen[1][..., rest] / seen[1][..., rest].sum(dim=2, keepdim=True)
    torch.testing.assert_close(association[1][..., rest], shares)


def test_strangers_hide_nothing_and_a_bank_of_oneself_is_refused() -> None:
    assert build().hidden_from(["x"], []) is None
    memory = BankMemory([bank(1, 6)], OPTIONS)
    with pytest.raises(UserError, match="of one patient"):
        memory.hidden_from(["x", "y"], ["p3", "p0"])


def test_weights_are_not_loaded_beside_another_bank() -> None:
    memory = build()
    assert not [key for key in memory.state_dict() if "vectors" in key]
    build(seed=2).load_state_dict(memory.state_dict())
    other = BankMemory([bank(5, 6), bank(4, 3, seed=5, first=1)], OPTIONS)
    with pytest.raises(UserError, match="another one than the weights were trained with"):
        other.load_state_dict(memory.state_dict())

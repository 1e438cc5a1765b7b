"""What an encoder saw, with squares of patches merged."""

from __future__ import annotations

import pytest
import torch

from cxreport.errors import UserError
from cxreport.generators.seen import Seen


def seen(tokens: torch.Tensor, grid: tuple[int, int], class_place: int | None = None) -> Seen:
    studies, views = tokens.shape[:2]
    mask = torch.ones(studies, views, dtype=torch.bool)
    return Seen(tokens, tokens.mean(dim=2), mask, grid, class_place)


def test_a_square_of_patches_becomes_its_mean() -> None:
    numbers = torch.arange(8.0).view(1, 1, 8, 1)  # rows 0 1 2 3 and 4 5 6 7
    merged = seen(numbers, (2, 4)).merged(2)
    assert merged.tokens.flatten().tolist() == [(0 + 1 + 4 + 5) / 4, (2 + 3 + 6 + 7) / 4]
    assert merged.grid == (1, 2)
    assert merged.class_place is None


def test_one_patch_stays_what_it_is() -> None:
    whole = seen(torch.randn(2, 1, 6, 3), (2, 3))
    assert whole.merged(1) is whole


@pytest.mark.parametrize(("place", "expected"), [(0, 0), (8, 2), (16, 4)])
def test_a_class_token_is_not_merged(place: int, expected: int) -> None:
    patches = torch.randn(2, 2, 16, 3, generator=torch.Generator().manual_seed(0))
    own = torch.full((2, 2, 1, 3), 9.0)
    with_class = torch.cat([patches[:, :, :place], own, patches[:, :, place:]], dim=2)
    merged = seen(with_class, (4, 4), place).merged(2)
    assert merged.class_place == expected
    assert torch.equal(merged.tokens[:, :, expected], own[:, :, 0])
    rest = torch.cat([merged.tokens[:, :, :expected], merged.tokens[:, :, expected + 1 :]], dim=2)
    assert torch.equal(rest, seen(patches, (4, 4)).merged(2).tokens)


@pytest.mark.parametrize("grid", [(2, 3), (3, 2)])
def test_a_grid_that_does_not_divide(grid: tuple[int, int]) -> None:
    with pytest.raises(UserError, match=r"model.merge_patches \(2\) must divide the patches of a view"):
        seen(torch.randn(1, 1, 6, 3), grid).merged(2)

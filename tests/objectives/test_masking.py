"""Which patches stay: counts, regions, order, and permutations that undo themselves."""

from __future__ import annotations

import pytest
import torch

from cxreport.encoders.contour import published_box
from cxreport.objectives.masking import kept_count, total_of_box, two_regions, uniform

BOX = torch.from_numpy(published_box(20, 20)).flatten()


def noise(batch: int, patches: int = 400) -> torch.Tensor:
    return torch.rand(batch, patches, generator=torch.Generator().manual_seed(batch))


def test_the_published_rectangle() -> None:
    """130 of 400 patches are inside; 6 of them and 40 of the others stay."""
    assert int(BOX.sum()) == 130
    assert (kept_count(130, 0.95), kept_count(270, 0.85)) == (6, 40)
    assert total_of_box(20, 20, 0.95, 0.85) == 46


def test_the_least_noise_stays_in_each_region() -> None:
    drawn = noise(3)
    choice = two_regions(drawn, BOX.expand(3, -1), 0.95, 0.85, 46)
    assert choice.kept.shape == (3, 46)
    for row in range(3):
        outside, inside = choice.kept[row, :40], choice.kept[row, 40:]
        assert not BOX[outside].any()
        assert BOX[inside].all()
        assert set(inside.tolist()) == set(torch.where(BOX, drawn[row], 2.0).argsort()[:6].tolist())
        assert set(outside.tolist()) == set(torch.where(BOX, 2.0, drawn[row]).argsort()[:40].tolist())


def test_restore_brings_every_patch_back() -> None:
    choice = two_regions(noise(2), BOX.expand(2, -1), 0.95, 0.85, 46)
    order = choice.restore.argsort(dim=1)
    assert torch.equal(order[:, :46], choice.kept)
    assert torch.equal(order.gather(1, choice.restore), torch.arange(400).expand(2, -1))
    assert torch.equal(choice.masked.sum(dim=1), torch.tensor([354, 354]))
    assert not choice.masked.gather(1, choice.kept).any()


def test_regions_of_any_size_keep_equally_many() -> None:
    inside = torch.zeros(3, 400, dtype=torch.bool)
    inside[1, :100] = True
    inside[2, 100:320] = True
    choice = two_regions(noise(3), inside, 0.95, 0.85, 46)
    kept_inside = inside.gather(1, choice.kept).sum(dim=1)
    assert kept_inside.tolist() == [0, kept_count(100, 0.95), kept_count(220, 0.95)]


def test_a_region_that_fills_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match="too few outside"):
        two_regions(noise(1), torch.ones(1, 400, dtype=torch.bool), 0.95, 0.85, 46)


def test_uniform_keeps_the_least_noise() -> None:
    drawn = noise(2, 36)
    choice = uniform(drawn, 0.7)
    assert torch.equal(choice.kept, drawn.argsort(dim=1)[:, :10])
    assert choice.masked.sum(dim=1).tolist() == [26, 26]

"""The two options of R2Gen that are not published: places of patches, and the second loss on words."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from cxreport.data.batch import Batch
from cxreport.generators.r2gen import R2Gen
from cxreport.generators.transformer import grid_position_table, position_table
from cxreport.recipe import EncoderOptions, R2GenOptions

REPORTS = ["left effusion .", "no effusion ."]


def build(**options: object) -> R2Gen:
    torch.manual_seed(0)
    chosen = R2GenOptions(
        encoder=EncoderOptions(width=4),
        width=8,
        feed_forward=8,
        heads=2,
        layers=1,
        memory_heads=2,
        max_length=8,
        vocabulary_threshold=1,
        **options,  # type: ignore[arg-type]
    )
    return R2Gen.build(chosen, REPORTS).eval()


def batch(views: int = 1) -> Batch:
    images = torch.randn(2, views, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(2, views, dtype=torch.bool)
    mask[1, 1:] = False
    return Batch(images, mask, ["a", "b"], REPORTS)


@pytest.mark.parametrize("places", [False, True])
def test_only_patches_with_places_have_an_order(places: bool) -> None:
    network = build().network
    features = torch.randn(1, 6, network.patch_projection.in_features)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    table = grid_position_table(2, 3, 8) if places else None
    plain = network.encode(features, None, table)[:, order]
    moved = network.encode(features[:, order], None, table)
    assert torch.allclose(plain, moved, atol=1e-5) != places


def test_grid_table_tells_row_and_column() -> None:
    table = grid_position_table(2, 3, 8)
    assert table.shape == (6, 8)
    assert torch.equal(table[4], torch.cat([position_table(2, 4)[1], position_table(3, 4)[1]]))


def test_options_are_off_as_published() -> None:
    plain, extra = build(), build(word_loss=2.0, patch_positions=True)
    added = set(extra.state_dict()) - set(plain.state_dict())
    assert added == {"word_head.weight", "word_head.bias"}
    assert "word_loss" not in plain.loss(batch())


def test_word_loss_by_hand() -> None:
    generator = build(word_loss=2.0)
    words = generator.tokenizer
    with torch.no_grad():
        generator.word_head.weight.zero_()
        generator.word_head.bias.fill_(-1.0)
        generator.word_head.bias[words.encode("effusion")[1]] = 3.0
    parts = generator.loss(batch(views=2))
    present, absent = (float(functional.softplus(torch.tensor(x))) for x in (1.0, -1.0))
    effusion = float(functional.softplus(torch.tensor(-3.0)))
    # five words: ".", "<unk>", "effusion", "left", "no"; each report has three of them
    each = (effusion + 2 * present + 2 * absent) / 5
    assert float(parts["word_loss"]) == pytest.approx(2.0 * each, rel=1e-5)
    assert math.isclose(
        float(parts["loss"]), float(build().loss(batch(views=2))["loss"]) + 2.0 * each, rel_tol=1e-4
    )


def test_absent_views_do_not_enter_the_word_loss() -> None:
    generator = build(word_loss=1.0)
    both = batch(views=2)
    other = Batch(both.images.clone(), both.view_mask, both.study_ids, both.reports)
    other.images[1, 1] = 7.0
    assert float(generator.loss(both)["word_loss"]) == float(generator.loss(other)["word_loss"])

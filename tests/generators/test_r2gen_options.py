"""The two options of R2Gen that are not published: places of patches, and the second loss on findings."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from cxreport.data.batch import Batch
from cxreport.errors import UserError
from cxreport.generators.base import TrainStudies
from cxreport.generators.r2gen import R2Gen
from cxreport.generators.transformer import grid_position_table, position_table
from cxreport.model_options import R2GenOptions
from cxreport.options import DecodingOptions, EncoderOptions
from cxreport.phantom.kinds import SIDED_KINDS
from cxreport.study import SidedKind

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
    return R2Gen.build(chosen, TrainStudies(REPORTS)).eval()


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
    plain, extra = build(), build(finding_loss=2.0, patch_positions=True)
    added = set(extra.state_dict()) - set(plain.state_dict())
    assert added == {"finding_head.weight", "finding_head.bias"}
    assert "finding_loss" not in plain.loss(batch())


def biased() -> R2Gen:
    """A head that says -1 to everything but a left effusion, to which it says 3."""
    generator = build(finding_loss=2.0)
    with torch.no_grad():
        generator.finding_head.weight.zero_()
        generator.finding_head.bias.fill_(-1.0)
        generator.finding_head.bias[SIDED_KINDS.index(("pleural_effusion", "left"))] = 3.0
    return generator


def test_an_option_of_language_models_is_refused() -> None:
    with pytest.raises(UserError, match=r"does not know decoding.length_penalty, decoding.method: sample"):
        build().generate(batch(), DecodingOptions(method="sample", length_penalty=2.0))


def test_finding_loss_by_hand() -> None:
    study = batch()
    effusion = frozenset({("pleural_effusion", "left")})
    nothing: frozenset[SidedKind] = frozenset()
    with torch.no_grad():
        parts = biased().loss(replace(study, findings=[effusion, nothing]))
        alone = build().loss(study)["loss"]
    absent = math.log1p(math.exp(-1.0))
    right, wrong = math.log1p(math.exp(-3.0)), math.log1p(math.exp(3.0))
    expected = 2.0 * (right + wrong + 2 * (len(SIDED_KINDS) - 1) * absent) / (2 * len(SIDED_KINDS))
    assert float(parts["finding_loss"]) == pytest.approx(expected, rel=1e-5)
    assert float(parts["loss"]) == pytest.approx(float(alone) + expected, rel=1e-5)


def test_studies_without_truth_do_not_enter_the_finding_loss() -> None:
    study = batch()
    effusion = frozenset({("pleural_effusion", "left")})
    with torch.no_grad():
        one = biased().loss(replace(study, findings=[effusion, None]))["finding_loss"]
        none = biased().loss(replace(study, findings=[None, None]))["finding_loss"]
    absent, right = math.log1p(math.exp(-1.0)), math.log1p(math.exp(-3.0))
    expected = 2.0 * (right + (len(SIDED_KINDS) - 1) * absent) / len(SIDED_KINDS)
    assert float(one) == pytest.approx(expected, rel=1e-5)
    assert float(none) == 0


def test_absent_views_do_not_enter_the_finding_loss() -> None:
    generator = build(finding_loss=1.0)
    both = replace(batch(views=2), findings=[frozenset(), frozenset()])
    changed = both.images.clone()
    changed[1, 1] = 7.0
    with torch.no_grad():
        plain, other = (generator.loss(one)["finding_loss"] for one in (both, replace(both, images=changed)))
    assert float(plain) == float(other)

"""Vision Mamba: reading orders, its two forms, and the step from one to the other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from cxreport.checkpoints.name_map import load_published, to_published
from cxreport.checkpoints.published.vision_mamba import STAGE_1_DECODER, vision_mamba_names
from cxreport.encoders import ImageError, build_encoder, vision_mamba
from cxreport.encoders.folder import save_encoder
from cxreport.encoders.positions import resampled, sin_cos_table
from cxreport.encoders.vision_mamba import (
    PER_SCAN,
    SHAPES,
    Shape,
    VisionMamba,
    cluster_order,
    four_orders,
    tap_layers,
)
from cxreport.errors import UserError
from cxreport.options import EncoderOptions

SMALL = Shape(width=24, depths=(2,), patch=8, image_size=32, state_size=4)
CAUSAL = replace(SMALL, scans=1)


def build(shape: Shape, seed: int = 0) -> VisionMamba:
    torch.manual_seed(seed)
    return VisionMamba(shape).eval()


@pytest.mark.parametrize("grid", [(2, 2), (3, 3), (2, 5), (7, 7), (1, 4), (5, 2)])
def test_four_reading_orders(grid: tuple[int, int]) -> None:
    """By hand: places of patches on the grid, with the class token pushed in at N // 2 every time."""
    height, width = grid
    middle = height * width // 2
    place = {}
    for row in range(height):
        for column in range(width):
            number = row * width + column
            place[row, column] = number if number < middle else number + 1
    rows = [place[r, c] for r in range(height) for c in range(width)]
    columns = [place[r, c] for c in range(width) for r in range(height)]
    for reading in (rows, columns):
        reading.insert(middle, middle)
    assert four_orders(grid).tolist() == [rows, rows[::-1], columns, columns[::-1]]


def test_clusters_are_read_row_by_row() -> None:
    first, *_ = cluster_order((8, 8)).split(16)
    assert first.tolist() == [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27]
    assert cluster_order((8, 8))[16:20].tolist() == [4, 5, 6, 7]
    assert cluster_order((2, 5)).tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 4, 9]
    assert sorted(cluster_order((6, 7)).tolist()) == list(range(42))


@pytest.mark.parametrize(("depth", "layers"), [(12, (6, 8, 10, 12)), (24, (12, 16, 20, 24))])
def test_published_taps(depth: int, layers: tuple[int, ...]) -> None:
    assert tap_layers(depth) == layers


@pytest.mark.parametrize(("name", "millions"), [("tiny", 5.8), ("base", 84.3), ("large", 296.0)])
def test_sizes(name: str, millions: float) -> None:
    with torch.device("meta"):
        encoder = VisionMamba(SHAPES[f"vision_mamba_{name}"])
        causal = VisionMamba(SHAPES[f"vision_mamba_{name}_causal"])
    found, smaller = (sum(each.numel() for each in form.parameters()) / 1e6 for form in (encoder, causal))
    assert round(found, 1) == millions
    assert smaller < found


def test_tokens_of_a_grid_that_is_odd_and_not_square() -> None:
    encoder = build(SMALL)
    images = torch.randn(2, 3, 24, 40)
    with torch.no_grad():
        tokens = encoder(images)
    assert tokens.grid == (3, 5)
    assert tokens.sequence is not None
    assert tokens.sequence.shape == (2, 16, 24)
    assert torch.equal(tokens.patches, torch.cat([tokens.sequence[:, :7], tokens.sequence[:, 8:]], dim=1))
    torch.testing.assert_close(tokens.pooled, tokens.sequence.mean(1))


def test_transposed_pictures_swap_rows_and_columns() -> None:
    """With all scans equal, positions zero and patches transposed too, the tokens are transposed."""
    encoder = build(SMALL)
    with torch.no_grad():
        encoder.positions.zero_()
        weight = encoder.patch_embedding.weight
        weight.copy_((weight + weight.transpose(2, 3)) / 2)
        images = torch.randn(1, 3, 24, 40)
        upright, turned = encoder(images), encoder(images.transpose(2, 3))
    swapped = upright.patches.unflatten(1, (3, 5)).transpose(1, 2).flatten(1, 2)
    torch.testing.assert_close(turned.patches, swapped, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(turned.pooled, upright.pooled, atol=1e-4, rtol=1e-4)


def test_training_follows_inference_on_the_same_grid() -> None:
    """Tables of reading orders that inference made first are no inference tensors."""
    encoder = build_encoder(EncoderOptions(name="vision_mamba_tiny", width=32, depths=(2,), image_size=80))
    images = torch.rand(1, 3, 80, 96)
    with torch.inference_mode():
        encoder(images)
    encoder(images).pooled.sum().backward()
    assert encoder.blocks[0].mixer.conv_weight.grad.abs().sum() > 0


def test_four_scans_see_everything_and_one_sees_the_past() -> None:
    images = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    changed = images.clone()
    changed[:, :, 24:, 24:] += 1
    with torch.no_grad():
        four = build(SMALL).double()
        moved = (four(images).patches - four(changed).patches).abs().amax((0, 2))
        assert (moved > 0).all()
        one = build(CAUSAL).double()
        moved = (one(images).patches - one(changed).patches).abs().amax((0, 2))
    assert moved.nonzero().flatten().tolist() == [15]


def test_taps_leave_the_last_cluster_out() -> None:
    encoder = build(replace(CAUSAL, depths=(6,), image_size=64))
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        taps, whole = encoder.taps(images), encoder.taps(images, last_cluster=True)
        tokens = encoder(images)
    assert [tap.shape for tap in taps] == [(2, 48, 24)] * 4
    for tap, longer in zip(taps, whole, strict=True):
        torch.testing.assert_close(tap, longer[:, :48], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(encoder.norm(whole[-1]), tokens.patches[:, cluster_order((8, 8))])
    with pytest.raises(ValueError, match="causal"):
        build(SMALL).taps(images)
    with pytest.raises(ImageError, match="multiples of 8"):
        encoder.taps(torch.zeros(1, 3, 33, 33))


def test_causal_positions_belong_to_the_grid() -> None:
    encoder = build(CAUSAL)
    torch.testing.assert_close(encoder.positions[0], sin_cos_table(4, 4, 24))
    bare = encoder.patch_embedding
    for size in ((32, 32), (16, 40)):
        images = torch.randn(1, 3, *size)
        patches, grid = encoder._embed(images)
        expected = bare(images).flatten(2).transpose(1, 2) + sin_cos_table(*grid, 24)
        torch.testing.assert_close(patches, expected)


def test_a_causal_folder_starts_four_scans(tmp_path: Path) -> None:
    """The published copy: one scan to all four, positions resampled with zeros for the class token."""
    shape = {"width": 24, "depths": (2,), "patch": 8, "state_size": 4}
    options = EncoderOptions(name="vision_mamba_tiny_causal", image_size=48, **shape)
    torch.manual_seed(1)
    causal = build_encoder(options)
    assert isinstance(causal, VisionMamba)
    save_encoder(tmp_path / "causal", causal, options, {})
    torch.manual_seed(2)
    encoder = build_encoder(
        EncoderOptions(name="vision_mamba_tiny", image_size=32, init=str(tmp_path / "causal"), **shape)
    )
    fresh = build(SMALL, seed=2)
    own, source = encoder.state_dict(), causal.state_dict()
    for name, value in source.items():
        if name.startswith(("blocks.", "patch_embedding.")):
            copies = own[name].chunk(4) if name.rpartition(".")[2] in PER_SCAN else [own[name]]
            assert all(torch.equal(copy, value) for copy in copies), name
    places = own["positions"][0]
    assert not places[8].any()
    expected = resampled(sin_cos_table(6, 6, 24)[None], (4, 4))[0]
    torch.testing.assert_close(torch.cat([places[:8], places[9:]]), expected)
    for name in ("class_token", "norm.weight", "norm.bias"):
        assert torch.equal(own[name], fresh.state_dict()[name])


def test_positions_follow_the_image_size(tmp_path: Path) -> None:
    """Weights for 32 px in an encoder for 64 px give what the 32 px encoder gives for 64 px images."""
    for scans in (1, 4):
        small, large = (build(replace(SMALL, scans=scans, image_size=size), seed=size) for size in (32, 64))
        large.load_state_dict(large.adapt(small.state_dict()))
        images = torch.randn(1, 3, 64, 64)
        with torch.no_grad():
            torch.testing.assert_close(large(images).patches, small(images).patches)


@pytest.mark.parametrize("shape", [SMALL, CAUSAL])
def test_names_both_ways(shape: Shape) -> None:
    encoder, other = build(shape, seed=1), build(shape, seed=2)
    names = vision_mamba_names(encoder)
    published = to_published(encoder, names)
    assert not any(key.startswith(STAGE_1_DECODER) for key in published)
    scans = {"layers.1.mixer.A_c_b_log", "layers.0.mixer.dt_proj_b.bias"}
    assert (scans <= published.keys()) == (shape.scans == 4)
    load_published(other, published, names)
    for key, value in encoder.state_dict().items():
        assert torch.equal(other.state_dict()[key], value), key
    prefixed = names.prefixed("visual_encoder.", "")
    load_published(other, {f"visual_encoder.{key}": value for key, value in published.items()}, prefixed)
    del published["layers.0.mixer.D"]
    with pytest.raises(UserError, match=r"layers\.0\.mixer\.D"):
        load_published(other, published, names)


def test_drop_path_rises_with_depth_and_only_in_training() -> None:
    encoder = build(replace(SMALL, depths=(3,), drop_path=0.4))
    assert [block.drop_path.p for block in encoder.blocks] == [0.0, 0.2, 0.4]
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(encoder(images).patches, encoder(images).patches)


def test_steps_start_between_a_thousandth_and_a_tenth() -> None:
    mixer = build(SMALL).blocks[0].mixer
    steps = functional.softplus(mixer.step_bias.detach())
    assert 1e-3 <= float(steps.min()) < float(steps.max()) <= 0.1 + 1e-6
    torch.testing.assert_close(mixer.decay_log[5].exp(), torch.tensor([1.0, 2, 3, 4]))


def test_bfloat16_under_autocast_is_near() -> None:
    encoder = build(SMALL)
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        exact = encoder(images).patches
        with torch.autocast("cpu", torch.bfloat16):
            near = encoder(images).patches
    assert (near.float() - exact).abs().max() / exact.abs().max() < 0.05


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"depths": (2, 2)}, "depths must be one number"),
        ({"image_size": 100}, r"image_size \(100\) must be a multiple of the patch \(16\)"),
    ],
)
def test_shapes_that_do_not_work(changes: dict[str, object], what: str) -> None:
    with pytest.raises(UserError, match=what):
        build_encoder(EncoderOptions(name="vision_mamba_tiny", **changes))
    with pytest.raises(UserError, match="multiple of 4"):
        build_encoder(EncoderOptions(name="vision_mamba_tiny_causal", width=18))


@pytest.mark.parametrize(
    ("images", "what"),
    [
        (torch.zeros(1, 3, 8, 32), "smaller"),
        (torch.zeros(1, 3, 40, 36), "multiples of 16"),
        (torch.zeros(1, 4, 32, 32), r"must be \(B, 3, H, W\)"),
        (torch.full((1, 3, 32, 32), float("nan")), "Image 0 .* NaN"),
        (torch.zeros(0, 3, 32, 32), "empty"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "normalised"),
    ],
)
def test_bad_images_are_told_in_one_sentence(images: torch.Tensor, what: str) -> None:
    encoder = build(replace(SMALL, patch=16))
    with pytest.raises(ImageError, match=what) as told:
        encoder(images)
    assert str(told.value).count(".") == 1


@pytest.mark.parametrize("shape", [SMALL, CAUSAL])
def test_piece_by_piece_is_the_same(shape: Shape, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, images = build(shape), torch.randn(2, 3, 40, 64)
    with torch.no_grad():
        expected = encoder(images).patches
        monkeypatch.setattr(vision_mamba, "BIG", 300)
        found = encoder(images).patches
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(encoder(images).patches, expected, atol=1e-5, rtol=1e-5)

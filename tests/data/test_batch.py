from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from cxreport.data import batch as batch_module
from cxreport.data.augmentation import augmented as augment
from cxreport.data.batch import (
    IMAGENET_STD,
    EpochSampler,
    StudyImages,
    chosen_views,
    collate,
    draw_of,
    loader,
    normalised,
    repeats_numbered,
    usable,
)
from cxreport.data.images import view_of
from cxreport.data.store import write_dataset
from cxreport.errors import UserError
from cxreport.options import DataOptions
from cxreport.study import Study, View

OPTIONS = DataOptions(image_size=32)


def marks(study: Study, options: DataOptions) -> list[int]:
    return [study.views.index(view) for view in chosen_views(study, options)]


@pytest.mark.parametrize(
    ("projections", "asked", "most", "chosen"),
    [
        (("lateral", "frontal"), ("frontal", "lateral"), 2, [1, 0]),
        (("frontal", "frontal", "lateral"), ("frontal", "lateral"), 2, [0, 2]),
        (("frontal", "frontal", "lateral"), ("frontal", "lateral"), 3, [0, 1, 2]),
        (("lateral", None), ("frontal", "lateral"), 2, [1, 0]),
        (("lateral", "frontal"), ("frontal",), 2, [1]),
        (("frontal", "lateral"), ("lateral", "frontal"), 2, [1, 0]),
        (("lateral", "lateral", "lateral"), ("frontal",), 2, [0, 1]),
    ],
)
def test_chosen_views(make_study, projections, asked, most, chosen):
    study = make_study(1, projections=projections)
    assert marks(study, DataOptions(views=asked, max_views=most)) == chosen


def test_pixels_are_imagenet_normalised_grey(make_study):
    study = make_study(1)
    item = StudyImages([study], OPTIONS, augment=False, seed=0)[0]
    grey = np.asarray(Image.open(io.BytesIO(study.views[0].image)), dtype=np.float64) / 255
    mean = np.array([0.485, 0.456, 0.406])[:, None, None]
    std = np.array([0.229, 0.224, 0.225])[:, None, None]
    np.testing.assert_allclose(item.images[0].numpy(), (grey - mean) / std, atol=1e-5)
    assert item.images.dtype == torch.float32


def test_absent_views_are_zero_and_masked(make_study):
    studies = [make_study(1, projections=("frontal", "lateral")), make_study(2, report="Clear lungs.")]
    batch = next(iter(loader(studies, OPTIONS, batch_size=2, train=False, seed=0)))
    assert batch.images.shape == (2, 2, 3, 32, 32)
    assert batch.view_mask.tolist() == [[True, True], [True, False]]
    assert (batch.images[1, 1] == 0).all()
    assert (batch.images[1, 0] != 0).any()
    assert batch.study_ids == ["s1", "s2"]
    assert batch.reports == ["the heart is normal .", "clear lungs ."]
    assert len(batch.to("cpu")) == len(batch) == 2


def test_a_batch_without_a_second_view_has_no_place_for_it(make_study):
    images = StudyImages([make_study(1), make_study(2)], OPTIONS, augment=False, seed=0)
    assert collate([images[0], images[1]]).images.shape == (2, 1, 3, 32, 32)


def test_usable_counts_empty_reports(make_study):
    studies = [make_study(0), make_study(1, report=" ... "), make_study(2), make_study(3, report="")]
    kept, exclusions = usable(studies, OPTIONS)
    assert kept == [0, 2]
    assert exclusions.counts == {"no text in section findings": 2}
    assert [excluded.item for excluded in exclusions] == ["s1", "s3"]
    assert usable(studies, DataOptions(section="impression"))[0] == []


def test_identical_reports_and_an_empty_split(make_study):
    studies = [make_study(i, report="Same.") for i in range(3)]
    batches = list(loader(studies, OPTIONS, batch_size=2, train=True, seed=0))
    assert [batch.reports for batch in batches] == [["same ."] * 2, ["same ."]]
    with pytest.raises(UserError, match="No study is left"):
        loader([], OPTIONS, batch_size=2, train=True, seed=0)


def test_augmentation_depends_on_seed_epoch_and_index_only(make_study):
    studies = [make_study(0, projections=("frontal", "lateral")), make_study(0)]

    def pixels(seed: int, epoch: int, index: int, after: tuple[int, ...] = ()) -> torch.Tensor:
        images = StudyImages(studies, OPTIONS, augment=True, seed=seed)
        images.set_epoch(epoch)
        for other in after:
            images[other]
        return images[index].images[0]

    assert torch.equal(pixels(1, 2, 0), pixels(1, 2, 0, after=(1, 0, 1)))
    assert not torch.equal(pixels(1, 2, 0), pixels(1, 3, 0))
    assert not torch.equal(pixels(1, 2, 0), pixels(2, 2, 0))
    assert not torch.equal(pixels(1, 2, 0), pixels(1, 2, 1))


def test_augmentation_moves_little_and_never_flips():
    column = torch.linspace(0, 1, 64).expand(64, 64)
    for seed in range(50):
        moved = augment(column[None], np.random.default_rng(seed))[0]
        assert moved.shape == (64, 64)
        assert moved.min() >= 0
        assert moved.max() <= 1
        assert moved[:, :8].mean() + 0.3 < moved[:, -8:].mean()
        assert abs(moved.mean() - 0.5) < 0.2
        top_to_bottom = moved[:8].mean() - moved[-8:].mean()
        assert abs(top_to_bottom) < 0.15


def test_augmentation_shifts_by_at_most_a_twentieth_of_the_side():
    """A centred dot is moved by shift and zoom about the centre only; rotation leaves it in place."""
    dot = torch.zeros(1, 100, 100)
    dot[:, 49:51, 49:51] = 1
    places = []
    for seed in range(60):
        moved = augment(dot, np.random.default_rng(seed))[0]
        weight = (moved - moved.min()).clamp_min(0)
        rows, columns = torch.meshgrid(torch.arange(100.0), torch.arange(100.0), indexing="ij")
        places.append(((weight * rows).sum() / weight.sum(), (weight * columns).sum() / weight.sum()))
    offsets = torch.tensor(places).sub(49.5).abs()
    assert offsets.max() < 5.6
    assert offsets.max() > 3.5


def test_published_augmentation_crops_and_flips_half_of_the_views(make_study):
    """A view of 40 x 80 pixels at size 224 is 256 x 512 before the crop; columns tell where it lies."""
    ramp = np.tile(np.arange(80, dtype=np.uint8), (40, 1))
    study = replace(make_study(1), views=(view_of(ramp), view_of(ramp.T.copy())))
    options = DataOptions(image_size=224, augmentation="legacy-r2gen")
    images = StudyImages([study] * 60, options, augment=True, seed=4)
    flipped, starts = 0, set()
    for index in range(60):
        wide, tall = images[index].images[:, 0]
        assert wide.shape == tall.shape == (224, 224)
        steps = wide[100].diff()
        assert (steps >= -1e-6).all() or (steps <= 1e-6).all()
        flipped += int(steps.sum() < 0)
        starts.add(round(float(wide[100].min()), 2))
    assert 15 < flipped < 45
    assert len(starts) > 20
    assert torch.equal(images[3].images, StudyImages([study] * 60, options, augment=True, seed=4)[3].images)
    plain = StudyImages([study], options, augment=False, seed=4)[0].images
    assert torch.equal(plain, StudyImages([study], DataOptions(), augment=False, seed=4)[0].images)


def test_arms_augmentation_crops_a_fifth_to_all_and_flips_half(make_study):
    """On two ramps, columns and rows, a crop is told by the span that is left of each."""
    ramp = np.tile(np.arange(0, 240, 4, dtype=np.uint8), (60, 1))
    study = replace(make_study(1), views=(view_of(ramp), view_of(ramp.T.copy())))
    options = DataOptions(image_size=60, augmentation="legacy-arm")
    images = StudyImages([study] * 200, options, augment=True, seed=4)
    flipped, spans = 0, []
    for index in range(200):
        wide, tall = images[index].images[:, 0] * IMAGENET_STD[0] * 255 / 4
        steps = wide[30].diff()
        flipped += int(steps.sum() < 0)
        spans.append((1 + float(wide[30].max() - wide[30].min()), 1 + float(tall.max() - tall.min())))
    spans = np.array(spans)
    assert 70 < flipped < 130
    assert 10 < spans.min() < 0.6 * 60
    assert spans.max() <= 61
    assert (
        0.55 < np.mean(spans**2) / 60**2 < 0.70
    )  # torchvision's mean area is 0.6, a little less at the edge
    again = StudyImages([study] * 200, options, augment=True, seed=4)
    assert torch.equal(images[3].images, again[3].images)


def test_a_study_that_comes_again_in_an_epoch_draws_anew(make_study):
    studies = [make_study(i) for i in range(4)]
    images = StudyImages(studies, OPTIONS, augment=True, seed=2)
    first, second, third = (images[1 + 4 * repeat] for repeat in range(3))
    assert {first.study_id, second.study_id, third.study_id} == {"s1"}
    assert len({first.draw, second.draw, third.draw}) == 3
    assert not torch.equal(first.images, second.images)
    assert first.draw == draw_of(2, 0, 1)
    assert repeats_numbered(np.array([3, 1, 3, 0, 3, 1]), 4).tolist() == [3, 1, 7, 0, 11, 5]
    whole = list(EpochSampler(4, 5, parts=((1, 3.0), (3, 1.0))))
    assert sorted(place % 4 for place in whole)[:3] == [0, 0, 0]
    assert sorted(place for place in whole if place % 4 == 0) == [0, 4, 8]


def test_a_study_without_images_is_a_sentence(make_study):
    with pytest.raises(UserError, match="s1 has no image"):
        StudyImages([replace(make_study(1), views=())], OPTIONS, augment=False, seed=0)[0]


def test_validation_is_plain_whatever_the_recipe_says(make_study):
    studies = [make_study(0)]
    plain = StudyImages(studies, OPTIONS, augment=False, seed=0)[0].images
    assert torch.equal(
        next(iter(loader(studies, OPTIONS, batch_size=1, train=False, seed=0))).images[0], plain
    )
    unchanged = DataOptions(image_size=32, augment=False)
    assert torch.equal(
        next(iter(loader(studies, unchanged, batch_size=1, train=True, seed=0))).images[0], plain
    )


def test_decoded_images_are_kept(make_study, monkeypatch):
    calls = []
    real = batch_module.decode
    monkeypatch.setattr(batch_module, "decode", lambda *a, **k: calls.append(1) or real(*a, **k))
    studies = [make_study(i) for i in range(3)]
    images = StudyImages(studies, OPTIONS, augment=True, seed=0)
    first = [images[i].images for i in range(3)]
    again = [images[i].images for i in range(3)]
    assert len(calls) == 3
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    monkeypatch.setattr(batch_module, "CACHE_BYTES", 3 * 2 * 32 * 32 - 1)
    uncached = StudyImages(studies, OPTIONS, augment=True, seed=0)
    assert torch.equal(uncached[0].images, first[0])
    uncached[0]
    assert len(calls) == 5


def test_sampler_shows_everything_once_in_an_order_of_its_epoch():
    sampler = EpochSampler(10, seed=1)
    first = list(sampler)
    assert sorted(first) == list(range(10))
    assert list(sampler) == first
    sampler.set_epoch(1)
    assert sorted(sampler) == list(range(10))
    assert list(sampler) != first
    resumed = EpochSampler(10, seed=1)
    resumed.set_epoch(1)
    assert list(resumed) == list(sampler)
    assert list(EpochSampler(10, seed=2)) != first


@pytest.mark.parametrize("n", [1, 7, 8, 9])
def test_sampler_shares_among_processes(n):
    shares = [EpochSampler(n, seed=1, rank=rank, world=4) for rank in range(4)]
    orders = [list(share) for share in shares]
    assert {len(order) for order in orders} == {len(shares[0])} == {-(-n // 4)}
    assert set().union(*orders) == set(range(n))
    plain = [EpochSampler(n, seed=1, rank=rank, world=4, shuffle=False) for rank in range(4)]
    assert sorted(index for share in plain for index in share) == list(range(n))
    assert [len(share) for share in plain] == [len(list(share)) for share in plain]


def test_sampler_refuses_a_rank_outside_its_world():
    with pytest.raises(ValueError, match="rank 2"):
        EpochSampler(4, seed=0, rank=2, world=2)


@pytest.mark.parametrize("workers", [0, 1])
def test_iter_may_come_before_set_epoch(make_study, workers):
    """Lightning takes the iterator of a resumed run first and tells the epoch later."""
    studies = [make_study(i) for i in range(6)]
    options = DataOptions(image_size=32, workers=workers)
    early = loader(studies, options, batch_size=6, train=True, seed=3)
    iterator = iter(early)
    early.sampler.set_epoch(4)
    late = loader(studies, OPTIONS, batch_size=6, train=True, seed=3)
    late.sampler.set_epoch(4)
    one, other = next(iterator), next(iter(late))
    assert one.study_ids == other.study_ids
    assert torch.equal(one.images, other.images)
    assert list(iterator) == []


def test_batches_from_a_prepared_dataset(make_study, tmp_path):
    studies = [make_study(i) for i in range(4)]
    split = write_dataset(studies, tmp_path / "out", source="test", source_version="1", options={}).split(
        "train"
    )
    kept, _ = usable(split, OPTIONS)
    from_disk = next(iter(loader(split.select(kept), OPTIONS, batch_size=4, train=True, seed=5)))
    from_memory = next(iter(loader(studies, OPTIONS, batch_size=4, train=True, seed=5)))
    assert from_disk.study_ids == from_memory.study_ids
    assert torch.equal(from_disk.images, from_memory.images)


def test_a_damaged_view_is_a_sentence(make_study):
    broken = replace(make_study(1), views=(View(b"not an image", 4, 4),))
    with pytest.raises(UserError, match="damaged"):
        StudyImages([broken], OPTIONS, augment=False, seed=0)[0]


def test_normalised_adds_channels_before_the_rows():
    assert normalised(torch.zeros(2, 5, 7)).shape == (2, 3, 5, 7)
    assert normalised(torch.full((1, 1), 0.485))[0].item() == pytest.approx(0, abs=1e-6)


def test_aspect_ratio_is_not_kept(make_study):
    wide = view_of(np.tile(np.arange(0, 200, dtype=np.uint8), (50, 1)))
    study = replace(make_study(1), views=(wide,))
    assert StudyImages([study], OPTIONS, augment=False, seed=0)[0].images.shape == (1, 3, 32, 32)

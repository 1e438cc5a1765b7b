"""The same picture is found, another one is not: on drawn pictures and on real chests."""

from __future__ import annotations

import csv
import io
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageEnhance, ImageOps

from cxreport.data.hashing import (
    HASH_BYTES,
    MAX_DISTANCE,
    MIN_DETAIL,
    SIDE,
    candidates,
    detail,
    perceptual_hash,
    same_pictures,
)
from cxreport.data.images import square_of

HASHES = arrays(np.uint8, st.tuples(st.integers(0, 6), st.just(HASH_BYTES)))


def bits(hashes: np.ndarray) -> np.ndarray:
    return np.unpackbits(hashes, axis=-1, count=255)


@given(HASHES, HASHES, st.integers(0, 255))
def test_candidates_are_all_pairs_within_the_distance(first, second, most):
    expected = {
        (i, j)
        for i, j in product(range(len(first)), range(len(second)))
        if (bits(first[i]) != bits(second[j])).sum() <= most
    }
    assert set(candidates(first, second, most)) == expected


def test_blocks_keep_their_places():
    rng = np.random.default_rng(1)
    first = rng.integers(0, 256, (4100, HASH_BYTES), dtype=np.uint8)
    second = rng.integers(0, 256, (8200, HASH_BYTES), dtype=np.uint8)
    second[8199], second[4096], second[3] = first[4099], first[0], first[4096]
    assert sorted(candidates(first, second)) == [(0, 4096), (4096, 3), (4099, 8199)]


def test_hash_and_detail_have_their_form():
    picture = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    hashed = perceptual_hash(picture)
    assert (hashed.shape, hashed.dtype) == ((HASH_BYTES,), np.uint8)
    assert 90 < bits(hashed).sum() < 165
    vector = detail(picture)
    assert float(vector @ vector) == pytest.approx(1, abs=1e-5)
    assert abs(float(vector.mean())) < 1e-6
    black = np.zeros((SIDE, SIDE), np.uint8)
    assert np.isfinite(detail(black)).all()
    assert bits(perceptual_hash(black)).sum() < 255


def test_greys_count_by_their_order_only():
    """A window or gamma that keeps all greys apart changes nothing."""
    picture = np.random.default_rng(0).integers(0, 100, (SIDE, SIDE), dtype=np.uint8)
    assert np.allclose(detail(picture), detail(picture * 2 + 11), atol=1e-6)


def test_the_earlier_group_comes_first():
    picture = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    own, vector = perceptual_hash(picture).tobytes(), detail(picture)
    groups = {"a": [(1, own)], "b": [(2, own)], "c": [], "d": [(3, own)]}
    assert list(same_pictures(groups, lambda key: vector)) == [(1, 2), (1, 3), (2, 3)]
    assert list(same_pictures(groups, lambda key: vector if key < 3 else -vector)) == [(1, 2)]


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=quality)
    return Image.open(encoded)


RESAVED = {
    "jpeg 20": lambda image: jpeg(image, 20),
    "half": lambda image: image.resize((image.width // 2, image.height // 2)),
    "128 pixels": lambda image: image.resize((128, 128)),
    "gamma 0.6": lambda image: image.point(lambda grey: int(255 * (grey / 255) ** 0.6)),
    "gamma 1.6": lambda image: image.point(lambda grey: int(255 * (grey / 255) ** 1.6)),
    "equalized": ImageOps.equalize,
    "contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.3),
    "turned": lambda image: image.rotate(1, resample=Image.Resampling.BILINEAR),
}


def grey(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("L")


def square(image: Image.Image) -> np.ndarray:
    return square_of(np.asarray(image.convert("L")), SIDE)


@pytest.mark.parametrize("change", RESAVED)
def test_a_real_chest_saved_anew_is_found(shared, change):
    for path in sorted((shared / "data" / "nih" / "images").iterdir())[::60]:
        image = grey(path)
        before, after = square(image), square(RESAVED[change](image))
        distance = (bits(perceptual_hash(before)) != bits(perceptual_hash(after))).sum()
        assert distance <= MAX_DISTANCE, path.name
        assert float(detail(before) @ detail(after)) >= MIN_DETAIL, path.name


def real_images(shared: Path) -> list[tuple[str, Path]]:
    """(patient, path) of all chest X-rays at hand."""
    found: dict[Path, str] = {}
    for folder, table, patient in (
        ("nih", "labels.csv", "patient_id"),
        ("covid", "metadata.csv", "patientid"),
    ):
        with (shared / "data" / folder / table).open(encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file):
                path = shared / "data" / folder / "images" / row["image"]
                if path.is_file():
                    found.setdefault(path, f"{folder} {row[patient]}")
    return [(patient, path) for path, patient in found.items()]


@pytest.mark.slow
def test_false_alarms_among_real_chests(shared):
    """What the text of ``hashing.py`` says of 933,985 pairs of two patients."""
    images = real_images(shared)
    squares = [square(grey(path)) for _, path in images]
    hashes = np.stack([perceptual_hash(pixels) for pixels in squares])
    pairs = sum(a != b for i, (a, _) in enumerate(images) for b, _ in images[:i])
    near = [(i, j) for i, j in candidates(hashes, hashes) if i < j and images[i][0] != images[j][0]]
    kept = {
        (images[i][1].name, images[j][1].name): float(detail(squares[i]) @ detail(squares[j]))
        for i, j in near
    }
    assert (len(images), pairs, len(near)) == (1368, 933_985, 8)
    series = "covid-19-rapidly-progressive-acute-respiratory-distress-syndrome-ards-{}.jpg"
    twice = {
        (series.format(day), f"16660_{number}_1.jpg")
        for number, day in enumerate(("admission", "day-1", "day-2", "day-3"), start=2)
    }
    assert {pair for pair, correlation in kept.items() if correlation >= MIN_DETAIL} == twice
    assert max(correlation for pair, correlation in kept.items() if pair not in twice) < 0.47
    assert min(kept[pair] for pair in twice) > 0.93

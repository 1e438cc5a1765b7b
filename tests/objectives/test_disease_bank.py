"""Banks of disease tokens and class-activation patches: which studies, which cells, which vectors."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cxreport.data.batch import StudyImages, collate
from cxreport.data.store import PreparedDataset, write_dataset
from cxreport.encoders import build_encoder
from cxreport.errors import UserError
from cxreport.memories.bank import Bank, bank_names
from cxreport.memories.leaks import refuse_leaks
from cxreport.objectives.disease import DiseaseClassification
from cxreport.objectives.disease_bank import (
    CROPS,
    DiseaseBankOptions,
    encoded_crops,
    highest_cells,
    make_disease_banks,
    of_crops,
    shares,
)
from cxreport.options import DataOptions, EncoderOptions
from cxreport.pretraining import DiseaseOptions, DiseaseQueryOptions
from cxreport.study import Report, Study, View

DATA = DataOptions(image_size=64, views=("frontal",), max_views=1, augment=False)
QUERIES = DiseaseQueryOptions(width=8, layers=1, heads=2, feed_forward=8)
NAMES = ("Edema", "Fracture")


def study(number: int, labels: dict[str, int], split: str = "train") -> Study:
    pixels = np.random.default_rng(number).integers(0, 256, (64, 64), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    view = View(file.getvalue(), 64, 64, "frontal")
    return Study(f"s{number}", f"p{number}", (view,), Report("clear ."), split, labels)  # type: ignore[arg-type]


@pytest.fixture
def dataset(tmp_path: Path) -> PreparedDataset:
    """Edema in s0 to s4, fracture in s3 to s7; s8 uncertain, s9 without labels; s10 and s11 held out."""
    rows: list[dict[str, int]] = [{"Edema": int(n < 5), "Fracture": int(2 < n < 8)} for n in range(8)]
    studies = [study(number, row) for number, row in enumerate([*rows, {"Edema": -1}, {}])]
    held_out = [study(10, {"Edema": 1}, "val"), study(11, {"Edema": 1}, "test")]
    return write_dataset(
        [*studies, *held_out], tmp_path / "data", source="test", source_version="1", options={}
    )


def classifier(queries: DiseaseQueryOptions | None = QUERIES) -> DiseaseClassification:
    torch.manual_seed(1)
    options = DiseaseOptions(labels=NAMES, queries=queries)
    made = DiseaseClassification(build_encoder(EncoderOptions(width=4)), options)
    for weight in made.heads.parameters():
        torch.nn.init.normal_(weight)
    return made.eval()


def make(
    dataset: PreparedDataset,
    folder: Path,
    options: DiseaseBankOptions | None = None,
    model: DiseaseClassification | None = None,
) -> dict[str, Bank]:
    made = model or classifier()
    return make_disease_banks(dataset, made, {"sha256": "e" * 64}, DATA, folder, options, batch_size=3)


def seen(dataset: PreparedDataset, study_id: str) -> torch.Tensor:
    train = dataset.split("train")
    place = train.study_ids.index(study_id)
    return collate([StudyImages(train, DATA, augment=False, seed=0)[place]]).images[:, 0]


def test_who_is_in_it_and_with_which_vector(dataset: PreparedDataset, tmp_path: Path) -> None:
    model = classifier()
    banks = make(dataset, tmp_path / "bank", model=model)
    assert bank_names(tmp_path / "bank") == ["disease", "patches"]
    assert {name: bank.width for name, bank in banks.items()} == {"disease": 8, "patches": 32}
    tokens = banks["disease"]
    told = {name: {e.study_id for e in tokens.entries if e.kind == name} for name in NAMES}
    assert told == {"Edema": {"s0", "s1", "s2", "s3", "s4"}, "Fracture": {"s3", "s4", "s5", "s6", "s7"}}
    assert len(tokens) == 10
    for vector, entry in zip(tokens.vectors, tokens.entries, strict=True):
        with torch.no_grad():
            expected = model.query_tokens(seen(dataset, entry.study_id))[0, NAMES.index(entry.kind)]
        torch.testing.assert_close(vector, expected, atol=1e-5, rtol=1e-4)
    for place in (0, len(banks["patches"]) - 1):
        entry = banks["patches"].entries[place]
        images = seen(dataset, entry.study_id)
        heat = model.class_maps(images)[0, NAMES.index(entry.kind)].flatten()
        with torch.no_grad():
            patches = model.encoder(images).patches[0]
        [cell] = (patches - banks["patches"].vectors[place]).abs().amax(dim=1).lt(1e-4).nonzero()[:, 0]
        assert heat[cell] > 0.75 * heat.max()
    assert banks["patches"].origin.split == "train"
    assert all(entry.pictures and not entry.text for entry in banks["patches"].entries)
    refuse_leaks(list(banks.values()), dataset)
    assert Bank.load(tmp_path / "bank", "patches").sha256 == banks["patches"].sha256


def test_limits_of_a_disease_and_the_seed(dataset: PreparedDataset, tmp_path: Path) -> None:
    few = DiseaseBankOptions(tokens=2, patches=3, threshold=0.1)
    banks = make(dataset, tmp_path / "a", few)
    assert [sum(e.kind == name for e in banks["disease"].entries) for name in NAMES] == [2, 2]
    assert [sum(e.kind == name for e in banks["patches"].entries) for name in NAMES] == [3, 3]
    again = make(dataset, tmp_path / "b", few)
    assert again["patches"].sha256 == banks["patches"].sha256
    other = make(dataset, tmp_path / "c", replace(few, seed=1))
    ids = [[e.study_id for e in each["disease"].entries] for each in (banks, other)]
    assert ids[0] != ids[1]


def test_cells_above_the_threshold_the_highest_first() -> None:
    heat = torch.tensor([[0.0, 2.0, 1.6], [1.4, 1.9, 1.55]])
    assert highest_cells(shares(heat), DiseaseBankOptions()).tolist() == [1, 4, 2, 5]
    assert highest_cells(shares(heat), DiseaseBankOptions(cells=2)).tolist() == [1, 4]
    assert highest_cells(shares(torch.zeros(2, 2)), DiseaseBankOptions()).tolist() == []


def test_crops_are_cells_of_the_image(dataset: PreparedDataset, tmp_path: Path) -> None:
    """A map whose right upper quarter is hot takes crops there; each is that part of the image, encoded."""
    heat = torch.zeros(2, 2)
    heat[0, 1] = 1.0
    cells = highest_cells(of_crops(heat), DiseaseBankOptions())
    rows, columns = (cells // CROPS).tolist(), (cells % CROPS).tolist()
    assert len(cells) == 6
    assert max(rows) < CROPS / 2 <= min(columns)
    model, image = classifier(), torch.randn(3, 56, 56, generator=torch.Generator().manual_seed(2))
    [found] = encoded_crops(model, image, torch.tensor([CROPS + 2]))
    crop = torch.nn.functional.interpolate(image[None, :, 4:8, 8:12], (56, 56), mode="bicubic")
    with torch.no_grad():
        torch.testing.assert_close(found, model.encoder(crop).pooled[0])
    banks = make(dataset, tmp_path / "bank", DiseaseBankOptions(patch="crop", patches=2))
    assert banks["patches"].width == 32
    assert "patch crop" in banks["patches"].origin.made


def test_without_queries_there_are_patches_alone(dataset: PreparedDataset, tmp_path: Path) -> None:
    assert list(make(dataset, tmp_path / "bank", model=classifier(None))) == ["patches"]


def test_nothing_to_take_and_a_full_folder(dataset: PreparedDataset, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not empty"):
        make(dataset, dataset.path)
    studies = [study(0, {}), study(1, {"Edema": 0})]
    bare = write_dataset(studies, tmp_path / "bare", source="test", source_version="1", options={})
    with pytest.raises(UserError, match="has any of the classifier's diseases"):
        make(bare, tmp_path / "bank")
    assert not (tmp_path / "bank").exists()

"""Banks are made from train studies alone, and a planted held-out study is found."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from cxreport.data.batch import Batch
from cxreport.data.store import PreparedDataset, write_dataset
from cxreport.errors import UserError
from cxreport.memories.bank import Bank, Entry, Origin
from cxreport.memories.leaks import picture_hashes, refuse_leaks
from cxreport.memories.making import make_bank
from cxreport.options import DataOptions
from cxreport.phantom.make import render_study, sample_findings
from cxreport.study import Report, Study, View

DATA = DataOptions(image_size=32)
LONG = " ".join(f"word{number}" for number in range(60)) + " ."


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def study(number: int, split: Any, text: str = "the lungs are clear .", **changes: Any) -> Study:
    rng = np.random.default_rng(number)
    blocks = np.kron(rng.integers(20, 230, (8, 8)), np.ones((16, 16)))
    view = View(png(blocks), 128, 128, "frontal")
    made = Study(f"s{number}", f"p{number}", (view,), Report(text), split, {"No Finding": 1})
    return replace(made, **changes)


def chest(seed: int) -> View:
    """The frontal view of a phantom."""
    rng = np.random.default_rng(seed)
    return render_study(sample_findings(rng), 128, rng)[0][0]


def dataset_of(folder: Path, studies: Iterable[Study], source: str = "test") -> PreparedDataset:
    return write_dataset(studies, folder, source=source, source_version="1", options={})


@pytest.fixture
def dataset(tmp_path: Path) -> PreparedDataset:
    splits = ["train"] * 7 + ["val"] * 2 + ["test"] * 3
    return dataset_of(tmp_path / "data", [study(n, split) for n, split in enumerate(splits)])


def brightness(batch: Batch) -> Tensor:
    return torch.stack([batch.images.mean(dim=(1, 2, 3, 4)), torch.ones(len(batch))], dim=1)


def made(dataset: PreparedDataset, out: Path, **options: Any) -> Bank:
    return make_bank(dataset, brightness, {"sha256": "e" * 64}, DATA, out, **options)


class TestMaking:
    def test_an_entry_for_every_train_study(self, dataset: PreparedDataset, tmp_path: Path) -> None:
        steps: list[tuple[str, int, int]] = []
        bank = made(dataset, tmp_path / "bank", batch_size=3, progress=lambda *step: steps.append(step))
        assert [entry.study_id for entry in bank.entries] == [f"s{number}" for number in range(7)]
        assert [entry.patient_id for entry in bank.entries] == [f"p{number}" for number in range(7)]
        assert bank.entries[0].text == "the lungs are clear ."
        assert bank.entries[0].labels == {"No Finding": 1}
        first = dataset.split("train")[0]
        assert bank.entries[0].pictures == picture_hashes([first], 1)[0]
        assert bank.origin.dataset["sha256"] == dataset.sha256
        assert [step for step in steps if step[0] == "vectors"] == [
            ("vectors", done, 7) for done in (3, 6, 7)
        ]
        assert len(set(bank.vectors[:, 0].tolist())) == 7
        assert sorted(path.name for path in (tmp_path / "bank").iterdir()) == [
            "bank.json",
            "bank.jsonl",
            "bank.safetensors",
        ]

    def test_interrupted_it_goes_on_to_the_same(self, dataset: PreparedDataset, tmp_path: Path) -> None:
        whole = made(dataset, tmp_path / "whole", batch_size=2)
        seen: list[list[str]] = []

        def failing(batch: Batch) -> Tensor:
            if len(seen) == 2:
                raise KeyboardInterrupt
            seen.append(batch.study_ids)
            return brightness(batch)

        with pytest.raises(KeyboardInterrupt):
            make_bank(dataset, failing, {"sha256": "e" * 64}, DATA, tmp_path / "part", batch_size=2)
        with pytest.raises(UserError, match="no whole bank"):
            Bank.load(tmp_path / "part")
        with (tmp_path / "part" / "vectors.part").open("ab") as file:
            file.write(bytes(12))  # one row and half of the next of a batch that a kill cut short
        seen.clear()

        def counting(batch: Batch) -> Tensor:
            seen.append(batch.study_ids)
            return brightness(batch)

        resumed = make_bank(dataset, counting, {"sha256": "e" * 64}, DATA, tmp_path / "part", batch_size=2)
        assert seen == [["s4", "s5"], ["s6"]]
        assert resumed.sha256 == whole.sha256
        assert Bank.load(tmp_path / "part").sha256 == whole.sha256

    def test_a_begun_bank_of_something_else(self, dataset: PreparedDataset, tmp_path: Path) -> None:
        def failing(batch: Batch) -> Tensor:
            if batch.study_ids[0] != "s0":
                raise KeyboardInterrupt
            return brightness(batch)

        with pytest.raises(KeyboardInterrupt):
            make_bank(dataset, failing, {"sha256": "e" * 64}, DATA, tmp_path / "part", batch_size=2)
        with pytest.raises(UserError, match="not the begun bank of this dataset and encoder"):
            make_bank(dataset, brightness, {"sha256": "f" * 64}, DATA, tmp_path / "part")

    def test_a_bank_is_not_overwritten(self, dataset: PreparedDataset, tmp_path: Path) -> None:
        made(dataset, tmp_path / "bank")
        with pytest.raises(UserError, match=r"a bank in .* already"):
            made(dataset, tmp_path / "bank")

    @pytest.mark.parametrize("split", ["val", "test"])
    def test_another_split_than_train(self, dataset: PreparedDataset, tmp_path: Path, split: str) -> None:
        with pytest.raises(UserError, match=f"train split only, not from {split}"):
            made(dataset, tmp_path / "bank", split=split)
        assert not (tmp_path / "bank").exists()


def planted(bank: Bank, **changes: Any) -> Bank:
    """The bank with its third entry changed by hand, and all its digests made again."""
    entries = list(bank.entries)
    entries[2] = replace(entries[2], **changes)
    return Bank(bank.vectors, entries, bank.origin)


class TestPlantedInItsOwnDataset:
    def test_an_honest_bank_is_taken(self, dataset: PreparedDataset, tmp_path: Path) -> None:
        refuse_leaks([made(dataset, tmp_path / "bank")], dataset)
        refuse_leaks([], dataset)

    @pytest.mark.parametrize(
        ("changes", "why"),
        [
            ({"study_id": "s9"}, "study s9 is of the test split"),
            ({"study_id": "s7"}, "study s7 is of the val split"),
            ({"patient_id": "p10"}, "the patient of study s2 has studies in the test split"),
            ({"study_id": "new", "patient_id": "new"}, "study new is not in the train split that it names"),
            ({"patient_id": "new"}, "study s2 has another patient"),
            ({"text": "small effusion ."}, "the report of study s2 is not the one in the train split"),
        ],
    )
    def test_a_held_out_study_is_found(
        self, dataset: PreparedDataset, tmp_path: Path, changes: dict[str, Any], why: str
    ) -> None:
        bank = planted(made(dataset, tmp_path / "bank"), **changes)
        bank.save(tmp_path / "bank")  # as somebody would who also mends the digests
        with pytest.raises(UserError, match=why) as refused:
            refuse_leaks([Bank.load(tmp_path / "bank")], dataset)
        assert "p10" not in str(refused.value)


class TestAgainstAnotherDataset:
    def test_two_datasets_without_anything_in_common(self, dataset: PreparedDataset, tmp_path: Path) -> None:
        other = dataset_of(tmp_path / "other", [study(20, "train"), study(21, "val"), study(22, "test")])
        refuse_leaks([made(dataset, tmp_path / "bank")], other)

    def test_the_same_study_or_patient(self, dataset: PreparedDataset, tmp_path: Path) -> None:
        bank = made(dataset, tmp_path / "bank")
        again = dataset_of(tmp_path / "again", [study(20, "train"), study(3, "test", patient_id="q")])
        with pytest.raises(UserError, match="study s3 is of the test split"):
            refuse_leaks([bank], again)
        later = dataset_of(tmp_path / "later", [study(20, "train"), study(21, "val", patient_id="p3")])
        with pytest.raises(UserError, match="the patient of study s3 has studies in the val split"):
            refuse_leaks([bank], later)

    @pytest.mark.parametrize(("source", "side", "quality"), [("test", 96, 40), ("phantom", 64, 90)])
    def test_the_same_picture_under_other_names_and_saved_anew(
        self, tmp_path: Path, source: str, side: int, quality: int
    ) -> None:
        twin = chest(1)
        file = io.BytesIO()
        Image.open(io.BytesIO(twin.image)).resize((side, side)).save(file, "JPEG", quality=quality)
        anew = View(file.getvalue(), side, side, "frontal")
        train = [study(number, "train", views=(chest(number),)) for number in (1, 2, 3)]
        bank = made(dataset_of(tmp_path / "train", train, source), tmp_path / "bank")
        leaking = [study(20, "train"), study(21, "test", views=(anew,))]
        with pytest.raises(UserError, match="study s1 shows the same picture as s21 of the test split"):
            refuse_leaks([bank], dataset_of(tmp_path / "leaking", leaking, source))

    def test_two_phantoms_are_not_the_same_picture(self, tmp_path: Path) -> None:
        train = [study(number, "train", views=(chest(number),)) for number in (1, 2, 3)]
        bank = made(dataset_of(tmp_path / "train", train, "phantom"), tmp_path / "bank")
        fine = [study(20, "train"), *(study(n, "test", views=(chest(n),)) for n in (24, 25, 26))]
        refuse_leaks([bank], dataset_of(tmp_path / "fine", fine, "phantom"))

    def test_a_long_report_that_few_share(self, tmp_path: Path) -> None:
        source = dataset_of(tmp_path / "source", [study(1, "train", LONG), study(2, "train")])
        bank = made(source, tmp_path / "bank")
        held_out = [study(number, "test") for number in (21, 22)]
        refuse_leaks([bank], dataset_of(tmp_path / "fine", [study(20, "train"), *held_out]))
        leaking = dataset_of(tmp_path / "leak", [study(20, "train"), *held_out, study(23, "val", LONG)])
        with pytest.raises(UserError, match="report of study s1 is one of the val split"):
            refuse_leaks([bank], leaking)


def test_a_report_that_the_split_itself_shares_is_the_train_studys_own(tmp_path: Path) -> None:
    """Open-i has long normal reports word by word in train and test; another text there is still refused."""
    studies = [
        study(1, "train", LONG),
        study(2, "train"),
        study(3, "test", LONG),
        study(4, "test", LONG + " x"),
    ]
    shared = dataset_of(tmp_path / "data", studies)
    bank = made(shared, tmp_path / "bank")
    refuse_leaks([bank], shared)
    planted = [bank.entries[0], replace(bank.entries[1], text=LONG + " x")]
    with pytest.raises(UserError, match="report of study s2 is not the one in the train split"):
        refuse_leaks([Bank(bank.vectors, planted, bank.origin)], shared)


def test_entries_of_many_kinds_for_one_study(dataset: PreparedDataset) -> None:
    """As AM-MRG's disease tokens: several vectors of a study, without text."""
    entries = [Entry("s1", "p1", kind=kind) for kind in ("Edema", "Fracture")]
    origin = Bank(torch.ones(2, 2), entries, origin_of(dataset))
    refuse_leaks([origin], dataset)
    with pytest.raises(UserError, match="s8 is of the val split"):
        refuse_leaks([Bank(torch.ones(1, 2), [Entry("s8", "p8", "Edema")], origin.origin)], dataset)


def origin_of(dataset: PreparedDataset) -> Origin:
    return Origin({"sha256": dataset.sha256}, {"sha256": "e" * 64}, DATA)

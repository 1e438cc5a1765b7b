"""Banks: exact search, whose entries are never found, files that tell when they were edited."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cxreport.errors import UserError
from cxreport.memories.bank import Bank, Entry, Origin, read_manifest
from cxreport.memories.search import FAISS_FROM, NearestVectors

ORIGIN = Origin({"source": "test", "sha256": "d" * 64}, {"name": "small", "sha256": "e" * 64}, made="by hand")


def bank_of(vectors: Any, patients: list[str] | None = None) -> Bank:
    rows = torch.as_tensor(vectors, dtype=torch.float32)
    patients = patients or [f"p{number}" for number in range(len(rows))]
    entries = [
        Entry(f"s{number}", patient, text=f"report {number}", labels={"Edema": 1}, pictures=("ab" * 32,))
        for number, patient in enumerate(patients)
    ]
    return Bank(rows, entries, ORIGIN)


def brute_force(vectors: np.ndarray, query: np.ndarray, k: int, hidden: set[int]) -> list[int]:
    """By the definition of the cosine, in double precision; of equal ones the earlier first."""
    cosines = []
    for place, vector in enumerate(vectors.astype(np.float64)):
        length = np.linalg.norm(vector) * np.linalg.norm(query)
        cosines.append((-(vector @ query.astype(np.float64)) / length if length else 0.0, place))
    return [place for _, place in sorted(cosines) if place not in hidden][:k]


class TestSearch:
    @settings(max_examples=60, deadline=None)
    @given(
        seed=st.integers(0, 10_000),
        count=st.integers(6, 40),
        width=st.integers(1, 8),
        k=st.integers(1, 3),
        method=st.sampled_from(["torch", "faiss"]),
    )
    def test_as_brute_force(self, seed: int, count: int, width: int, k: int, method: Any) -> None:
        rng = np.random.default_rng(seed)
        vectors = rng.normal(size=(count, width)).astype(np.float32)
        queries = rng.normal(size=(4, width)).astype(np.float32)
        without = [rng.choice(count, size=size, replace=False).tolist() for size in (0, 1, 3, 2)]
        if width == 1:  # all cosines are 1 or -1, to the last bits
            vectors, queries = np.sign(vectors), np.sign(queries)
        found, scores = NearestVectors(torch.from_numpy(vectors), method).nearest(
            torch.from_numpy(queries), k, without
        )
        for row, query in enumerate(queries):
            assert found[row].tolist() == brute_force(vectors, query, k, set(without[row]))
        assert (np.diff(scores, axis=1) <= 0).all()

    @pytest.mark.parametrize("method", ["torch", "faiss"])
    def test_of_equal_ones_the_earlier_is_first(self, method: Any) -> None:
        vectors = torch.tensor([[0.0, 1.0]] + [[2.0, 2.0]] * 60 + [[1.0, 0.0]])
        found, scores = NearestVectors(vectors, method).nearest(torch.tensor([[1.0, 1.0]]), 4, [[1]])
        assert found.tolist() == [[2, 3, 4, 5]]
        assert scores[0].tolist() == pytest.approx([1.0] * 4, abs=1e-6)

    def test_a_vector_of_zeros_is_like_nothing(self) -> None:
        vectors = torch.tensor([[0.0, 0.0], [-1.0, 0.0], [1.0, 0.1]])
        found, scores = NearestVectors(vectors).nearest(torch.tensor([[1.0, 0.0]]), 3)
        assert found.tolist() == [[2, 0, 1]]
        assert scores[0, 1] == 0

    def test_faiss_takes_over_where_vectors_are_many(self) -> None:
        vectors = torch.randn(FAISS_FROM, 2, generator=torch.Generator().manual_seed(1))
        assert NearestVectors(vectors[:-1]).method == "torch"
        many = NearestVectors(vectors)
        assert many.method == "faiss"
        queries = torch.tensor([[1.0, 0.2], [-0.3, 1.0]])
        expected = NearestVectors(vectors, "torch").nearest(queries, 5)
        found = many.nearest(queries, 5)
        assert np.array_equal(found[0], expected[0])
        assert np.array_equal(found[1], expected[1])


class TestWhoseEntriesAreFound:
    def test_never_the_query_itself_or_its_patient(self) -> None:
        bank = bank_of(
            [[1, 0], [1, 0.1], [1, 0.2], [0, 1], [-1, 0]], ["anna", "bert", "anna", "carl", "dora"]
        )
        query = torch.tensor([[1.0, 0.0]] * 4)
        ids, patients = ["", "s0", "s1", "new"], ["", "anna", "", "bert"]
        places, _ = bank.nearest(query, 2, study_ids=ids, patient_ids=patients)
        assert places.tolist() == [[0, 1], [1, 3], [0, 2], [0, 2]]

    def test_the_study_alone_or_the_patient_alone_may_be_known(self) -> None:
        bank = bank_of([[1, 0], [1, 0.1], [1, 0.2]], ["anna", "bert", "anna"])
        query = torch.tensor([[1.0, 0.0]])
        assert bank.nearest(query, 1, study_ids=["s0"])[0].tolist() == [[1]]
        assert bank.nearest(query, 1, patient_ids=["anna"])[0].tolist() == [[1]]

    def test_too_few_are_left(self) -> None:
        bank = bank_of([[1, 0], [0, 1], [1, 1]], ["anna", "anna", "bert"])
        with pytest.raises(UserError, match="3 entries, up to 2 of a query's own patient, and the nearest 2"):
            bank.nearest(torch.ones(1, 2), 2, patient_ids=["anna"])

    def test_another_width(self) -> None:
        with pytest.raises(UserError, match="width 2, and 3 are needed"):
            bank_of([[1, 0]]).nearest(torch.ones(1, 3), 1)

    def test_evidence_does_not_name_the_study(self) -> None:
        [shown] = bank_of([[1, 0], [0, 1]]).shown([1], [0.5])
        assert (shown.entry, shown.score) == (1, 0.5)
        assert "s1" not in shown.study
        assert len(shown.study) == 16


class TestFiles:
    def test_saved_and_loaded(self, tmp_path: Path) -> None:
        bank = bank_of(np.random.default_rng(1).normal(size=(5, 3)))
        images = torch.arange(5 * 4 * 4, dtype=torch.uint8).view(5, 4, 4)
        bank = Bank(bank.vectors, bank.entries, ORIGIN, images)
        bank.save(tmp_path, "visual")
        loaded = Bank.load(tmp_path, "visual")
        assert torch.equal(loaded.vectors, bank.vectors)
        assert loaded.images is not None
        assert torch.equal(loaded.images, images)
        assert loaded.entries == bank.entries
        assert loaded.origin == ORIGIN
        assert loaded.sha256 == bank.sha256
        manifest = read_manifest(tmp_path, "visual")
        assert manifest["dataset"]["sha256"] == "d" * 64
        assert manifest["encoder"]["sha256"] == "e" * 64
        assert (manifest["split"], manifest["entries"], manifest["width"]) == ("train", 5, 3)

    @pytest.mark.parametrize("part", ["vectors", "text", "patient", "order"])
    def test_whatever_is_in_it_decides_its_hash(self, part: str) -> None:
        bank = bank_of([[1, 0], [0, 1]])
        first, second = bank.entries
        changed = {
            "vectors": Bank(bank.vectors * 2, bank.entries, ORIGIN),
            "text": Bank(bank.vectors, [replace(first, text="other"), second], ORIGIN),
            "patient": Bank(bank.vectors, [replace(first, patient_id="other"), second], ORIGIN),
            "order": Bank(bank.vectors, [second, first], ORIGIN),
        }[part]
        assert changed.sha256 != bank.sha256

    @pytest.mark.parametrize("name", ["bank.jsonl", "bank.safetensors", "bank.json"])
    def test_an_edited_file_is_refused(self, tmp_path: Path, name: str) -> None:
        bank_of([[1, 0], [0, 1]]).save(tmp_path)
        content = (tmp_path / name).read_bytes()
        edited = {
            "bank.jsonl": content.replace(b"report 1", b"report 7"),
            "bank.safetensors": content[:-1] + bytes([content[-1] ^ 1]),
            "bank.json": content.replace(b"by hand", b"by foot"),
        }[name]
        assert edited != content
        (tmp_path / name).write_bytes(edited)
        with pytest.raises(UserError, match=f"{name}.*edited"):
            Bank.load(tmp_path)

    def test_missing_or_no_bank(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="no whole bank"):
            Bank.load(tmp_path)
        bank_of([[1, 0]]).save(tmp_path)
        (tmp_path / "bank.jsonl").unlink()
        with pytest.raises(UserError, match=r"bank\.jsonl is missing"):
            Bank.load(tmp_path)
        (tmp_path / "bank.json").write_text("no JSON")
        with pytest.raises(UserError, match="not JSON"):
            Bank.load(tmp_path)
        (tmp_path / "bank.json").write_text(json.dumps({"format": "astrology"}))
        with pytest.raises(UserError, match="not of the format"):
            Bank.load(tmp_path)

    def test_a_folder_that_cannot_be_written(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="Cannot write the bank"):
            bank_of([[1, 0]]).save(tmp_path / "absent")


class TestWhatIsNoBank:
    def test_nothing_in_it(self) -> None:
        with pytest.raises(UserError, match="empty"):
            Bank(torch.empty(0, 3), [], ORIGIN)
        with pytest.raises(UserError, match="empty"):
            bank_of([[1, 0]]).select([])

    @pytest.mark.parametrize("split", ["val", "test", "all"])
    def test_another_split_than_train(self, split: str) -> None:
        with pytest.raises(UserError, match=f"train split only, not from {split}"):
            Bank(torch.ones(1, 2), [Entry("s", "p")], replace(ORIGIN, split=split))

    def test_vectors_that_are_no_numbers(self) -> None:
        with pytest.raises(UserError, match="not numbers"):
            bank_of([[1, float("nan")]])

    def test_other_numbers_of_vectors_and_entries(self) -> None:
        with pytest.raises(ValueError, match="2 entries"):
            Bank(torch.ones(3, 2), [Entry("s", "p"), Entry("t", "q")], ORIGIN)

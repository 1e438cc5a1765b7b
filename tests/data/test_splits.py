from __future__ import annotations

import hashlib
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxreport.data.splits import by_patient, sha256_of_ids
from cxreport.errors import UserError

PATIENTS = st.dictionaries(st.text(min_size=1, max_size=4), st.sampled_from("abcdefgh"), max_size=30)


@given(PATIENTS, st.integers(0, 99))
def test_a_patient_is_in_one_split(patients, seed):
    splits = by_patient(patients, seed)
    assert splits.keys() == patients.keys()
    of_patient = defaultdict(set)
    for study, patient in patients.items():
        of_patient[patient].add(splits[study])
    assert all(len(found) == 1 for found in of_patient.values())


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["", " ", "x", "X ", "y", "z"]))))
def test_neither_patients_nor_notes_are_parted(rows):
    patients = {str(i): patient for i, (patient, _) in enumerate(rows)}
    notes = {str(i): note for i, (_, note) in enumerate(rows)}
    splits = by_patient(patients, 7, (0.5, 0.2, 0.3), notes=notes)
    seen = {}
    for study, split in splits.items():
        assert seen.setdefault(("patient", patients[study]), split) == split
        note = notes[study].strip().lower()
        assert not note or seen.setdefault(("note", note), split) == split


@given(PATIENTS, PATIENTS)
def test_added_patients_change_nothing(first, more):
    more = {f"new {study}": f"new {patient}" for study, patient in more.items()}
    before, after = by_patient(first, 3), by_patient(first | more, 3)
    assert before == {study: after[study] for study in first}


def test_further_studies_of_a_patient_change_nothing():
    before = by_patient({f"{name} 5": name for name in "abcdefghijkl"}, 3)
    after = by_patient({f"{name} {i}": name for name in "abcdefghijkl" for i in range(10)}, 3)
    assert before == {study: after[study] for study in before}


def test_shares_are_met_on_average():
    splits = by_patient({str(i): str(i) for i in range(5000)}, 1, (0.7, 0.1, 0.2))
    counts = [list(splits.values()).count(name) / 5000 for name in ("train", "val", "test")]
    assert counts == pytest.approx([0.7, 0.1, 0.2], abs=0.02)


def test_the_seed_decides():
    patients = {str(i): str(i) for i in range(100)}
    assert by_patient(patients, 1) == by_patient(patients, 1)
    assert by_patient(patients, 1) != by_patient(patients, 2)


def test_a_share_of_zero_stays_empty():
    patients = {str(i): str(i) for i in range(2000)}
    assert set(by_patient(patients, 0, (1, 0, 0)).values()) == {"train"}
    assert set(by_patient(patients, 0, (0.9, 0.1, 0)).values()) == {"train", "val"}
    assert set(by_patient(patients, 0, (0, 0, 1)).values()) == {"test"}


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.5, 0.2, 0.2), (1.2, -0.1, -0.1), (0.7, 0.1, float("nan"))])
def test_bad_shares(shares):
    with pytest.raises(UserError, match="shares"):
        by_patient({"a": "b"}, 0, shares)


def test_hash_of_ids_ignores_order():
    assert sha256_of_ids(["b", "a"]) == hashlib.sha256(b"a\nb").hexdigest() == sha256_of_ids(["a", "b"])
    assert sha256_of_ids(["a"]) != sha256_of_ids(["b"])

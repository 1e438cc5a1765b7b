from __future__ import annotations

import hashlib
from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxreport.data.splits import (
    LONG_WORDS,
    RARE_STUDIES,
    binding_notes,
    by_patient,
    note_digest,
    sha256_of_ids,
    stratified_places,
)
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


@given(PATIENTS, st.integers(0, 99), st.data())
def test_a_stratified_split_parts_no_patient_either(patients, seed, data):
    labels = {study: data.draw(st.lists(st.sampled_from("XYZ"))) for study in patients}
    splits = by_patient(patients, seed, labels=labels)
    of_patient = defaultdict(set)
    for study, patient in patients.items():
        of_patient[patient].add(splits[study])
    assert all(len(found) == 1 for found in of_patient.values())
    assert splits == by_patient(dict(reversed(patients.items())), seed, labels=labels)


def test_a_stratified_split_shares_out_every_label():
    """100 studies of a common label, 20 of a rare one that also have the common one, 80 of none."""
    labels = {f"s{i}": ["rare", "common"] if i < 20 else ["common"] if i < 100 else [] for i in range(180)}
    for seed in range(5):
        splits = by_patient({study: study for study in labels}, seed, labels=labels)
        for shown, total in (("rare", 20), ("common", 100)):
            counts = Counter(splits[study] for study, names in labels.items() if shown in names)
            for split, share in zip(("train", "val", "test"), (0.7, 0.1, 0.2), strict=True):
                assert abs(counts[split] - share * total) <= 2
    plain = by_patient({study: study for study in labels}, 0)
    assert plain != by_patient({study: study for study in labels}, 0, labels=labels)


def test_patients_of_many_studies_weigh_more():
    """One patient has as many studies as 50 others: the shares are met in studies, not in patients."""
    patients = {f"s{i}": "big" if i < 50 else f"p{i}" for i in range(500)}
    splits = by_patient(patients, 3, (0.5, 0.25, 0.25), labels={study: [] for study in patients})
    counts = Counter(splits.values())
    for split, share in zip(("train", "val", "test"), (0.5, 0.25, 0.25), strict=True):
        assert abs(counts[split] - 500 * share) <= 50


@given(st.integers(1, 300), st.integers(0, 5))
def test_an_interval_of_places_holds_its_share_of_every_stratum(count, seed):
    labels = {f"s{i}": ["odd"] if i % 2 else [] for i in range(count)}
    places = stratified_places(labels, seed)
    for shown in (["odd"], []):
        own = [places[study] for study, names in labels.items() if names == shown]
        assert all(0 <= place < 1 for place in own)
        for low, high in ((0, 0.1), (0.3, 0.7), (0.95, 1)):
            inside = sum(low <= place < high for place in own)
            assert abs(inside - (high - low) * len(own)) < 1 + 1e-6


def test_binding_notes_are_long_and_rare():
    long = " ".join(["word"] * LONG_WORDS)
    notes = {f"short{i}": "Normal chest." for i in range(2)}
    notes |= {f"often{i}": f"{long} often" for i in range(RARE_STUDIES + 1)}
    notes |= {f"rare{i}": f"{long}  RARE".upper() if i else f"{long} rare" for i in range(RARE_STUDIES)}
    notes["alone"] = f"{long} alone"
    found = binding_notes({study: note_digest(text) for study, text in notes.items()})
    assert found.keys() == {f"rare{i}" for i in range(RARE_STUDIES)}
    assert len(set(found.values())) == 1


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

from __future__ import annotations

from collections import defaultdict

import pytest
from releases import covid as release

from cxreport.data.importing import import_release
from cxreport.data.sources.covid import covid
from cxreport.errors import UserError


def test_images_become_studies(tmp_path):
    release.make(tmp_path)
    found = covid(tmp_path)
    records = {record.study_id: record for record in found.records}
    assert list(records) == ["a-PA", "b1", "b2", "c", "e", "d"]
    pair = records["a-PA"]
    assert [(image.name, image.projection) for image in pair.images] == [
        ("a-PA.jpg", "frontal"),
        ("a-L.jpg", "lateral"),
    ]
    assert (pair.report.findings, pair.labels) == ("Both lungs.", {"Pneumonia": 1})
    assert pair.metadata["license"] == "CC BY 4.0"
    assert "date" not in pair.metadata
    assert records["c"].labels == {"No Finding": 1}
    assert records["d"].report.findings == ""
    assert found.exclusions.counts == {"not an X-ray": 1, "image comes again": 1}


def test_patients_who_share_a_note_or_an_image_are_one(tmp_path):
    release.make(tmp_path)
    patients = {record.study_id: record.patient_id for record in covid(tmp_path).records}
    assert patients["b1"] == patients["b2"] == patients["c"] == patients["e"] == "2"
    assert len({patients[name] for name in ("a-PA", "b1", "d")}) == 3


def test_no_real_note_stands_on_two_sides(shared, tmp_path):
    dataset = import_release(
        covid(shared / "data" / "covid"), tmp_path / "out", workers=0, max_side=32, split="patient"
    )
    studies = [study for name in dataset.splits for study in dataset.split(name)]
    assert (len(studies), sum(len(study.views) for study in studies)) == (469, 502)
    assert dataset.exclusions.counts == {"image comes again": 5}
    splits = defaultdict(set)
    for study in studies:
        splits[" ".join(study.report.findings.lower().split())].add(study.split)
    assert all(len(found) == 1 for note, found in splits.items() if note)


def test_a_path_that_leaves_the_folder_is_counted(tmp_path):
    release.make(tmp_path)
    table = tmp_path / "metadata.csv"
    table.write_text(table.read_text().replace(",images,d.jpg,", ",../../etc,hostname,"))
    found = covid(tmp_path)
    assert {record.study_id: len(record.images) for record in found.records}["hostname"] == 0
    assert found.exclusions.counts["image path leaves the folder"] == 1


def test_what_is_missing_is_told(tmp_path):
    with pytest.raises(UserError, match=r"no file metadata.csv in .*covid-chestxray-dataset"):
        covid(tmp_path)

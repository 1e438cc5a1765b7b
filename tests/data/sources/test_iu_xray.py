from __future__ import annotations

import json

import pytest
from releases import iu_xray as release

from cxreport.data.importing import import_release
from cxreport.data.sources.iu_xray import iu_xray
from cxreport.errors import UserError


def test_studies_texts_splits_and_views(tmp_path):
    release.make(tmp_path)
    found = iu_xray(tmp_path)
    records = {record.study_id: record for record in found.records}
    assert {name: record.split for name, record in records.items()} == {
        "CXR9001_IM-0001": "train",
        "CXR9002_IM-0002": "train",
        "CXR9003_IM-0003-1001": "val",
        "CXR9004_IM-0004": "test",
    }
    first = records["CXR9001_IM-0001"]
    assert (first.patient_id, first.report.findings) == ("CXR9001", "The lungs are XXXX clear.")
    assert [image.name for image in first.images] == ["CXR9001_IM-0001/0.png", "CXR9001_IM-0001/1.png"]
    assert all(image.path.is_file() for image in first.images)
    assert found.exclusions.counts == {"empty report": 1}
    assert found.warnings == []


def test_a_blank_key_is_the_split_that_is_missing(tmp_path):
    release.make(tmp_path, blank_key=True)
    found = iu_xray(tmp_path)
    assert [record.split for record in found.records] == ["train", "train", "val", "test"]
    (warning,) = found.warnings
    assert warning == "annotation.json names its test split with a blank key; it was taken as test."


def test_paths_out_of_the_folder_are_counted(tmp_path):
    release.make(tmp_path)
    tree = json.loads((tmp_path / "annotation.json").read_text())
    tree["train"][0]["image_path"] = ["../annotation.json", "/etc/hostname", "CXR9001_IM-0001/1.png"]
    (tmp_path / "annotation.json").write_text(json.dumps(tree))
    found = iu_xray(tmp_path)
    first = next(iter(found.records))
    assert [image.name for image in first.images] == ["CXR9001_IM-0001/1.png"]
    assert found.exclusions.counts == {"image path leaves the folder": 2}


def test_without_images_the_texts_import_and_every_image_is_counted(tmp_path):
    release.make(tmp_path / "iu", images=False)
    found = iu_xray(tmp_path / "iu")
    assert "iu_xray.zip" in found.warnings[0]
    dataset = import_release(found, tmp_path / "out", text_only=True)
    assert sum(split["count"] for split in dataset.info["splits"].values()) == 4
    assert dataset.exclusions.counts == {"no such image file": 8, "empty report": 1}
    with pytest.raises(UserError, match="No study of the iu_xray release can be used"):
        import_release(iu_xray(tmp_path / "iu"), tmp_path / "none", workers=0)


def test_the_published_annotation_is_complete(shared, tmp_path):
    dataset = import_release(iu_xray(shared / "data" / "iu_xray"), tmp_path / "out", text_only=True)
    counts = {name: split["count"] for name, split in dataset.info["splits"].items()}
    assert counts == {"train": 2069, "val": 296, "test": 590}
    assert dataset.exclusions.counts == {"no such image file": 5910}
    assert all(report.findings for name in counts for report in dataset.split(name).reports)


def test_what_is_missing_is_told(tmp_path):
    with pytest.raises(UserError, match=r"no file annotation.json in .*; unpack R2Gen's iu_xray.zip there"):
        iu_xray(tmp_path)
    with pytest.raises(UserError, match="There is no folder"):
        iu_xray(tmp_path / "absent")

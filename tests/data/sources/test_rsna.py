from __future__ import annotations

import pytest
from releases import rsna as release

from cxreport.data.importing import import_release
from cxreport.data.sources.rsna import rsna
from cxreport.errors import UserError


def test_targets_boxes_and_classes(tmp_path):
    release.make(tmp_path)
    found = rsna(tmp_path)
    normal, opacity, other, last = found.records
    assert (normal.findings, normal.labels) == ((), {"Pneumonia": 0, "No Finding": 1})
    assert [finding.kind for finding in opacity.findings] == ["Lung Opacity", "Lung Opacity"]
    assert opacity.findings[0].boxes == {"frontal": (0.25, 0.5, 0.375, 0.75)}
    assert opacity.findings[1].boxes["frontal"] == pytest.approx((900 / 1024, 0.0, 1.0, 0.1))
    assert opacity.labels == {"Pneumonia": 1, "No Finding": 0}
    assert (other.findings, other.labels) == (None, {"Pneumonia": 0, "No Finding": 0})
    assert normal.patient_id == opacity.patient_id == "90000001"
    assert {record.split for record in (normal, opacity, other, last)} == {None}
    assert (len(found.exclusions), found.warnings) == (0, [])


def test_without_classes_and_patients(tmp_path):
    release.make(tmp_path, classes=False, mapping=False)
    found = rsna(tmp_path)
    normal, opacity, *_ = found.records
    assert (normal.findings, normal.labels) == (None, {"Pneumonia": 0})
    assert normal.patient_id == release.IDS[0] != opacity.patient_id
    assert len(found.warnings) == 2


@pytest.mark.parametrize(("share", "train"), [(100, 2), (10, 1), (1, 1)])
def test_lists_of_hd_mae(tmp_path, share, train):
    release.make(tmp_path)
    release.make_lists(tmp_path / "lists")
    found = rsna(tmp_path, lists=tmp_path / "lists", share=share)
    splits = [record.split for record in found.records]
    assert splits[:train] == ["train"] * train
    assert splits[2:] == ["val", "test"]
    assert found.options == {"lists": "HD-MAE", "train_share_percent": share}


def test_an_image_in_two_lists_is_counted(tmp_path):
    release.make(tmp_path)
    release.make_lists(tmp_path / "lists")
    with (tmp_path / "lists" / "test_list.txt").open("a") as file:
        file.write(f"stage_2_train_images/{release.IDS[0]}.dcm 0\n")
    found = rsna(tmp_path, lists=tmp_path / "lists")
    assert found.exclusions.counts == {"image in two lists": 1}
    assert next(iter(found.records)).split == "train"


def test_rows_that_cannot_be_used_are_counted(tmp_path):
    release.make(tmp_path)
    with (tmp_path / "stage_2_train_labels.csv").open("a") as file:
        file.write(f"{release.IDS[0]},1,1,2,2,1\n{release.IDS[3]},a,b,c,d,1\n,,,,,0\nx,,,,,\n../x,,,,,0\n")
    found = rsna(tmp_path)
    assert len(list(found.records)) == 3
    assert found.exclusions.counts == {
        "unreadable box": 1,
        "no image id": 1,
        "no target": 1,
        "rows disagree on the target": 1,
        "image path leaves the folder": 1,
    }


def test_the_dicom_images_import(tmp_path):
    release.make(tmp_path / "rsna")
    release.make_lists(tmp_path / "lists")
    found = rsna(tmp_path / "rsna", lists=tmp_path / "lists")
    dataset = import_release(found, tmp_path / "out", workers=0)
    assert {name: split["count"] for name, split in dataset.info["splits"].items()} == {
        "train": 2,
        "val": 1,
        "test": 1,
    }
    assert dataset.split("val")[0].views[0].projection == "frontal"


def test_what_is_missing_is_told(tmp_path):
    with pytest.raises(UserError, match=r"no file stage_2_train_labels.csv .*from Kaggle"):
        rsna(tmp_path)
    release.make(tmp_path)
    with pytest.raises(UserError, match=r"no file train_list.txt or train.txt"):
        rsna(tmp_path, lists=tmp_path)

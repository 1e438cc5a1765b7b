from __future__ import annotations

import csv
import json

import pytest
from releases import nih as release

from cxreport.data.importing import import_release
from cxreport.data.sources.nih import nih
from cxreport.errors import UserError
from cxreport.study import Finding


def test_the_official_layout(tmp_path):
    release.make(tmp_path)
    found = nih(tmp_path)
    records = {record.study_id: record for record in found.records}
    assert list(records) == ["90000001_000", "90000001_001", "90000002_000", "90000003_000"]
    boxed, normal, edge, other = records.values()
    assert boxed.findings == (
        Finding("Effusion", boxes={"frontal": (0.25, 0.5, 0.375, 0.75)}),
        Finding("Cardiomegaly"),
    )
    assert {name for name, value in boxed.labels.items() if value} == {"Cardiomegaly", "Pleural Effusion"}
    assert (boxed.labels["Pneumonia"], boxed.labels["No Finding"]) == (0, 0)
    assert (normal.findings, normal.labels["No Finding"]) == ((), 1)
    assert edge.findings[0].kind == "Infiltration"
    assert edge.findings[0].boxes["frontal"] == pytest.approx((900 / 1024, 0.0, 1.0, 0.1))
    assert [finding.kind for finding in edge.findings] == ["Infiltration", "Nodule"]
    assert "Lung Opacity" not in edge.labels
    assert boxed.metadata == {"age": 58, "sex": "M", "view": "PA"}
    assert edge.metadata["age"] is None
    assert found.warnings == ["1 images have no age between 0 and 120; it was left out."]
    assert other.images[0].path == tmp_path / "images_002" / "images" / "90000003_000.png"
    assert all(record.images[0].path.is_file() for record in records.values())


def test_the_official_split_is_by_patient(tmp_path):
    release.make(tmp_path)
    splits = {record.study_id: record.split for record in nih(tmp_path).records}
    assert splits["90000003_000"] == "test"
    assert splits["90000001_000"] == splits["90000001_001"] in ("train", "val")
    assert splits["90000002_000"] in ("train", "val")


def test_without_lists_and_boxes(tmp_path):
    release.make(tmp_path, boxes=False, lists=False)
    found = nih(tmp_path)
    assert {record.split for record in found.records} == {None}
    assert "There is no BBox_List_2017.csv, so no finding has a box." in found.warnings
    assert any("there is no official split" in warning for warning in found.warnings)
    assert found.options["official_split"] is None


def test_rows_that_cannot_be_used_are_counted(tmp_path):
    release.make(tmp_path)
    rows = (
        "9_0.png,Gout,0,9,50,M,PA,1,1,0.1,0.1,",
        "9_1.png,,0,9,50,M,PA,1,1,0.1,0.1,",
        "9_2.png,Mass,0,,50,M,PA,1,1,0.1,0.1,",
        "../9.png,Mass,0,9,50,M,PA,1,1,0.1,0.1,",
    )
    with (tmp_path / "Data_Entry_2017.csv").open("a") as file:
        file.write("\n".join(rows) + "\n")
    with (tmp_path / "BBox_List_2017.csv").open("a") as file:
        file.write("90000001_000.png,Mass,a,b,c,d,,,\n90000001_000.png,Mass,1,1,0,9,,,\n")
    found = nih(tmp_path)
    assert len(list(found.records)) == 4
    assert found.exclusions.counts == {
        "unknown label": 1,
        "no label": 1,
        "no patient id": 1,
        "image path leaves the folder": 1,
        "unreadable box": 1,
        "box outside of the image": 1,
    }


def test_the_official_layout_imports(tmp_path):
    release.make(tmp_path / "nih")
    dataset = import_release(nih(tmp_path / "nih"), tmp_path / "out", workers=0)
    assert sum(split["count"] for split in dataset.info["splits"].values()) == 4
    (study,) = dataset.split("test")
    assert study.findings == (Finding("Hernia"),)


def test_the_shared_images(shared):
    found = nih(shared / "data" / "nih")
    records = {record.study_id: record for record in found.records}
    assert len(records) == 866
    with (shared / "data" / "nih" / "labels.csv").open() as file:
        rows = {row["image"].removesuffix(".jpg"): row for row in csv.DictReader(file)}
    assert set(rows) == set(records)
    boxes = {name: json.loads(row["boxes_1024"]) for name, row in rows.items()}
    for name, record in records.items():
        drawn = [finding for finding in record.findings if finding.boxes]
        assert len(drawn) == len(boxes[name])
        words = {word.replace("Infiltrate", "Infiltration") for word, *_ in boxes[name]}
        assert {finding.kind for finding in drawn} == words
    word, x, y, width, height = boxes["00000193_019"][0]
    left, top, right, bottom = records["00000193_019"].findings[0].boxes["frontal"]
    assert word == "Pneumonia"
    assert (left, top, right, bottom) == pytest.approx(
        (x / 1024, y / 1024, (x + width) / 1024, (y + height) / 1024)
    )
    assert sum(record.labels["No Finding"] for record in records.values()) == 434
    assert (len(found.exclusions), found.warnings) == (0, [])


def test_what_is_missing_is_told(tmp_path):
    with pytest.raises(UserError, match=r"no file Data_Entry_2017.csv or .*; download ChestX-ray14"):
        nih(tmp_path)

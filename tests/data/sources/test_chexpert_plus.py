from __future__ import annotations

import json
import tracemalloc

import pytest
from releases import chexpert_plus as release

from cxreport.data.importing import import_release
from cxreport.data.sources.chexpert_plus import chexpert_plus, chexpert_plus_annotation, study_id
from cxreport.errors import UserError


def test_rows_become_studies(tmp_path):
    release.make(tmp_path)
    found = chexpert_plus(tmp_path)
    records = {record.study_id: record for record in found.records}
    first = records[study_id("patient90001", "1")]
    assert [(image.path.name, image.projection) for image in first.images] == [
        ("view1_frontal.png", "frontal"),
        ("view2_lateral.png", "lateral"),
    ]
    assert (first.patient_id, first.split) == ("patient90001", "train")
    assert (first.report.findings, first.report.impression) == ("Clear lungs, \nno edema.", "Normal.")
    assert first.report.indication == "45 years of age, cough."
    assert first.labels == {"Edema": 1}
    valid = records[study_id("patient90004", "1")]
    assert (valid.split, valid.images[0].path.name, valid.labels) == ("val", "view1_frontal.jpg", {})
    assert len(records) == 4
    assert found.exclusions.counts == {"empty report": 1}
    assert not any("patient" in record.study_id for record in records.values())
    assert not any("patient" in image.name for record in records.values() for image in record.images)


@pytest.mark.parametrize(("text", "value"), [("findings", 0), ("impression", -1), ("none", None)])
def test_labels_of_a_text(tmp_path, text, value):
    release.make(tmp_path)
    records = list(chexpert_plus(tmp_path, labels=text).records)
    assert records[0].labels == ({} if value is None else {"Edema": value})


def test_studies_without_findings(tmp_path):
    release.make(tmp_path)
    found = chexpert_plus(tmp_path, sections="findings")
    assert len(list(found.records)) == 3
    assert found.exclusions.counts == {"no findings section": 1, "empty report": 1}


def test_rows_that_disagree_are_counted(tmp_path):
    last = release.ROWS[-1]
    other = {
        **last,
        "section_findings": "Another.",
        "path_to_image": "valid/patient90004/study1/view2_frontal.jpg",
    }
    release.make(tmp_path, [other, {**last, "deid_patient_id": ""}])
    found = chexpert_plus(tmp_path)
    assert study_id("patient90004", "1") not in {record.study_id for record in found.records}
    assert found.exclusions.counts["rows disagree on the report"] == 1
    assert found.exclusions.counts["no deid_patient_id"] == 1


def test_texts_are_streamed(tmp_path):
    """Twenty megabytes of texts pass through; of each study only its paths stay."""
    rows = [
        {**release.ROWS[0], "deid_patient_id": f"patient{number}", "section_findings": "x" * 10_000}
        for number in range(2000)
    ]
    release.make(tmp_path, rows)
    tracemalloc.start()
    found = sum(1 for _ in chexpert_plus(tmp_path).records)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == 2004
    assert peak < 8_000_000


def test_the_import_names_no_patient(tmp_path):
    release.make(tmp_path / "cxp")
    dataset = import_release(chexpert_plus(tmp_path / "cxp"), tmp_path / "out", workers=0)
    assert {name: split["count"] for name, split in dataset.info["splits"].items()} == {"train": 3, "val": 1}
    files = [path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not any(b"patient9000" in content for content in files)


def test_the_resplit_warns_of_its_shared_patients(tmp_path):
    release.make(tmp_path / "cxp")
    annotation = release.make_annotation(tmp_path / "cxp")
    found = chexpert_plus_annotation(tmp_path / "cxp", annotation)
    dataset = import_release(found, tmp_path / "out", workers=0)
    assert {name: split["count"] for name, split in dataset.info["splits"].items()} == {
        "train": 1,
        "val": 1,
        "test": 1,
    }
    warnings = " ".join(dataset.info["warnings"])
    assert "it mixes official train and valid" in warnings
    assert "1 patients in more than one split" in warnings


def test_labels_of_am_mrg(tmp_path):
    release.make(tmp_path)
    annotation = release.make_annotation(tmp_path)
    tree = json.loads(annotation.read_text())
    tree["train"][0]["label"] = [0, 1, *[0] * 11, -1]
    annotation.write_text(json.dumps(tree))
    first = next(iter(chexpert_plus_annotation(tmp_path, annotation).records))
    assert first.labels["Cardiomegaly"] == 1
    assert (first.labels["Edema"], first.labels["No Finding"]) == (0, -1)


def test_what_is_missing_is_told(tmp_path):
    with pytest.raises(UserError, match=r"no file df_chexpert_plus_240401.csv .*download CheXpert Plus"):
        chexpert_plus(tmp_path)
    release.make(tmp_path)
    (tmp_path / "chexbert_labels" / "report_fixed.json").unlink()
    with pytest.raises(UserError, match=r"no file chexbert_labels/report_fixed.json .*--labels none"):
        chexpert_plus(tmp_path)

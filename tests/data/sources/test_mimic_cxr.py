from __future__ import annotations

import pytest
from releases import mimic_cxr as release

from cxreport.data.importing import import_release
from cxreport.data.sources.mimic_cxr import mimic_cxr, mimic_cxr_annotation
from cxreport.errors import UserError
from cxreport.study import Report


@pytest.mark.parametrize("packed", [True, False])
def test_studies_from_report_files(tmp_path, packed):
    release.make(tmp_path, packed=packed)
    found = mimic_cxr(tmp_path)
    both, repeated, paragraph, other = _four(found)
    assert (both.study_id, both.patient_id, both.split) == ("s90000001", "19000001", "train")
    assert [(image.name, image.projection) for image in both.images] == [
        ("aaaaaaaa-00000001.jpg", "frontal"),
        ("aaaaaaaa-00000002.jpg", "lateral"),
    ]
    assert both.images[0].path == tmp_path / "files/p19/p19000001/s90000001/aaaaaaaa-00000001.jpg"
    assert both.report.findings == "The lungs are clear.  A nodule of 1.5 cm\n is on the left."
    assert both.report.impression == "No pneumonia."
    assert both.report.indication == "___-year-old with cough.  // pneumonia?"
    assert both.report.comparison == "___."
    assert both.labels == {"Lung Lesion": 1, "Pneumonia": 0}
    assert (repeated.report.findings, repeated.report.impression) == ("Second reading, moderate edema.", "")
    assert repeated.labels == {"Edema": -1}
    assert (other.split, [image.projection for image in other.images]) == (
        "test",
        ["lateral", "frontal", "frontal"],
    )
    assert paragraph is None
    assert found.exclusions.counts == {
        "empty report": 1,
        "rule by hand of the official sectioner": 1,
        "no report": 1,
    }
    assert found.options["sectioner"] == "mimic-cxr"


def _four(found):
    records = {record.study_id: record for record in found.records}
    return [records.get(f"s9000000{number}") for number in (1, 2, 3, 4)]


def test_the_last_paragraph_may_stand_for_findings(tmp_path):
    release.make(tmp_path)
    found = mimic_cxr(tmp_path, last_paragraph=True)
    paragraph = _four(found)[2]
    assert paragraph.report.findings == "As compared to the radiograph of ___, the right lung is clear."
    assert (paragraph.split, paragraph.report.indication) == ("val", "Fall.")
    assert paragraph.metadata == {"last_paragraph": paragraph.report.findings}
    assert found.options["last_paragraph_as_findings"] is True


def test_hand_ruled_studies_can_be_taken(tmp_path):
    release.make(tmp_path)
    found = mimic_cxr(tmp_path, hand_ruled=True, labels="none")
    assert "s50798377" in {record.study_id for record in found.records}
    assert found.options["hand_ruled_studies"] == "taken"


def test_sections_that_are_asked_for(tmp_path):
    release.make(tmp_path)
    found = mimic_cxr(tmp_path, sections="impression", labels="negbio")
    records = {record.study_id: record for record in found.records}
    assert set(records) == {"s90000001", "s90000004"}
    assert records["s90000001"].labels == {"Pneumonia": -1}
    assert found.exclusions.counts["no impression section"] == 1


def test_the_official_table_of_sections(tmp_path):
    release.make(tmp_path, reports="sectioned")
    found = mimic_cxr(tmp_path, last_paragraph=True)
    first, _, paragraph, _ = _four(found)
    assert first.report.findings == "The lungs are clear.\n A nodule of 1.5 cm"
    assert paragraph.report.findings == "The right lung is clear."
    assert found.exclusions.counts == {"not in the split table, or twice in the reports": 1, "no report": 4}
    assert (found.options["sectioner"], found.options["sectioner_version"]) == ("as in the table", None)


def test_studies_without_a_report_can_be_taken(tmp_path):
    release.make(tmp_path)
    records = {record.study_id: record for record in mimic_cxr(tmp_path, sections="none").records}
    assert len(records) == 5
    assert records["s90000005"].report == Report()
    assert [image.name for image in records["s90000005"].images] == ["eeeeeeee-00000001.jpg"]


def test_both_forms_of_the_reports_import(tmp_path):
    release.make(tmp_path / "mimic")
    dataset = import_release(mimic_cxr(tmp_path / "mimic"), tmp_path / "out", workers=0)
    assert {name: split["count"] for name, split in dataset.info["splits"].items()} == {"train": 2, "test": 1}
    (study,) = dataset.split("test")
    assert len(study.views) == 3
    text = (tmp_path / "out" / "dataset.json").read_text()
    assert not any(str(subject) in text for subject, *_ in release.STUDIES.values())


def test_r2gens_annotation_counts_images(tmp_path):
    annotation = release.make_annotation(tmp_path)
    found = mimic_cxr_annotation(tmp_path, annotation)
    records = list(found.records)
    assert [record.study_id for record in records][:3] == [
        "aaaaaaaa-00000001",
        "aaaaaaaa-00000002",
        "bbbbbbbb-00000001",
    ]
    assert {record.patient_id for record in records[:3]} == {"19000001"}
    assert records[0].metadata == {"study": "s90000001"}
    assert all(image.path.is_file() for record in records for image in record.images)


def test_rows_that_cannot_be_used_are_counted(tmp_path):
    release.make(tmp_path, packed=False)
    table = tmp_path / "mimic-cxr-2.0.0-split.csv"
    lines = [
        "../../x,90000001,19000001,train",
        "aaaaaaaa-00000009,90000001,19000002,train",
        "aaaaaaaa-00000009,90000002,19000001,nowhere",
        "short,1",
    ]
    table.write_text(table.read_text() + "\n".join(lines) + "\n")
    found = mimic_cxr(tmp_path)
    assert "s90000001" not in {record.study_id for record in found.records}
    counts = found.exclusions.counts
    assert (
        counts["no dicom id"] == counts["no study, subject or split"] == counts["wrong number of fields"] == 1
    )
    assert counts["rows disagree on the patient or the split"] == 1


def test_what_is_missing_is_told(tmp_path):
    with pytest.raises(UserError, match=r"no file mimic-cxr-2.0.0-split.csv .*download MIMIC-CXR-JPG"):
        mimic_cxr(tmp_path)
    release.make(tmp_path, reports="none")
    with pytest.raises(UserError, match=r"unpack mimic-cxr-reports.zip of MIMIC-CXR there"):
        mimic_cxr(tmp_path)
    with pytest.raises(UserError, match=r"There is no .*absent"):
        mimic_cxr(tmp_path, reports=tmp_path / "absent")
    (tmp_path / "mimic-cxr-2.0.0-chexpert.csv.gz").unlink()
    with pytest.raises(UserError, match="--labels none"):
        mimic_cxr(tmp_path, reports=tmp_path)

from __future__ import annotations

import shutil

import pytest
from releases import openi as release

from cxreport.data.importing import import_release
from cxreport.data.sources import openi as source
from cxreport.data.sources.openi import code_findings, openi
from cxreport.errors import UserError
from cxreport.study import Finding


@pytest.mark.parametrize("archive", [True, False])
def test_reports_images_and_codes(tmp_path, archive):
    release.make(tmp_path, archive=archive)
    found = openi(tmp_path)
    records = {record.study_id: record for record in found.records}
    assert list(records) == ["CXR9001", "CXR9002", "CXR9003", "CXR9005"]
    normal, effusion, uncoded, scars = records.values()
    assert [(image.name, image.projection) for image in normal.images] == [
        ("CXR9001_IM-0001-1001.png", "frontal"),
        ("9001_IM-0001-2001.dcm.png", "lateral"),
    ]
    assert (normal.report.impression, normal.report.indication) == ("No acute disease.", "Cough.")
    assert (normal.findings, normal.labels) == ((), {"No Finding": 1})
    assert [image.name for image in effusion.images] == ["9002_IM-0002-1001.dcm"]
    assert effusion.findings == (
        Finding("pleural_effusion", "left", None, "severe"),
        Finding("Opacity/lung/base/round", "left"),
        Finding("Lung/hypoinflation/mild"),
    )
    assert effusion.labels == {"Pleural Effusion": 1}
    assert effusion.metadata == {"codes": list(release.REPORTS[9002][2])}
    assert [image.name for image in uncoded.images] == ["9003_1.png"]
    assert (uncoded.findings, uncoded.labels) == (None, {})
    assert (scars.images, scars.findings) == ((), (Finding("scarring", "bilateral", "apical"),))
    assert found.exclusions.counts == {"empty report": 1, "image without a report": 1}


def test_sections_that_are_asked_for(tmp_path):
    release.make(tmp_path)
    found = openi(tmp_path, sections="both")
    assert [record.study_id for record in found.records] == ["CXR9001", "CXR9003"]
    assert found.exclusions.counts["no impression section"] == 1
    assert found.exclusions.counts["no findings section"] == 1
    assert found.options["sections"] == "both"


def test_a_bad_report_in_a_folder_is_counted(tmp_path):
    release.make(tmp_path, archive=False)
    reports = tmp_path / "ecgen-radiology"
    bomb = '<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "aaaa">]><eCitation>&a;</eCitation>'
    (reports / "7001.xml").write_text(bomb)
    (reports / "7002.xml").write_text("<eCitation>")
    (reports / "7003.xml").write_text(release.xml_of(9001))
    (reports / "7004.xml").write_bytes(b" " * (1 << 20) + b"<a/>")
    found = openi(tmp_path)
    assert len(list(found.records)) == 4
    counts = found.exclusions.counts
    assert (counts["unreadable report"], counts["report comes again"]) == (3, 1)
    details = [detail for _, reason, detail in found.exclusions if reason == "unreadable report"]
    assert any("declares a document type or entities" in detail for detail in details)


def test_without_reports_those_of_the_installed_package_are_used(tmp_path, monkeypatch):
    release.make(tmp_path / "release")
    (tmp_path / "release" / "NLMCXR_reports.tgz").rename(tmp_path / "installed.tgz")
    monkeypatch.setattr(source, "find_archive", lambda: tmp_path / "installed.tgz")
    assert next(iter(openi(tmp_path / "release").records)).study_id == "CXR9001"


def test_what_is_missing_or_broken_is_told(tmp_path, monkeypatch):
    (tmp_path / "NLMCXR_reports.tgz").write_bytes(b"no archive")
    with pytest.raises(
        UserError, match=r"is not a whole tar.gz archive .*; fetch NLMCXR_reports.tgz again\.$"
    ):
        openi(tmp_path)
    (tmp_path / "NLMCXR_reports.tgz").unlink()
    monkeypatch.setattr("cxreport.phantom.openi.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"There are no reports in .*pip install --no-deps torchxrayvision"):
        openi(tmp_path)


def test_two_files_of_one_image_are_one_view(tmp_path):
    release.make(tmp_path)
    shutil.copy(tmp_path / "NLMCXR_png" / "CXR9001_IM-0001-1001.png", tmp_path / "9001_IM-0001-1001.jpg")
    found = openi(tmp_path)
    assert next(iter(found.records)).images[0].name == "CXR9001_IM-0001-1001.png"
    assert found.exclusions.counts["image comes again"] == 1


@pytest.mark.parametrize(
    ("codes", "findings"),
    [
        (("normal",), ()),
        (("No Indexing",), None),
        ((), None),
        (("normal", "Cardiomegaly/mild"), (Finding("cardiomegaly", None, None, "mild"),)),
        (("Thickening/pleura/left/right",), (Finding("Thickening/pleura", "bilateral"),)),
    ],
)
def test_findings_of_codes(codes, findings):
    assert code_findings(codes) == findings


def test_r2gens_split_has_its_ids(shared):
    found = openi(shared / "data" / "iu_xray", r2gen=True)
    records = [record for record in found.records if record.split]
    assert len(records) == 2955
    counts = [sum(record.split == split for record in records) for split in ("train", "val", "test")]
    assert counts == [2069, 296, 590]
    assert "CXR2384_IM-0942" in {record.study_id for record in records}


def test_the_real_sample_images_import_with_their_reports(shared, tmp_path):
    source = shared / "data" / "iu_xray"
    shutil.copytree(source / "sample_images", tmp_path / "openi" / "images")
    for name in ("NLMCXR_reports.tgz", "projections.csv"):
        shutil.copy(source / name, tmp_path / "openi" / name)
    dataset = import_release(openi(tmp_path / "openi"), tmp_path / "out", workers=0, max_side=64)
    studies = {study.study_id: study for name in dataset.splits for study in dataset.split(name)}
    views = {name: [view.projection for view in study.views] for name, study in studies.items()}
    assert views == {
        "CXR2": [None, None],
        "CXR25": ["frontal"],
        "CXR54": ["frontal", "lateral"],
        "CXR303": ["frontal"],
        "CXR861": [None],
        "CXR2577": [None],
        "CXR2882": [None],
    }
    assert studies["CXR2"].report.findings.startswith("Borderline cardiomegaly. Midline sternotomy")
    assert all(study.report.findings for study in studies.values())
    counts = dataset.exclusions.counts
    assert counts["no readable image"] + counts["no image"] + counts["empty report"] + 7 == 3955

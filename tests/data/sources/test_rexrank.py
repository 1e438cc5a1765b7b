from __future__ import annotations

import json
import math

import pytest
from releases import rexrank as release

from cxreport.data.importing import import_release
from cxreport.data.sources.rexrank import rexrank, write_rexrank
from cxreport.errors import UserError


def test_studies_of_the_leaderboard(tmp_path):
    found = rexrank(release.make(tmp_path), images=tmp_path / "images")
    first, second = found.records
    assert (first.study_id, first.patient_id, first.split) == ("study_a", "19000001", "test")
    assert [image.projection for image in first.images] == ["frontal", "lateral"]
    assert all(image.path.is_file() for image in (*first.images, *second.images))
    assert first.report.indication.startswith("Age:50-60.Gender:M.Indication: Cough.")
    assert (second.report.findings, second.report.impression) == ("", "Mild edema, 肺水肿.")


def test_studies_without_the_section_are_counted(tmp_path):
    found = rexrank(release.make(tmp_path), images=tmp_path / "images", sections="findings")
    dataset = import_release(found, tmp_path / "out", workers=0)
    assert dataset.split("test").study_ids == ["study_a"]
    assert dataset.exclusions.counts == {"no findings section": 1}


def test_a_submission_is_the_same_object_with_one_more_key(tmp_path):
    path, out = release.make(tmp_path), tmp_path / "submission.json"
    assert write_rexrank(path, out, {"study_a": " clear lungs . ", "study_b": "edema ."}) == 2
    written, given = json.loads(out.read_text()), json.loads(path.read_text())
    assert list(written) == list(given)
    for study, text in (("study_a", "clear lungs ."), ("study_b", "edema .")):
        assert written[study].pop("model_prediction") == text
        assert json.dumps(written[study]) == json.dumps(given[study])
    assert math.isnan(written["study_a"]["ap_pa"])
    assert "肺水肿" in out.read_text()


def test_the_track_of_whole_reports(tmp_path):
    path, out = release.make(tmp_path), tmp_path / "submission.json"
    findings, impressions = {"study_a": "clear", "study_b": "edema"}, {"study_a": "normal", "study_b": "mild"}
    write_rexrank(path, out, findings, impressions)
    assert json.loads(out.read_text())["study_b"]["model_prediction"] == "Findings: edema Impression: mild"


@pytest.mark.parametrize(
    ("findings", "impressions", "sentence"),
    [
        ({"study_a": "x"}, None, "1 studies of .* have no draft, study_b first"),
        ({"study_a": "x", "study_b": "y"}, {"study_b": "y"}, "have no impression, study_a first"),
        (
            {"study_a": "x", "study_b": "y", "other": "z"},
            None,
            "1 drafts belong to no study of .*, other first",
        ),
    ],
)
def test_no_study_and_no_draft_is_lost(tmp_path, findings, impressions, sentence):
    path, out = release.make(tmp_path), tmp_path / "submission.json"
    with pytest.raises(UserError, match=sentence):
        write_rexrank(path, out, findings, impressions)
    assert not out.exists()


@pytest.mark.parametrize("content", ["[]", '{"a": 1}', "{", ""])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(UserError, match=r"x.json is not a"):
        rexrank(tmp_path / "x.json")


def test_studies_without_a_patient_or_a_safe_path(tmp_path):
    path = release.make(tmp_path)
    tree = json.loads(path.read_text())
    del tree["study_a"]["subject_id"]
    tree["study_b"]["image_path"] = "../../secret.png"
    path.write_text(json.dumps(tree))
    found = rexrank(path, images=tmp_path / "images")
    first, second = found.records
    assert (first.patient_id, second.images) == ("study_a", ())
    assert found.warnings == ["1 studies have no subject_id; each counts as a patient of its own."]
    assert found.exclusions.counts == {"image path leaves the folder": 1}

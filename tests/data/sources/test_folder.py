from __future__ import annotations

import csv
import io
import os
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxreport.data.exclusions import Exclusions
from cxreport.data.sources.folder import folder_studies
from cxreport.data.store import write_dataset
from cxreport.errors import UserError
from cxreport.study import Study

HEADER = ["study", "image", "report", "patient", "view"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six different small pictures ``0.png`` .. ``5.png``."""
    source = tmp_path / "images"
    source.mkdir()
    for number in range(6):
        rng = np.random.default_rng(number)
        Image.fromarray(rng.integers(0, 256, (20, 24), dtype=np.uint8)).save(source / f"{number}.png")
    return source


def studies_of(
    folder: Path, rows: list[list[str]] | str | bytes, **changes
) -> tuple[list[Study], Exclusions]:
    table = folder.parent / "table.csv"
    if isinstance(rows, bytes):
        table.write_bytes(rows)
    else:
        with table.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([HEADER, *rows])
    exclusions = Exclusions()
    columns = dict(
        zip(("id_column", "image_column", "report_column", "patient_column"), HEADER, strict=False)
    )
    settings = columns | {"projection_column": "view", "exclusions": exclusions} | changes
    return list(folder_studies(folder, table, **settings)), exclusions


def test_rows_of_one_id_are_views_of_one_study(folder):
    rows = [
        ["a", "0.png", "Clear lungs.", "p1", "PA"],
        ["b", "1.png", "Größer.", "p2", ""],
        ["a", "2.png", "Clear  lungs.", "p1", "L"],
    ]
    (a, b), exclusions = studies_of(folder, rows)
    assert len(exclusions) == 0
    assert (a.study_id, [view.projection for view in a.views]) == ("a", ["frontal", "lateral"])
    assert a.report.findings == "Clear lungs."
    assert (b.report.findings, b.views[0].projection) == ("Größer.", None)
    with Image.open(folder / "2.png") as picture:
        assert np.array_equal(np.array(Image.open(io.BytesIO(a.views[1].image))), np.array(picture))


def test_what_cannot_be_used_is_counted(folder):
    (folder / "empty.png").touch()
    (folder / "cut.png").write_bytes((folder / "0.png").read_bytes()[:100])
    (folder / "text.png").write_text("no image")
    rows = [
        ["good", "0.png", "Clear.", "p1", "AP"],
        ["good", "empty.png", "Clear.", "p1", ""],
        ["good", "0.png", "Clear.", "p1", "AP"],
        ["no image", "cut.png", "Clear.", "p2", ""],
        ["no image", "absent.png", "Clear.", "p2", ""],
        ["no report", "1.png", " ", "p3", ""],
        ["dots only", "1.png", " .. ", "p3", ""],
        ["two patients", "1.png", "Clear.", "p4", ""],
        ["two patients", "2.png", "Clear.", "p5", ""],
        ["two reports", "1.png", "Clear.", "p6", ""],
        ["two reports", "2.png", "Effusion.", "p6", ""],
        ["no patient", "1.png", "Clear.", "", ""],
        ["no name", "", "Clear.", "p7", ""],
        ["", "3.png", "Clear.", "p7", ""],
        ["short"],
        ["also good", "text.png", "Mass.", "p8", ""],
        ["also good", "4.png", "Mass.", "p8", "sideways"],
    ]
    studies, exclusions = studies_of(folder, rows)
    assert [(study.study_id, len(study.views)) for study in studies] == [("good", 1), ("also good", 1)]
    assert exclusions.counts == {
        "unreadable image": 2,
        "empty report": 2,
        "duplicate row": 1,
        "no readable image": 1,
        "rows disagree on the patient": 1,
        "rows disagree on the report": 1,
        "no patient id": 1,
        "no image name": 1,
        "no study id": 1,
        "wrong number of fields": 1,
    }
    unreadable = {item: detail for item, reason, detail in exclusions if reason == "unreadable image"}
    assert unreadable["empty.png"] == "empty.png is empty (0 bytes)."
    (lost,) = (excluded for excluded in exclusions if excluded.reason == "no readable image")
    assert lost.item == "no image"
    assert re.fullmatch(r"cut\.png is damaged .* There is no file absent\.png\.", lost.detail)
    assert {item for item, reason, _ in exclusions if reason == "no study id"} == {"line 15"}
    assert studies[1].metadata == {"warnings": ["4.png: the projection 'sideways' is not known"]}
    warnings: list[str] = []
    studies_of(folder, rows, warnings=warnings)
    assert warnings == studies[1].metadata["warnings"]


def test_paths_may_not_leave_the_folder(folder, tmp_path):
    outside = tmp_path / "outside.png"
    Image.open(folder / "0.png").save(outside)
    (folder / "link.png").symlink_to(outside)
    (folder / "sub").mkdir()
    os.link(folder / "1.png", folder / "sub" / "inside.png")
    names = ["../outside.png", str(outside), "link.png", "sub/../../outside.png", str(folder / "0.png")]
    rows = [["bad", name, "Clear.", "p1", ""] for name in names]
    rows += [["good", "sub/inside.png", "Clear.", "p1", ""], ["good", "sub/../2.png", "Clear.", "p1", ""]]
    (study,), exclusions = studies_of(folder, rows)
    assert (study.study_id, len(study.views)) == ("good", 2)
    assert exclusions.counts == {"no readable image": 1}
    assert exclusions.items[0].detail.count("leaves the folder.") == 5
    rows.append(["good", "link.png", "Clear.", "p1", ""])
    assert studies_of(folder, rows[-2:])[1].counts == {"image path leaves the folder": 1}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"study,image,report,patient,view\n", "No study"),
        ("study,image,report,patient,view\na,0.png,Größer,p,\n".encode("latin-1"), "not UTF-8"),
        (b"study,image,report,patient,view\na,0.png,\"open,p,\n", "not a CSV"),
        (b"study,image,report,patient,view,image\na,0.png,Clear,p,,\n", "the column image 2 times"),
        (b"study;image;report;patient;view\n", "no column study"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\xff", "not UTF-8"),
    ],
)  # fmt: skip
def test_bad_tables(folder, content, sentence):
    with pytest.raises(UserError, match=sentence):
        studies_of(folder, content)


def test_a_missing_column_names_the_nearest_and_all(folder):
    content = b"StudyID,image,Report,patient,view\na,0.png,Clear.,p,\n"
    expected = "no column report; its columns are StudyID, image, Report, patient, view. Did you mean Report?"
    with pytest.raises(UserError, match=re.escape(expected)):
        studies_of(folder, content, id_column="StudyID")


def test_missing_files(tmp_path, folder):
    columns = {"id_column": "a", "image_column": "b", "report_column": "c", "patient_column": "d"}
    with pytest.raises(UserError, match="There is no folder"):
        folder_studies(tmp_path / "absent", tmp_path / "table.csv", **columns)
    with pytest.raises(UserError, match="Cannot read the CSV"):
        folder_studies(folder, tmp_path / "absent.csv", **columns)
    with pytest.raises(UserError, match="Cannot read the CSV"):
        folder_studies(folder, folder, **columns)


def test_nothing_left_is_an_error_that_says_why(folder):
    with pytest.raises(UserError, match=r"No study .* 1 left out: no readable image \(1\)"):
        studies_of(folder, [["a", "absent.png", "Clear.", "p", ""]])


def test_byte_order_mark_quotes_and_line_breaks(folder):
    content = '\ufeffstudy,image,report,patient,view\r\na,0.png,"Clear, both.\nNo ""mass"".",p,PA\r\n'
    (study,), _ = studies_of(folder, content.encode())
    assert study.report.findings == 'Clear, both.\nNo "mass".'


def test_patients_and_shared_notes_stay_on_one_side(folder):
    rows = [
        [f"s{i}", f"{i % 6}.png", f"Note {min(i, 30) if i < 40 else i}.", f"p{i // 2}", ""] for i in range(60)
    ]
    studies, _ = studies_of(folder, rows, seed=3, shares=(0.5, 0.2, 0.3))
    assert len(studies) == 60
    assert {study.split for study in studies} == {"train", "val", "test"}
    for key in ("patient_id", "report"):
        splits = defaultdict(set)
        for study in studies:
            splits[getattr(study, key)].add(study.split)
        assert all(len(found) == 1 for found in splits.values())


def test_patient_ids_are_salted_hashes(folder):
    rows = [["a", "0.png", "Clear.", "MRN4711", ""], ["b", "1.png", "Mass.", "MRN4711", ""]]
    first, _ = studies_of(folder, rows)
    again, _ = studies_of(folder, rows)
    fixed = [studies_of(folder, rows, patient_salt="salt")[0][0].patient_id for _ in range(2)]
    assert first[0].patient_id == first[1].patient_id != again[0].patient_id
    assert fixed[0] == fixed[1] != first[0].patient_id
    assert "MRN" not in repr(first)
    assert [study.split for study in first] == [study.split for study in again]


def test_progress_and_max_side(folder):
    seen: list[tuple[int, int]] = []
    rows = [[str(i), f"{i}.png", f"Note {i}.", str(i), ""] for i in range(3)]
    studies, _ = studies_of(
        folder, rows, progress=lambda done, total: seen.append((done, total)), max_side=12
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert {(study.views[0].width, study.views[0].height) for study in studies} == {(12, 10)}


def test_dicom_in_a_folder(shared, tmp_path):
    rows = [
        ["a", "RG1_J2KI.dcm", "Metastases.", "p1", ""],
        ["b", "RG3_J2KI.dcm", "A leg.", "p2", ""],
    ]
    table = tmp_path / "images"
    table.mkdir()
    for row in rows:
        (table / row[1]).write_bytes((shared / "data" / "dicom" / row[1]).read_bytes())
    (chest, leg), exclusions = studies_of(table, rows, max_side=128)
    assert (chest.views[0].projection, chest.metadata) == ("frontal", {})
    assert leg.metadata["warnings"] == ["RG3_J2KI.dcm: its body part is EXTREMITY, not a chest"]
    assert len(exclusions) == 0


def test_real_notes(shared, tmp_path):
    covid = shared / "data" / "covid"
    with (covid / "metadata.csv").open(encoding="utf-8-sig", newline="") as file:
        header, *rows = list(csv.reader(file))
    table = tmp_path / "some.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows[:30]])
    exclusions = Exclusions()
    studies = folder_studies(
        covid / "images",
        table,
        id_column="image",
        image_column="image",
        report_column="clinical_notes",
        patient_column="patientid",
        projection_column="view",
        max_side=128,
        exclusions=exclusions,
    )
    dataset = write_dataset(
        studies, tmp_path / "out", source="folder", source_version="1", options={}, exclusions=exclusions
    )
    written = [study for split in dataset.splits for study in dataset.split(split)]
    notes = {row[header.index("image")]: row[header.index("clinical_notes")].strip() for row in rows[:30]}
    assert {study.study_id: study.report.findings for study in written} == {
        image: note for image, note in notes.items() if note
    }
    assert dataset.exclusions.counts.get("empty report", 0) == sum(not note for note in notes.values())
    assert {view.projection for study in written for view in study.views} <= {"frontal", "lateral"}
    split_of_note = {study.report.findings: study.split for study in written}
    assert all(split_of_note[study.report.findings] == study.split for study in written)

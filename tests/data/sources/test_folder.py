from __future__ import annotations

import csv
import io
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxreport.data.exclusions import Exclusions
from cxreport.data.importing import import_release
from cxreport.data.sources import Release
from cxreport.data.sources.folder import folder
from cxreport.errors import UserError
from cxreport.study import Study

HEADER = ["study", "image", "report", "patient", "view"]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Six different small pictures ``0.png`` .. ``5.png``."""
    source = tmp_path / "images"
    source.mkdir()
    for number in range(6):
        rng = np.random.default_rng(number)
        Image.fromarray(rng.integers(0, 256, (20, 24), dtype=np.uint8)).save(source / f"{number}.png")
    return source


def release_of(root: Path, rows: list[list[str]] | str | bytes, **changes) -> Release:
    table = root.parent / "table.csv"
    if isinstance(rows, bytes):
        table.write_bytes(rows)
    else:
        with table.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([HEADER, *rows])
    columns = dict(
        zip(("id_column", "image_column", "report_column", "patient_column"), HEADER, strict=False)
    )
    return folder(root, table, **(columns | {"projection_column": "view"} | changes))


def studies_of(root: Path, rows: list[list[str]] | str | bytes, **changes) -> tuple[list[Study], Exclusions]:
    """The studies of the imported table, by id."""
    out = root.parent / f"out-{len(list(root.parent.iterdir()))}"
    dataset = import_release(release_of(root, rows, **changes), out, split="patient", workers=0)
    studies = [study for split in dataset.splits for study in dataset.split(split)]
    return sorted(studies, key=lambda study: study.study_id), dataset.exclusions


def test_rows_of_one_id_are_views_of_one_study(images):
    rows = [
        ["a", "0.png", "Clear lungs.", "p1", "PA"],
        ["b", "1.png", "Größer.", "p2", ""],
        ["a", "2.png", "Clear  lungs.", "p1", "L"],
    ]
    (a, b), exclusions = studies_of(images, rows)
    assert len(exclusions) == 0
    assert (a.study_id, [view.projection for view in a.views]) == ("a", ["frontal", "lateral"])
    assert a.report.findings == "Clear lungs."
    assert (b.report.findings, b.views[0].projection) == ("Größer.", None)
    with Image.open(images / "2.png") as picture:
        assert np.array_equal(np.array(Image.open(io.BytesIO(a.views[1].image))), np.array(picture))


def test_what_cannot_be_used_is_counted(images):
    (images / "empty.png").touch()
    (images / "cut.png").write_bytes((images / "0.png").read_bytes()[:100])
    (images / "text.png").write_text("no image")
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
    (also_good, good), exclusions = studies_of(images, rows)
    assert [(study.study_id, len(study.views)) for study in (also_good, good)] == [
        ("also good", 1),
        ("good", 1),
    ]
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
    assert also_good.metadata == {"warnings": ["4.png: the projection 'sideways' is not known"]}


def test_paths_may_not_leave_the_folder(images, tmp_path):
    outside = tmp_path / "outside.png"
    Image.open(images / "0.png").save(outside)
    (images / "link.png").symlink_to(outside)
    (images / "sub").mkdir()
    os.link(images / "1.png", images / "sub" / "inside.png")
    names = ["../outside.png", str(outside), "link.png", "sub/../../outside.png", str(images / "0.png")]
    rows = [["bad", name, "Clear.", "p1", ""] for name in names]
    rows += [["good", "sub/inside.png", "Clear.", "p1", ""], ["good", "sub/../2.png", "Clear.", "p1", ""]]
    (study,), exclusions = studies_of(images, rows)
    assert (study.study_id, len(study.views)) == ("good", 2)
    assert exclusions.counts == {"no readable image": 1}
    assert exclusions.items[0].detail.count("leaves the folder.") == 5
    rows.append(["good", "link.png", "Clear.", "p1", ""])
    assert studies_of(images, rows[-2:])[1].counts == {"image path leaves the folder": 1}


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
def test_bad_tables(images, content, sentence):
    with pytest.raises(UserError, match=sentence):
        studies_of(images, content)


def test_a_missing_column_names_the_nearest_and_all(images):
    content = b"StudyID,image,Report,patient,view\na,0.png,Clear.,p,\n"
    expected = "no column report; its columns are StudyID, image, Report, patient, view. Did you mean Report?"
    with pytest.raises(UserError, match=re.escape(expected)):
        studies_of(images, content, id_column="StudyID")


def test_missing_files(tmp_path, images):
    columns = {"id_column": "a", "image_column": "b", "report_column": "c", "patient_column": "d"}
    with pytest.raises(UserError, match="There is no folder"):
        folder(tmp_path / "absent", tmp_path / "table.csv", **columns)
    with pytest.raises(UserError, match="Cannot read the CSV"):
        folder(images, tmp_path / "absent.csv", **columns)
    with pytest.raises(UserError, match="Cannot read the CSV"):
        folder(images, images, **columns)


def test_nothing_left_is_an_error_that_says_why(images):
    with pytest.raises(UserError, match=r"No study .* 1 left out: no readable image \(1\)"):
        studies_of(images, [["a", "absent.png", "Clear.", "p", ""]])


def test_byte_order_mark_quotes_and_line_breaks(images):
    content = '\ufeffstudy,image,report,patient,view\r\na,0.png,"Clear, both.\nNo ""mass"".",p,PA\r\n'
    (study,), _ = studies_of(images, content.encode())
    assert study.report.findings == 'Clear, both.\nNo "mass".'


def test_dicom_in_a_folder(shared, tmp_path):
    rows = [
        ["a", "RG1_J2KI.dcm", "Metastases.", "p1", ""],
        ["b", "RG3_J2KI.dcm", "A leg.", "p2", ""],
    ]
    table = tmp_path / "images"
    table.mkdir()
    for row in rows:
        (table / row[1]).write_bytes((shared / "data" / "dicom" / row[1]).read_bytes())
    (chest, leg), exclusions = studies_of(table, rows)
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
    release = folder(
        covid / "images",
        table,
        id_column="image",
        image_column="image",
        report_column="clinical_notes",
        patient_column="patientid",
        projection_column="view",
    )
    dataset = import_release(release, tmp_path / "out", max_side=128, workers=0)
    written = [study for split in dataset.splits for study in dataset.split(split)]
    notes = {row[header.index("image")]: row[header.index("clinical_notes")].strip() for row in rows[:30]}
    assert {study.study_id: study.report.findings for study in written} == {
        image: note for image, note in notes.items() if note
    }
    assert dataset.exclusions.counts.get("empty report", 0) == sum(not note for note in notes.values())
    assert {view.projection for study in written for view in study.views} <= {"frontal", "lateral"}
    split_of_note = {study.report.findings: study.split for study in written}
    assert all(split_of_note[study.report.findings] == study.split for study in written)
    assert "no official split" in dataset.info["warnings"][0]

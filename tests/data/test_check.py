"""What `cxreport data check` finds, also where somebody edited the Arrow files afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from typer.testing import CliRunner

from cxreport.cli import app
from cxreport.data.check import check_dataset
from cxreport.data.images import view_of
from cxreport.data.importing import import_release
from cxreport.data.rows import SCHEMA
from cxreport.data.shards import read_rows
from cxreport.data.sources import Release
from cxreport.data.sources.phantom import phantom_studies
from cxreport.data.store import PreparedDataset, write_dataset
from cxreport.errors import UserError
from cxreport.study import SPLITS, Report, Study, View

Rows = list[dict[str, Any]]


def smooth(number: int, size: int = 160) -> np.ndarray:
    """A picture with structure of all sizes: no two of them look alike."""
    rng = np.random.default_rng(number)
    picture = np.zeros((size, size))
    for side in (5, 20, 80):
        coarse = Image.fromarray(rng.integers(0, 256, (side, side), dtype=np.uint8))
        picture += np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), float)
    return (picture / 3).round().astype(np.uint8)


def studies(count: int = 12) -> list[Study]:
    return [
        Study(
            f"s{number}",
            f"p{number}",
            (view_of(smooth(number), "frontal"),),
            Report(f"Number {number} is normal.", "No change."),
            SPLITS[number % 3],
            {"Edema": 1, "No Finding": 0},
        )
        for number in range(count)
    ]


def write(folder: Path, made: list[Study]) -> PreparedDataset:
    return write_dataset(made, folder, source="test", source_version="1", options={})


def edit(dataset: PreparedDataset, split: str, change: Callable[[Rows], None]) -> None:
    """Change the rows of a split in its Arrow file, behind the back of everything that checks."""
    path = dataset.path / split / "data-00000.arrow"
    rows = list(read_rows(path))
    change(rows)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, SCHEMA) as stream:
        stream.write_batch(pa.RecordBatch.from_pylist(rows, SCHEMA))


def found(dataset: PreparedDataset, **settings) -> dict[str, tuple[str, ...]]:
    checked = check_dataset(PreparedDataset.open(dataset.path), workers=0, **settings)
    return {row.name: row.found for row in checked.rows if row.found}


def test_a_clean_dataset(tmp_path):
    dataset = write(tmp_path / "out", studies())
    seen: list[tuple[str, int, int]] = []
    checked = check_dataset(dataset, workers=0, progress=lambda *step: seen.append(step))
    assert [row.found for row in checked.rows] == [()] * 11
    assert (checked.clean, checked.studies, checked.images) == (True, 12, 12)
    assert seen[:12] == [("studies", done, 12) for done in range(1, 13)]
    assert seen[12:] == [("pairs of images", done, 48) for done in (16, 32, 48)]
    assert check_dataset(dataset, workers=2) == checked


def test_a_patient_planted_into_the_files(tmp_path):
    dataset = write(tmp_path / "out", studies())
    edit(dataset, "test", lambda rows: rows[1].update(patient_id="p3"))
    assert found(dataset) == {"patients in several splits": ("s3 (train), s5 (test)",)}


def resaved(picture: np.ndarray, **settings) -> View:
    """The picture with 100 pixels, lighter, as a JPEG."""
    small = Image.fromarray(picture).resize((100, 100)).point(lambda grey: int(255 * (grey / 255) ** 0.7))
    return view_of(np.asarray(small), image_format="jpeg")


def test_a_picture_resaved_in_another_split(tmp_path):
    made = studies()
    made[4] = replace(made[4], views=(*made[4].views, resaved(smooth(0))))
    made[3] = replace(made[3], views=(*made[3].views, resaved(smooth(0))))
    names = found(write(tmp_path / "out", made))
    assert names == {
        "near-identical images in two splits": (
            "s0 (train) view 1 = s4 (val) view 2",
            "s3 (train) view 2 = s4 (val) view 2",
        )
    }


def test_equal_reports(tmp_path):
    made = studies(18)
    long = "Seen on day four of the stay. " * 8
    for number in (0, 1):
        made[number] = replace(made[number], report=Report(f"{long}\n "))
    for number in range(3, 15):
        made[number] = replace(made[number], report=Report(f"Clear.  {long}"))
    for number in (15, 16):
        made[number] = replace(made[number], report=Report("Normal."))
    names = found(write(tmp_path / "out", made))
    assert names == {
        "long and rare reports in several splits": ("s0 (train), s1 (val)",),
        "other reports in several splits": (
            "s3 (train), s6 (train), s9 (train), s12 (train), s4 (val) and 7 more",
            "s15 (train), s16 (val)",
        ),
    }


def test_notices(tmp_path):
    made = studies()
    made[0] = replace(made[0], report=Report(indication="Cough."))
    made[1] = replace(made[1], report=Report("The heart is", "Cut off here,"))
    made[2] = replace(made[2], report=Report("Size 3.5", "As in XXXX"))
    made[3] = replace(made[3], report=Report("正常。"))
    made[4] = replace(made[4], labels={"No Finding": 1, "Edema": 1, "Fracture": -1})
    made[5] = replace(made[5], labels={"No Finding": 1, "Support Devices": 1})
    dataset = write(tmp_path / "out", made)
    assert found(dataset) == {
        "studies without findings and impression": ("s0 (train)",),
        "sections that end without a full stop": ("s1 (val) findings", "s1 (val) impression"),
        "labels that contradict each other": ("s4 (val): No Finding and Edema",),
    }
    assert check_dataset(dataset, workers=0).clean


def test_faults(tmp_path):
    dataset = write(tmp_path / "out", studies())

    def change(rows: Rows) -> None:
        rows[0]["views"][0]["image"] = rows[0]["views"][0]["image"][:300]
        rows[1]["study_id"] = rows[2]["study_id"]
        rows[3]["split"] = "val"

    edit(dataset, "train", change)
    assert found(dataset) == {
        "study ids that come again": ("s6",),
        "unreadable images": ("s0 (train) view 1",),
        "studies of another split": ("s9 (train)",),
        "splits that changed since the import": ("train",),
    }
    assert not check_dataset(PreparedDataset.open(dataset.path), workers=0).clean


def test_a_damaged_file_is_a_sentence(tmp_path):
    dataset = write(tmp_path / "out", studies())
    shard = dataset.path / "val" / "data-00000.arrow"
    shard.write_bytes(shard.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"val split .* prepare it again"):
        check_dataset(dataset, workers=0)


def test_command(tmp_path):
    runner = CliRunner()
    dataset = write(tmp_path / "out", studies())
    clean = runner.invoke(app, ["data", "check", str(dataset.path)])
    assert clean.exit_code == 0
    assert clean.stdout.rstrip().endswith("12 studies, 12 images: clean")
    edit(dataset, "test", lambda rows: rows[1].update(patient_id="p3"))
    dirty = runner.invoke(app, ["data", "check", str(dataset.path)])
    assert dirty.exit_code == 1
    assert "s3 (train), s5 (test)" in dirty.stdout
    assert dirty.stdout.rstrip().endswith("not clean")
    as_json = runner.invoke(app, ["data", "check", str(dataset.path), "--json"])
    assert as_json.exit_code == 1
    tree = json.loads(as_json.stdout)
    assert (tree["clean"], tree["studies"]) == (False, 12)
    assert tree["checks"][0] == {
        "name": "patients in several splits",
        "level": "leak",
        "count": 1,
        "found": ["s3 (train), s5 (test)"],
    }


def test_phantoms_look_alike_but_copies_are_found(tmp_path):
    made = list(phantom_studies(60, 64, "grammar", 9223))
    plain = write_dataset(made, tmp_path / "a", source="phantom", source_version="1", options={})
    assert check_dataset(plain, workers=0).clean
    made[-1] = replace(made[-1], views=(made[0].views[0],))
    copied = write_dataset(made, tmp_path / "b", source="phantom", source_version="1", options={})
    first, last = made[0].study_id, made[-1].study_id
    leaks = found(copied)["near-identical images in two splits"]
    assert leaks == (f"{first} (train) view 1 = {last} (test) view 1",)


def check_real(release: Release, out: Path) -> None:
    dataset = import_release(release, out, split="patient", max_side=256, workers=0)
    checked = check_dataset(dataset, workers=0)
    assert checked.clean, [row for row in checked.rows if row.found and row.level != "notice"]
    patient = next(read_rows(out / "train" / "data-00000.arrow"))["patient_id"]
    edit(dataset, "test", lambda rows: rows[0].update(patient_id=patient))
    planted = CliRunner().invoke(app, ["data", "check", str(out), "--json"])
    assert planted.exit_code == 1
    checks = {
        row["name"]: row["count"] for row in json.loads(planted.stdout)["checks"] if row["level"] != "notice"
    }
    assert {name for name, count in checks.items() if count} == {"patients in several splits"}


def test_real_nih(shared, tmp_path):
    from cxreport.data.sources.nih import nih

    check_real(nih(shared / "data" / "nih"), tmp_path / "out")


def test_real_covid(shared, tmp_path):
    from cxreport.data.sources.covid import covid

    check_real(covid(shared / "data" / "covid"), tmp_path / "out")

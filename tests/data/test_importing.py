"""From a release to a dataset: what is written, what is left out, and what a kill costs."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import hostile
import numpy as np
import pytest
from datasets import load_from_disk
from filelock import FileLock
from PIL import Image
from typer.testing import CliRunner

from cxreport.cli import app
from cxreport.data import plan, shards, shardstore
from cxreport.data.exclusions import Exclusions
from cxreport.data.importing import import_release
from cxreport.data.sources import ImageFile, Release, StudyRecord
from cxreport.data.store import PreparedDataset
from cxreport.errors import UserError
from cxreport.study import SPLITS, Finding, Report, Study

Make = Callable[..., Release]


def picture(path: Path, number: int, size: tuple[int, int] = (60, 40)) -> Path:
    """A smooth random picture: no two of them look alike."""
    coarse = np.random.default_rng(number).integers(0, 256, (9, 11), dtype=np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture
def release(tmp_path: Path) -> Make:
    """``release(12)``: studies s0, s1, ... with two images each, two studies a patient."""
    folder = tmp_path / "files"
    folder.mkdir()

    def make(count: int, *, official: bool = True, **changes) -> Release:
        records = []
        for number in range(count):
            names = [f"{number}-{view}.png" for view in range(2)]
            for view, name in enumerate(names):
                if not (folder / name).exists():
                    picture(folder / name, 2 * number + view)
            images = (
                ImageFile(folder / names[0], names[0], "frontal"),
                ImageFile(folder / names[1], names[1]),
            )
            split = SPLITS[number // 2 % 3] if official else None
            report = Report(f"Number {number}.", "Impression – größer.")
            truth = (Finding("mass", "left", boxes={"frontal": (0.1, 0.2, 1 / 3, 0.4)}),)
            records.append(
                StudyRecord(
                    f"s{number}",
                    f"MRN{number // 2}",
                    images,
                    report,
                    split,
                    {"Edema": number % 2},
                    truth,
                    {"age": number},
                )
            )
        settings = {"source": "test", "version": "3", "options": {"sectioner": "x/1"}} | changes
        return Release(records=iter(records), **settings)

    return make


def studies_in(dataset: PreparedDataset) -> dict[str, Study]:
    return {study.study_id: study for split in dataset.splits for study in dataset.split(split)}


def decoded(study: Study, view: int) -> np.ndarray:
    with Image.open(io.BytesIO(study.views[view].image)) as image:
        assert image.mode == "L"
        return np.array(image)


def files_under(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_release_becomes_a_dataset(release, tmp_path):
    dataset = import_release(release(12), tmp_path / "out", workers=0)
    assert {name: split["count"] for name, split in dataset.info["splits"].items()} == dict.fromkeys(
        SPLITS, 4
    )
    assert dataset.info["options"] == {
        "split": "official",
        "max_side": None,
        "image_format": "png",
        "keep_identifiers": False,
        "text_only": False,
        "sectioner": "x/1",
    }
    study = studies_in(dataset)["s3"]
    assert (study.report, study.labels) == (Report("Number 3.", "Impression – größer."), {"Edema": 1})
    assert study.findings == (Finding("mass", "left", boxes={"frontal": (0.1, 0.2, 1 / 3, 0.4)}),)
    assert (study.split, study.metadata) == ("val", {"age": 3})
    assert [view.projection for view in study.views] == ["frontal", None]
    with Image.open(tmp_path / "files" / "3-1.png") as original:
        assert decoded(study, 1).tolist() == np.array(original).tolist()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_plain_datasets_reads_it(release, tmp_path):
    import_release(release(12), tmp_path / "out", workers=0)
    table = load_from_disk(str(tmp_path / "out" / "val"))
    assert table["study_id"][:] == ["s2", "s3", "s8", "s9"]
    assert table[1]["views"][0]["image"].startswith(b"\x89PNG")


def test_size_and_format(release, tmp_path):
    small = import_release(release(4), tmp_path / "a", max_side=30, image_format="jpeg", workers=0)
    study = studies_in(small)["s0"]
    assert (study.views[0].width, study.views[0].height) == (30, 20)
    assert study.views[0].image.startswith(b"\xff\xd8\xff")
    with Image.open(tmp_path / "files" / "0-0.png") as original:
        antialiased = np.array(original.resize((30, 20), Image.Resampling.BICUBIC), float)
    assert np.abs(decoded(study, 0) - antialiased).mean() < 3
    full = import_release(release(4), tmp_path / "b", image_format="jpeg", workers=0)
    assert (studies_in(full)["s0"].views[0].width, full.sha256 != small.sha256) == (60, True)


def test_bytes_do_not_depend_on_workers(release, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "SHARD_STUDIES", 3)
    import_release(release(20), tmp_path / "none", salt="x", workers=0)
    import_release(release(20), tmp_path / "three", salt="x", workers=3)
    assert files_under(tmp_path / "none") == files_under(tmp_path / "three")
    assert "train/data-00002.arrow" in files_under(tmp_path / "none")


def test_patient_ids(release, tmp_path):
    random_salt = [studies_in(import_release(release(4), tmp_path / x, workers=0)) for x in "ab"]
    fixed = [studies_in(import_release(release(4), tmp_path / x, salt="x", workers=0)) for x in "cd"]
    kept = studies_in(import_release(release(4), tmp_path / "e", keep_identifiers=True, workers=0))
    assert random_salt[0]["s0"].patient_id == random_salt[0]["s1"].patient_id
    assert random_salt[0]["s0"].patient_id != random_salt[1]["s0"].patient_id
    assert fixed[0]["s0"].patient_id == fixed[1]["s0"].patient_id
    assert fixed[0]["s0"].patient_id == hashlib.sha256(b"x:MRN0").hexdigest()[:16]
    assert kept["s0"].patient_id == "MRN0"
    for name in "abcd":
        for path in (tmp_path / name).rglob("*.*"):
            assert b"MRN" not in path.read_bytes()


def test_without_an_official_split_it_is_by_patient(release, tmp_path):
    dataset = import_release(release(60, official=False), tmp_path / "out", seed=5, workers=0)
    assert dataset.info["options"]["split"] == "patient"
    assert dataset.info["options"]["seed"] == 5
    assert dataset.info["options"]["shares"] == {"train": 0.7, "val": 0.1, "test": 0.2}
    assert "no official split" in dataset.info["warnings"][0]
    splits = defaultdict(set)
    for study in studies_in(dataset).values():
        splits[study.patient_id].add(study.split)
    assert all(len(found) == 1 for found in splits.values())
    asked = import_release(release(60), tmp_path / "asked", split="patient", seed=5, workers=0)
    assert {s: study.split for s, study in studies_in(asked).items()} == {
        s: study.split for s, study in studies_in(dataset).items()
    }
    assert asked.info["warnings"] == []


def test_an_official_split_that_parts_patients_is_kept_and_told(release, tmp_path):
    broken = release(6)
    records = list(broken.records)
    records[1] = StudyRecord("s1", "MRN0", records[1].images, records[1].report, "test")
    dataset = import_release(Release("test", "1", records), tmp_path / "out", workers=0)
    assert "1 patients in more than one split" in dataset.info["warnings"][0]
    assert studies_in(dataset)["s1"].split == "test"


def test_one_picture_of_two_patients_stays_in_one_split(release, tmp_path):
    made = list(release(60, official=False).records)
    for number in range(0, 60, 4):
        picture(tmp_path / "files" / f"{number}-0.png", 999)
    made_release = Release("test", "1", made)
    dataset = import_release(made_release, tmp_path / "out", split="patient", seed=2, workers=0)
    shown = {f"s{number}" for number in range(0, 60, 4)} & studies_in(dataset).keys()
    assert len({studies_in(dataset)[study].split for study in shown}) == 1
    lost = 60 - len(studies_in(dataset))
    assert lost == 15 - len(shown)
    assert dataset.exclusions.counts == {"same picture as in another split": lost}
    assert lost > 3
    official = import_release(release(60), tmp_path / "official", workers=0)
    assert len(studies_in(official)) == 60


def test_what_cannot_be_read_is_counted(release, tmp_path):
    records = list(release(6).records)
    files = tmp_path / "files"
    (files / "0-0.png").write_bytes(b"")
    (files / "1-1.png").unlink()
    (files / "2-0.png").write_bytes((files / "3-0.png").read_bytes()[:90])
    (files / "2-1.png").write_text("no picture")
    records.append(StudyRecord("s3", "again", records[3].images, split="train"))
    records.append(StudyRecord("bare", "p", (), split="train"))
    records.append(StudyRecord("", "p", records[3].images, split="train"))
    records.append(StudyRecord("nobody", "", records[3].images, split="train"))
    records.append(StudyRecord("nowhere", "p", records[3].images))
    left_out = Exclusions()
    left_out.add("of the source", "reason")
    release_ = Release("test", "1", records, exclusions=left_out)
    dataset = import_release(release_, tmp_path / "out", workers=0)
    assert dataset.exclusions.counts == {
        "reason": 1,
        "study id comes again": 1,
        "no image": 1,
        "no study id": 1,
        "no patient id": 1,
        "not in the official split": 1,
        "unreadable image": 1,
        "no such image file": 1,
        "no readable image": 1,
    }
    assert studies_in(dataset).keys() == {"s0", "s1", "s3", "s4", "s5"}
    details = {item: detail for item, _, detail in dataset.exclusions}
    assert details["0-0.png"] == "0-0.png is empty (0 bytes)."
    assert "2-1.png is not a PNG" in details["s2"]
    assert str(tmp_path) not in json.dumps(dataset.info)


def test_warnings_of_the_source_and_of_the_image_stay_with_the_study(shared, tmp_path):
    path = shared / "data" / "dicom" / "RG3_J2KI.dcm"
    images = (ImageFile(path, "leg.dcm", "lateral"),)
    record = StudyRecord("leg", "p", images, split="val", metadata={"warnings": ["odd"], "age": 3})
    dataset = import_release(Release("test", "1", [record], warnings=["seen"]), tmp_path / "out", workers=0)
    expected = ["odd", "leg.dcm: its body part is EXTREMITY, not a chest"]
    assert dataset.info["image_warnings"] == expected
    assert dataset.info["warnings"] == ["seen"]
    (study,) = dataset.split("val")
    assert study.metadata == {"warnings": expected, "age": 3}
    assert study.views[0].projection == "lateral"


def test_nothing_left_is_an_error(release, tmp_path):
    records = [StudyRecord("a", "p", (ImageFile(tmp_path / "absent.png", "absent.png"),))]
    with pytest.raises(UserError, match=r"No study of the test release .* no readable image \(1\)"):
        import_release(Release("test", "1", records), tmp_path / "out", workers=0)
    assert [path.name for path in tmp_path.iterdir()] == ["files"]


def test_text_only(release, tmp_path):
    made = release(6)
    for number in range(5):
        (tmp_path / "files" / f"{number}-0.png").unlink()
    dataset = import_release(made, tmp_path / "out", text_only=True, workers=0)
    assert dataset.info["options"]["text_only"] is True
    assert dataset.exclusions.counts == {"no such image file": 5}
    assert [study.views for study in studies_in(dataset).values()] == [()] * 6
    assert studies_in(dataset)["s5"].report.findings == "Number 5."


def test_shared_notes_stay_together(release, tmp_path):
    long = "word " * 60
    records = []
    for number, record in enumerate(release(40, official=False).records):
        text = long + str(number % 8) if number < 32 else "Normal."
        records.append(StudyRecord(record.study_id, f"p{number}", record.images, Report(text)))
    dataset = import_release(Release("test", "1", records), tmp_path / "out", workers=0)
    splits = defaultdict(set)
    for study in studies_in(dataset).values():
        splits[study.report.findings].add(study.split)
    assert all(len(found) == 1 for text, found in splits.items() if text != "Normal.")


def test_progress(release, tmp_path, monkeypatch):
    seen: list[tuple[str, int, int]] = []
    import_release(release(3), tmp_path / "out", workers=0, progress=lambda *step: seen.append(step))
    assert seen == [("images", done, 6) for done in range(7)]


def test_out_must_be_free_and_writable(release, tmp_path):
    import_release(release(4), tmp_path / "out", workers=0)
    with pytest.raises(UserError, match="not an empty folder"):
        import_release(release(4), tmp_path / "out", workers=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Cannot write the dataset"):
        import_release(release(4), tmp_path / "file" / "below", workers=0)


def test_command(release, tmp_path):
    release(6)
    table = tmp_path / "table.csv"
    rows = [f"s{n},{n}-0.png,Report {n}.,MRN{n}" for n in range(6)]
    table.write_text("\n".join(["id,image,report,patient", *rows]))
    (tmp_path / "salt").write_text("pepper\n")
    command = ["data", "import", "folder", str(tmp_path / "files"), "--csv", str(table)]
    command += [part for name in ("id", "image", "report", "patient") for part in (f"--{name}", name)]
    options = ["--format", "jpeg", "--max-side", "32", "--workers", "1", "--seed", "4"]
    out = tmp_path / "out"
    salted = [*command, *options, "--out", str(out), "--salt-file", str(tmp_path / "salt")]
    done = CliRunner().invoke(app, salted)
    assert done.exit_code == 0, done.output
    dataset = PreparedDataset.open(out)
    study = studies_in(dataset)["s2"]
    assert study.patient_id == hashlib.sha256(b"pepper:MRN2").hexdigest()[:16]
    assert study.views[0].image.startswith(b"\xff\xd8\xff")
    assert study.views[0].width == 32
    assert {"seed": 4, "max_side": 32, "image_format": "jpeg"}.items() <= dataset.info["options"].items()
    again = CliRunner().invoke(app, salted)
    assert (again.exit_code, "not an empty folder" in again.stderr) == (1, True)
    for content, sentence in ((" \n", "is empty"), (None, "Cannot read --salt-file")):
        (tmp_path / "salt").write_text(content) if content else (tmp_path / "salt").unlink()
        bad = CliRunner().invoke(app, [*salted[:-4], "--out", str(tmp_path / "x"), *salted[-2:]])
        assert (bad.exit_code, sentence in bad.stderr) == (1, True), bad.stderr


class StoppedError(Exception):
    pass


def stopped_after(images: int) -> Callable[[str, int, int], None]:
    def progress(step: str, done: int, total: int) -> None:
        if done == images:
            raise StoppedError

    return progress


def test_an_import_goes_on_after_its_finished_shards(release, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "SHARD_STUDIES", 2)
    import_release(release(20), tmp_path / "whole", salt="x", workers=0)
    with pytest.raises(StoppedError):
        import_release(release(20), tmp_path / "out", salt="x", workers=0, progress=stopped_after(21))
    assert not (tmp_path / "out").exists()
    first: list[int] = []
    import_release(
        release(20), tmp_path / "out", salt="x", workers=0, progress=lambda _, done, __: first.append(done)
    )
    assert first[0] == 20
    assert files_under(tmp_path / "out") == files_under(tmp_path / "whole")


def test_the_random_salt_lasts_until_the_end_only(release, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "SHARD_STUDIES", 1)
    with pytest.raises(StoppedError):
        import_release(release(4), tmp_path / "out", workers=0, progress=stopped_after(5))
    partial = tmp_path / ".out.partial"
    assert (partial / "salt").stat().st_mode & 0o077 == 0
    assert partial.stat().st_mode & 0o077 == 0
    assert b"MRN" not in b"".join(path.read_bytes() for path in partial.rglob("*") if path.is_file())
    salt = (partial / "salt").read_text()
    dataset = import_release(release(4), tmp_path / "out", workers=0)
    expected = hashlib.sha256(f"{salt}:MRN0".encode()).hexdigest()[:16]
    assert {studies_in(dataset)[study].patient_id for study in ("s0", "s1")} == {expected}
    assert not partial.exists()


def test_a_changed_image_is_read_again(release, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "SHARD_STUDIES", 2)
    with pytest.raises(StoppedError):
        import_release(release(8), tmp_path / "out", salt="x", workers=0, progress=stopped_after(9))
    picture(tmp_path / "files" / "0-0.png", 77, (50, 50))
    dataset = import_release(release(8), tmp_path / "out", salt="x", workers=0)
    import_release(release(8), tmp_path / "fresh", salt="x", workers=0)
    assert studies_in(dataset)["s0"].views[0].width == 50
    assert files_under(tmp_path / "out") == files_under(tmp_path / "fresh")


def test_fewer_records_leave_no_stale_shard(release, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "SHARD_STUDIES", 2)
    with pytest.raises(StoppedError):
        import_release(release(20), tmp_path / "out", salt="x", workers=0, progress=stopped_after(39))
    import_release(release(4), tmp_path / "out", salt="x", workers=0)
    import_release(release(4), tmp_path / "fresh", salt="x", workers=0)
    assert files_under(tmp_path / "out") == files_under(tmp_path / "fresh")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"max_side": 32}, r"another max side \(None, now 32\)"),
        ({"salt": "y"}, "another salt"),
        ({"split": "patient"}, r"another split \(official, now patient\)"),
    ],
)
def test_other_options_do_not_continue_it(release, tmp_path, monkeypatch, changes, sentence):
    monkeypatch.setattr(plan, "SHARD_STUDIES", 1)
    with pytest.raises(StoppedError):
        import_release(release(4), tmp_path / "out", workers=0, progress=stopped_after(3))
    with pytest.raises(UserError, match=sentence):
        import_release(release(4), tmp_path / "out", workers=0, **changes)


def test_a_failure_before_the_first_shard_leaves_nothing(release, tmp_path):
    def records():
        yield from release(2).records
        raise UserError("The table is cut off.")

    with pytest.raises(UserError, match="cut off"):
        import_release(Release("test", "1", records()), tmp_path / "out", workers=0)
    with pytest.raises(StoppedError):
        import_release(release(4), tmp_path / "out", workers=0, progress=stopped_after(3))
    assert [path.name for path in tmp_path.iterdir()] == ["files"]
    import_release(release(4), tmp_path / "out", max_side=32, workers=0)


def test_a_kill_after_the_end_leaves_no_salt_for_long(release, tmp_path, monkeypatch):
    def killed(path: Path, **_: object) -> None:
        raise StoppedError

    with monkeypatch.context() as patch:
        patch.setattr("cxreport.data.importing.shutil.rmtree", killed)
        with pytest.raises(StoppedError):
            import_release(release(6), tmp_path / "out", workers=0)
    assert (tmp_path / ".out.partial" / "salt").is_file()
    with pytest.raises(UserError, match="not an empty folder"):
        import_release(release(6), tmp_path / "out", workers=0)
    assert len(PreparedDataset.open(tmp_path / "out").split("train")) == 2
    assert not (tmp_path / ".out.partial").exists()


def test_a_source_may_not_name_its_options_like_the_import(release, tmp_path):
    with pytest.raises(ValueError, match="seed"):
        import_release(release(2, options={"seed": 1}), tmp_path / "out", workers=0)


def test_two_imports_at_once(release, tmp_path):
    (tmp_path / ".out.partial").mkdir()
    with FileLock(tmp_path / ".out.partial" / "lock"), pytest.raises(UserError, match="Another import works"):
        import_release(release(4), tmp_path / "out", workers=0)


def test_a_full_disk_keeps_the_finished_shards(release, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "SHARD_STUDIES", 1)
    real, written = shards.Shard.close, []

    def close(shard: shards.Shard) -> None:
        written.append(shard.path)
        if len(written) == 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(shard)

    monkeypatch.setattr(shards.Shard, "close", close)
    with pytest.raises(UserError, match=r"No space left on device; free some space and run the same command"):
        import_release(release(6), tmp_path / "out", salt="x", workers=0)
    seen: list[int] = []
    import_release(
        release(6), tmp_path / "out", salt="x", workers=0, progress=lambda _, done, __: seen.append(done)
    )
    assert seen[0] == 6
    import_release(release(6), tmp_path / "whole", salt="x", workers=0)
    assert files_under(tmp_path / "out") == files_under(tmp_path / "whole")


def test_an_image_that_kills_its_reader_is_left_out(release, tmp_path, monkeypatch):
    monkeypatch.setattr(shardstore, "read", hostile.read_or_die)
    dataset = import_release(release(6), tmp_path / "out", workers=2)
    assert studies_in(dataset).keys() == {"s0", "s1", "s2", "s3", "s5"}
    assert len(studies_in(dataset)["s1"].views) == 1
    (killer, hung) = sorted(dataset.exclusions, key=lambda excluded: excluded.item)
    assert (killer.item, killer.reason) == ("1-1.png", "image that kills its reader")
    assert killer.detail.startswith("1-1.png crashed the process that read it")
    assert (hung.item, hung.reason) == ("s4", "no readable image")


SCRIPT = """
import sys
from pathlib import Path
from cxreport.data import plan
from cxreport.data.importing import import_release
from cxreport.data.sources import ImageFile, Release, StudyRecord

def main():
    plan.SHARD_STUDIES = 4
    files, out = Path(sys.argv[1]), Path(sys.argv[2])
    records = [
        StudyRecord(f"s{n}", f"p{n}", (ImageFile(path, path.name),), labels={"Edema": n % 2})
        for n, path in enumerate(sorted(files.iterdir()))
    ]
    import_release(Release("test", "1", records), out, salt="x", workers=2, max_side=100,
                   progress=lambda _, done, __: print(done, flush=True))

if __name__ == "__main__":
    main()
"""


def kill_until_done(tmp_path: Path, images: int, kills: int, seed: int) -> int:
    """SIGKILL an import at random places until it has been killed `kills` times; returns the kills."""
    files = tmp_path / "pictures"
    files.mkdir()
    for number in range(images):
        picture(files / f"{number:04d}.png", number // 2 if number < 6 else number, (300, 300))
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(files)]
    subprocess.run([*command, str(tmp_path / "whole")], check=True, capture_output=True)
    rng = random.Random(seed)
    done = 0
    for _ in range(kills):
        process = subprocess.Popen([*command, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        lines = rng.randint(0, images // kills + 4)
        while lines and process.stdout.readline():
            lines -= 1
        process.send_signal(signal.SIGKILL)
        process.stdout.close()
        done += process.wait() == -signal.SIGKILL
        if (tmp_path / "out").exists():
            break
    finished = (tmp_path / "out").exists()
    last = subprocess.run([*command, str(tmp_path / "out")], capture_output=True)
    assert (last.returncode == 0) != finished
    assert files_under(tmp_path / "out") == files_under(tmp_path / "whole")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    return done


def test_killed_imports_end_byte_identical(tmp_path):
    assert kill_until_done(tmp_path, 24, 2, seed=1) == 2


@pytest.mark.slow
def test_twenty_kills_end_byte_identical(tmp_path):
    assert kill_until_done(tmp_path, 160, 20, seed=2) == 20

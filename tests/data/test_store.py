from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from datasets import load_from_disk

from cxreport.data import shards, store
from cxreport.data.exclusions import Exclusions
from cxreport.data.images import view_of
from cxreport.data.store import PreparedDataset, write_dataset
from cxreport.errors import UserError
from cxreport.study import Finding, Report, Study, View


def write(studies, out: Path, **changes) -> PreparedDataset:
    settings = {"source": "test", "source_version": "1", "options": {"size": 32}} | changes
    return write_dataset(studies, out, **settings)


@pytest.fixture
def three(make_study) -> list[Study]:
    return [make_study(i, split=split) for i, split in enumerate(("train", "val", "test"))]


def test_every_field_comes_back(tmp_path):
    pixels = np.arange(48, dtype=np.uint8).reshape(6, 8)
    full = Study(
        "s-1",
        "p-1",
        (view_of(pixels, "frontal"), view_of(pixels.T.copy(), "lateral"), View(b"\x00\xff", 3, 2, None)),
        Report("Normal – größer.", "No change.", "Cough", "None"),
        "train",
        {"Edema": 1, "Fracture": 0, "Pneumonia": -1},
        (
            Finding("pleural_effusion", "left", None, "small", {"frontal": (0.1, 0.25, 1 / 3, 1.0)}),
            Finding("cardiomegaly", boxes={"frontal": (0.0, 0.0, 1.0, 1.0), "lateral": (0.2, 0.2, 0.3, 0.3)}),
        ),
        {"age": 61, "nested": {"a": [1, 2.5, None]}, "sex": "F"},
    )
    unknown_truth = replace(full, study_id="s-2", findings=None, labels={}, metadata={})
    known_normal = replace(full, study_id="s-3", findings=(), report=Report())
    write([full, unknown_truth, known_normal], tmp_path / "out")
    assert list(PreparedDataset.open(tmp_path / "out").split("train")) == [full, unknown_truth, known_normal]


def test_dataset_json_says_what_is_inside(tmp_path, three):
    left_out = Exclusions()
    left_out.add("s9", "empty report", "because")
    dataset = write(three, tmp_path / "out", exclusions=left_out, options={"section": "findings"})
    info = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert info == dataset.info
    assert info["source"] == "test"
    assert info["options"] == {"section": "findings"}
    assert {name: split["count"] for name, split in info["splits"].items()} == {
        "train": 1,
        "val": 1,
        "test": 1,
    }
    assert info["splits"]["val"]["ids_sha256"] == hashlib.sha256(b"s1").hexdigest()
    assert info["exclusions"] == {"counts": {"empty report": 1}, "items": [["s9", "empty report", "because"]]}
    assert list(dataset.exclusions) == [("s9", "empty report", "because")]
    assert dataset.splits == ("train", "val", "test")


def test_splits_are_ordinary_hugging_face_folders(tmp_path, three):
    write(three, tmp_path / "out")
    table = load_from_disk(str(tmp_path / "out" / "test"))
    assert table["study_id"][:] == ["s2"]
    assert set(table[0]["views"][0]) == {"image", "projection", "width", "height"}


def test_the_same_studies_give_the_same_hash_and_others_do_not(tmp_path, three):
    first = write(three, tmp_path / "a")
    again = write(iter(three), tmp_path / "b")
    assert first.sha256 == again.sha256 == PreparedDataset.open(tmp_path / "a").sha256
    other_report = [replace(three[0], report=Report("Other.")), *three[1:]]
    other_pixels = [replace(three[0], views=three[1].views), *three[1:]]
    resalted = [replace(study, patient_id=f"salted-{study.patient_id}") for study in three]
    assert write(other_report, tmp_path / "c").sha256 != first.sha256
    assert write(other_pixels, tmp_path / "d").sha256 != first.sha256
    assert write(three, tmp_path / "e", options={"size": 64}).sha256 != first.sha256
    assert write(resalted, tmp_path / "f").sha256 == first.sha256


def test_many_batches_and_shards_keep_the_order(tmp_path, make_study, monkeypatch):
    monkeypatch.setattr(shards, "BATCH_BYTES", 12_000)
    monkeypatch.setattr(store, "SHARD_BYTES", 30_000)
    studies = [make_study(i) for i in range(20)]
    counts: list[int] = []
    dataset = write(studies, tmp_path / "out", total=20, progress=counts.append)
    assert len(list((tmp_path / "out" / "train").glob("*.arrow"))) > 2
    assert list(dataset.split("train")) == studies
    assert counts == list(range(1, 21))


def test_a_split_is_a_sequence_that_stays_on_disk(tmp_path, make_study):
    studies = [make_study(i, report=f"Report {i}.") for i in range(5)]
    split = write(studies, tmp_path / "out").split("train")
    assert split[-1] == studies[-1]
    assert list(split[1:4:2]) == studies[1:4:2]
    assert list(split.select([4, 0])) == [studies[4], studies[0]]
    assert split.study_ids == ["s0", "s1", "s2", "s3", "s4"]
    assert split[::2].study_ids == ["s0", "s2", "s4"]
    assert split.reports == [study.report for study in studies]
    with pytest.raises(IndexError):
        split[5]


def test_rules_of_a_dataset(tmp_path, make_study, three):
    bad = {
        "comes twice": [three[0], three[0]],
        "two splits": [make_study(1, patient="p"), make_study(2, patient="p", split="test")],
        "no view": [replace(three[0], views=())],
        "split None": [make_study(1, split=None)],
        "split 'dev'": [make_study(1, split="dev")],
        "patient id": [replace(three[0], patient_id="")],
        "No study": [],
    }
    for sentence, studies in bad.items():
        with pytest.raises(UserError, match=sentence):
            write(studies, tmp_path / "out")
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="promised 5 studies"):
        write(three, tmp_path / "out", total=5)


def test_an_empty_folder_is_filled_and_a_full_one_refused(tmp_path, three):
    out = tmp_path / "out"
    out.mkdir()
    write(three, out)
    with pytest.raises(UserError, match="not an empty folder"):
        write(three, out)
    assert len(PreparedDataset.open(out).split("val")) == 1


def test_out_that_cannot_be_written(tmp_path, three):
    file = tmp_path / "file"
    file.write_text("in the way")
    with pytest.raises(UserError, match="not an empty folder"):
        write(three, file)
    with pytest.raises(UserError, match="Cannot write the dataset"):
        write(three, file / "below")
    assert file.read_text() == "in the way"


def test_read_only_parent(tmp_path, three):
    parent = tmp_path / "locked"
    parent.mkdir(mode=0o555)
    if os.access(parent, os.W_OK):
        pytest.skip("this user may write everywhere")
    with pytest.raises(UserError, match="Permission denied"):
        write(three, parent / "out")


def test_full_disk_leaves_nothing_behind(tmp_path, three, monkeypatch):
    class FullDisk:
        def __init__(self, sink, schema):
            pass

        def write_batch(self, batch):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def close(self):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store.pa.ipc, "new_stream", FullDisk)
    with pytest.raises(UserError, match=r"No space left on device; free some space"):
        write(three, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_interruption_leaves_nothing_behind(tmp_path, three):
    def interrupted() -> Iterator[Study]:
        yield three[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(interrupted(), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_open_tells_what_is_wrong(tmp_path, three):
    with pytest.raises(UserError, match="not a prepared dataset"):
        PreparedDataset.open(tmp_path / "absent")
    (tmp_path / "half").mkdir()
    with pytest.raises(UserError, match="not a prepared dataset"):
        PreparedDataset.open(tmp_path / "half")
    for number, (text, sentence) in enumerate(
        {
            '{"format": "cxre': "damaged",
            "[]": "not of the format",
            '{"format": "cxreport.dataset/99"}': "not of the format",
            '{"format": "cxreport.dataset/2", "splits": {}}': "damaged",
        }.items()
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "dataset.json").write_text(text)
        with pytest.raises(UserError, match=sentence):
            PreparedDataset.open(folder)
    (tmp_path / "binary").mkdir()
    (tmp_path / "binary" / "dataset.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="damaged"):
        PreparedDataset.open(tmp_path / "binary")


def test_a_dataset_without_images_says_so(tmp_path, three):
    write(three, tmp_path / "out").need_images()
    text_only = write(three, tmp_path / "text", options={"text_only": True})
    with pytest.raises(UserError, match="imported with --text-only"):
        text_only.need_images()


def test_missing_and_damaged_splits(tmp_path, make_study):
    out = tmp_path / "out"
    write([make_study(i, split="train" if i % 2 else "val") for i in range(8)], out)
    dataset = PreparedDataset.open(out)
    with pytest.raises(UserError, match=r"no test split \(it has: train, val\)"):
        dataset.split("test")
    shard = out / "train" / "data-00000.arrow"
    shard.write_bytes(shard.read_bytes()[:700])
    with pytest.raises(UserError, match=r"The train split .* prepare it again"):
        dataset.split("train")
    (out / "val" / "state.json").unlink()
    with pytest.raises(UserError, match="folder val is incomplete"):
        PreparedDataset.open(out)


def test_nothing_is_written_to_the_home_folder(tmp_path, three):
    write(three, tmp_path / "out")
    home = tmp_path / "home"
    home.mkdir()
    script = (
        "import sys; from pathlib import Path\n"
        "from cxreport.data.store import PreparedDataset, write_dataset\n"
        "d = PreparedDataset.open(sys.argv[1])\n"
        "write_dataset([d.split('val')[0]], Path(sys.argv[2]), source='t', source_version='1', options={})\n"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "XDG_"))}
    environment = kept | {"HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "out"), str(tmp_path / "copy")],
        check=True,
        env=environment,
    )
    assert [path for path in home.rglob("*") if path.is_file()] == []

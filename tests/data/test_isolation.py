"""Reading in a worker: the same results, and failures that stay in the worker.

A module on the worker's path replaces the reader by one that does what the name of a file says, as a codec
with a bug might.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from dicom_files import radiograph, save
from PIL import Image

from cxreport.data import isolation
from cxreport.data.images import MAX_FILE_BYTES, inspect, picture_in
from cxreport.data.isolation import IsolatedReader, Limits, inspect_isolated
from cxreport.errors import UserError

MISBEHAVING = """
import os, signal, sys, time
import numpy as np
import cxreport.data.images as images

real = images.picture_in
grey = np.tile(np.arange(9, dtype=np.uint8), (5, 1))
kept = []

def picture_in(path, **options):
    name = path.name
    if name == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if name == "exit":
        os._exit(0)
    if name == "hang":
        while True:
            pass
    if name == "sleep":
        time.sleep(600)
    if name == "greed":
        return images.Picture(np.ones(2**31, np.uint8))
    if name == "leak":
        kept.append(np.ones(150 * 2**20, np.uint8))
        return images.Picture(grey)
    if name == "write":
        path.with_name("written").write_bytes(b"x" * 100_000)
    if name == "chatter":
        print("Doe^Jane")
        os.write(1, b"Doe^Jane" * 1000)
        os.write(2, b"Doe^Jane" * 1000)
        return images.Picture(grey)
    if name == "projection":
        return images.Picture(grey, "../../etc")
    if name == "warnings":
        return images.Picture(grey, None, ("\\x1b[31mred\\n", "y" * 9000))
    if name == "empty":
        return images.Picture(grey[:0])
    if name == "secrets":
        return images.Picture(grey, None, (os.environ.get("API_KEY", "none"),))
    if name == "limits":
        import resource
        kinds = (resource.RLIMIT_AS, resource.RLIMIT_CORE, resource.RLIMIT_FSIZE)
        return images.Picture(grey, None, tuple(str(resource.getrlimit(kind)[0]) for kind in kinds))
    return real(path, **options)

images.picture_in = picture_in
"""
posix = pytest.mark.skipif(sys.platform == "win32", reason="limits of memory need POSIX")


@pytest.fixture
def folder(tmp_path: Path, png: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with gradient.png, whose other names make a worker misbehave."""
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "sitecustomize.py").write_text(MISBEHAVING)
    monkeypatch.syspath_prepend(modules)
    monkeypatch.setenv("API_KEY", "hunter2")
    return png.parent


def test_the_same_as_in_process(tmp_path, png, path):
    grey = Image.open(png)
    for name, picture in {"16.png": grey.convert("I;16"), "c.jpg": grey.convert("RGB")}.items():
        picture.save(tmp_path / name)
    save(radiograph(BodyPartExamined="HAND", ViewPosition="LL"), path)
    with IsolatedReader() as reader:
        for file in (png, tmp_path / "16.png", tmp_path / "c.jpg", path):
            assert reader.inspect(file) == inspect(file)
            assert reader.inspect(file, max_side=20, image_format="jpeg") == inspect(
                file, max_side=20, image_format="jpeg"
            )
            assert reader.inspect_bytes(file.read_bytes(), "upload") == inspect(file)
        ours, theirs = reader.picture(path, max_side=30), picture_in(path, max_side=30)
        assert np.array_equal(ours.grey, theirs.grey)
        assert (ours.projection, ours.warnings) == (theirs.projection, theirs.warnings)
        assert inspect_isolated(path) == inspect(path)
        pid = reader._worker.pid
        assert reader.inspect(png)
        assert reader._worker.pid == pid, "one worker for all"


def test_the_same_mistakes(tmp_path, png, monkeypatch):
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "cut.png").write_bytes(png.read_bytes()[:-60])
    (tmp_path / "empty.png").touch()
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    monkeypatch.chdir(tmp_path)
    with IsolatedReader() as reader:
        for name in ("text.png", "cut.png", "empty.png", "absent.png", "huge.png", "."):
            for path in (Path(name), tmp_path / name):
                with pytest.raises(UserError) as ours:
                    reader.inspect(path)
                with pytest.raises(UserError) as theirs:
                    inspect(path)
                assert str(ours.value) == str(theirs.value)
        with pytest.raises(UserError, match=r"^the upload is not a PNG"):
            reader.inspect_bytes(b"no image", "the upload")
        assert reader.inspect(png) == inspect(png)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("segfault", "segfault makes the reader of its format crash"),
        ("exit", "exit makes the reader of its format crash"),
        pytest.param("hang", "hang takes more than 0.4 s to read", marks=posix),
        ("sleep", "sleep takes more than 0.4 s to read"),
        ("projection", "projection makes the reader of its format crash"),
        ("empty", "empty makes the reader of its format crash"),
        pytest.param("greed", "greed needs more than 600 MiB of memory", marks=posix),
    ],
)
def test_a_failure_is_a_sentence_and_the_next_file_is_read(folder, name, sentence):
    with IsolatedReader(
        Limits(seconds=0.4 if name in ("hang", "sleep") else 20, memory=600 * 2**20)
    ) as reader:
        for _ in range(2):
            with pytest.raises(UserError, match=sentence):
                reader.inspect(folder / name)
        with IsolatedReader() as other:
            assert other.inspect(folder / "gradient.png") == inspect(folder / "gradient.png")
        if name not in ("hang", "sleep"):
            assert reader.inspect(folder / "gradient.png") == inspect(folder / "gradient.png")


@posix
def test_a_codec_that_leaks_memory_costs_no_file(folder):
    with IsolatedReader(Limits(memory=600 * 2**20)) as reader:
        workers = set()
        for _ in range(8):
            assert reader.picture(folder / "leak").grey.shape == (5, 9)
            workers.add(reader._worker.pid)
        assert len(workers) > 1


def test_the_folder_of_the_images_provides_no_modules(png, monkeypatch):
    monkeypatch.chdir(png.parent)
    (png.parent / "pydicom.py").write_text("raise SystemExit('imported')")
    with IsolatedReader() as reader:
        assert reader.inspect(png) == inspect(png)


def test_what_the_worker_says_is_not_believed(folder, capfd):
    with IsolatedReader() as reader:
        assert reader.picture(folder / "chatter").grey.shape == (5, 9)
        red, long = reader.picture(folder / "warnings").warnings
        assert red == "[31mred"
        assert len(long) == 4096
        assert reader.picture(folder / "secrets").warnings == ("none",)
    assert "Doe" not in str(capfd.readouterr())


@posix
def test_the_limits_hold(folder):
    with IsolatedReader(Limits(memory=2**30)) as reader:
        assert reader.picture(folder / "limits").warnings == (str(2**30), "0", "0")
        with pytest.raises(UserError):
            reader.picture(folder / "write")
    assert not (folder / "written").exists() or (folder / "written").stat().st_size == 0


def test_a_killed_worker_is_replaced(png):
    with IsolatedReader() as reader:
        reader.inspect(png)
        os.kill(reader._worker.pid, signal.SIGKILL)
        reader._worker.wait()
        assert reader.inspect(png) == inspect(png)


def test_nothing_is_left_behind(png):
    with IsolatedReader() as reader:
        assert reader._worker is None, "a worker starts when it is needed"
        reader.inspect(png)
        worker = reader._worker
    assert worker.poll() is not None
    assert worker.stdin.closed
    assert worker.stdout.closed


def test_threads_take_turns(png, path):
    save(radiograph(), path)
    results: dict[int, object] = {}
    with IsolatedReader() as reader:

        def read(number: int) -> None:
            results[number] = reader.inspect(path if number % 2 else png)

        threads = [threading.Thread(target=read, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == {number: inspect(path if number % 2 else png) for number in range(8)}


def test_a_worker_that_cannot_start(png, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(png))
    with IsolatedReader() as reader, pytest.raises(UserError, match="process that reads images cannot start"):
        reader.inspect(png)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\xff\xff\xff\xff",
        b"\x02\0\0\0[]",
        b"\x02\0\0\0{}",
        b"\x04\0\0\0\x80\x81\x82\x83",
        json.dumps({"width": 10**6, "height": 10**6, "projection": None, "warnings": []}).encode(),
        json.dumps({"width": 1e999, "height": 1, "projection": None, "warnings": []}).encode(),
        b"\x00\x80\0\0" + b"[" * 2**15,
        json.dumps({"width": -1, "height": -1, "projection": None, "warnings": []}).encode(),
        json.dumps({"width": 9, "height": 9, "projection": None, "warnings": None}).encode(),
        json.dumps({"width": 9, "height": 9, "projection": None, "warnings": []}).encode() + b"short",
    ],
)
def test_damaged_answers(png, monkeypatch, answer):
    if answer.startswith(b"{"):
        length = answer.index(b"}") + 1
        answer = length.to_bytes(4, "little") + answer

    def start(reader: IsolatedReader) -> None:
        program = "import sys; sys.stdin.buffer.read(4); sys.stdout.buffer.write(bytes.fromhex(sys.argv[1]))"
        reader._worker = isolation.subprocess.Popen(
            [sys.executable, "-c", program, answer.hex()],
            stdin=isolation.subprocess.PIPE,
            stdout=isolation.subprocess.PIPE,
        )

    monkeypatch.setattr(IsolatedReader, "_start", start)
    with IsolatedReader() as reader, pytest.raises(UserError, match="crash"):
        reader.inspect(png)

"""A short run of the fuzzer of image files, and that it would see what it looks for."""

from __future__ import annotations

import json
from pathlib import Path

import fuzz_images
import pytest
from fuzz_images import LIMITS, SECRET, mutant, outcome, run, secrets_of, small_files

from cxreport.data.isolation import IsolatedReader
from cxreport.errors import UserError

FILES = list(small_files().items())


def test_the_unchanged_files_are_read():
    with IsolatedReader(LIMITS) as reader:
        for name, content in FILES:
            assert outcome(reader, content, {SECRET}) == ("read", True), name
            assert (SECRET.encode() in content) == name.endswith(".dcm")


def test_a_seed_gives_the_same_mutants():
    first = [mutant(FILES, 7, index) for index in range(60)]
    assert first == [mutant(FILES, 7, index) for index in range(60)]
    assert sum(content != dict(FILES)[name] for name, content in first) >= 55
    assert first != [mutant(FILES, 8, index) for index in range(60)]


def test_few_mutants(tmp_path):
    counts, bad = run(FILES, seed=0, mutants=180, folder=tmp_path)
    assert bad == 0
    assert sum(counts.values()) == 180
    assert set(counts) == {"read", "refused"}
    assert counts["refused"] > 40


def test_an_interrupted_run_goes_on(tmp_path, monkeypatch):
    whole, _ = run(FILES, seed=3, mutants=100, folder=tmp_path / "whole")
    calls = []

    def interrupted(*arguments: object) -> tuple[str, bool]:
        calls.append(1)
        if len(calls) == 70:
            raise KeyboardInterrupt
        return outcome(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(fuzz_images, "outcome", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(FILES, seed=3, mutants=100, folder=tmp_path / "parts")
    (state,) = (tmp_path / "parts").glob("state*")
    assert json.loads(state.read_text())["next"] == 50
    assert run(FILES, seed=3, mutants=100, folder=tmp_path / "parts") == (whole, 0)


class Faulty:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def inspect_bytes(self, content: bytes, name: str) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("what a codec says"), "Traceback"),
        (UserError("mutant makes the reader of its format crash"), "crash"),
        (UserError("mutant takes more than 5 s to read"), "hang"),
        (UserError("mutant needs more than 1024 MiB of memory"), "greed"),
        (UserError(f"mutant of {SECRET} is damaged"), "names the patient"),
    ],
)
def test_violations_are_seen_and_kept(tmp_path, monkeypatch, error, kind):
    found, fine = outcome(Faulty(error), b"", {SECRET})
    assert kind in found
    assert not fine
    monkeypatch.setattr(IsolatedReader, "inspect_bytes", Faulty(error).inspect_bytes)
    _, bad = run(FILES, seed=0, mutants=2, folder=tmp_path)
    assert bad == 2
    assert (tmp_path / f"0-1-{FILES[1][0]}").read_bytes() == mutant(FILES, 0, 1)[1]


def test_secrets_of_a_file():
    assert secrets_of(dict(FILES)["explicit.dcm"]) == {SECRET, "R-10206"}


@pytest.mark.slow
def test_many_mutants_of_real_files(shared: Path, tmp_path: Path) -> None:
    folders = [shared / "data" / "dicom", shared / "data" / "iu_xray" / "sample_images"]
    real = [(file.name, file.read_bytes()) for folder in folders for file in sorted(folder.iterdir())]
    _, bad = run(FILES + real, seed=5, mutants=2000, folder=tmp_path)
    assert bad == 0

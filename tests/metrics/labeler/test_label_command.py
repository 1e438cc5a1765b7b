"""``cxreport label``: the contract of its output, and what it says of bad files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cxreport.cli import app
from cxreport.errors import UserError
from cxreport.metrics.labeler import LABELS, files
from cxreport.metrics.labeler.files import label_lines

SPAN = {"label", "status", "start", "end", "text", "side", "severity", "cue"}


def run(*arguments: str, stdin: bytes | None = None) -> list[dict[str, object]]:
    result = CliRunner().invoke(app, ["label", *arguments, "--json"], input=stdin)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_one_json_line_for_each_line(tmp_path: Path) -> None:
    path = tmp_path / "reports.txt"
    path.write_bytes(b"\xef\xbb\xbfNo pneumothorax.\r\n\r\nSmall effusion.")
    first, empty, last = run(str(path))
    assert list(first) == ["labels", "spans"]
    assert list(first["labels"]) == list(LABELS)  # type: ignore[call-overload]
    assert first["labels"]["Pneumothorax"] == "negative"  # type: ignore[index]
    assert [set(span) for span in first["spans"]] == [SPAN]  # type: ignore[attr-defined]
    assert set(empty["labels"].values()) == {"absent"}  # type: ignore[attr-defined]
    assert empty["spans"] == []
    assert last["labels"]["Pleural Effusion"] == "positive"  # type: ignore[index]


def test_stdin_and_chinese() -> None:
    (record,) = run("-", "--language", "zh", stdin="左侧胸腔积液。\n".encode())
    assert record["labels"]["Pleural Effusion"] == "positive"  # type: ignore[index]


def test_a_table_of_counts(tmp_path: Path) -> None:
    path = tmp_path / "reports.txt"
    path.write_text("No pneumothorax.\nPneumothorax.\n", encoding="utf-8")
    result = CliRunner().invoke(app, ["label", str(path)])
    (row,) = (line.split() for line in result.stdout.splitlines() if "Pneumothorax" in line)
    assert row == ["Pneumothorax", "1", "1", "0", "0"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"fine\n\xff\n", "Line 2 of .* is not UTF-8 .byte 1.; save the file as UTF-8."),
        (b"x" * 200, "Line 1 of .* is longer than 1 MiB; give one report a line."),
    ],
)
def test_a_bad_line_is_named(
    tmp_path: Path, content: bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LONGEST_LINE", 100)
    (tmp_path / "bad.txt").write_bytes(content)
    with pytest.raises(UserError, match=message):
        list(label_lines(tmp_path / "bad.txt"))


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"There is no file .*; name a text file"):
        list(label_lines(tmp_path / "none.txt"))


def test_lines_are_labelled_as_they_come(tmp_path: Path) -> None:
    path = tmp_path / "reports.txt"
    path.write_bytes(b"Effusion.\n\xff\n")
    assert next(label_lines(path))["labels"]["Pleural Effusion"] == "positive"


def test_the_labeler_loads_nothing_heavy() -> None:
    code = (
        "import sys, cxreport.metrics.labeler.files\n"
        "print(sorted({'torch', 'datasets', 'scipy', 'pandas', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

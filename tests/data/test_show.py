"""The page of a dataset: one file, escaped, with the right numbers."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from cxreport.cli import app
from cxreport.data.show import write_show
from cxreport.data.store import PreparedDataset, write_dataset
from cxreport.study import Finding, Report, Study, View


@pytest.fixture
def studies(make_study) -> list[Study]:
    made = [
        make_study(i, split=("train", "val")[i % 2], projections=("frontal", "lateral", None)[: i % 3 + 1])
        for i in range(10)
    ]
    made[0] = replace(
        made[0],
        report=Report("One two <b>three</b>.", "A & B.", "Cough", ""),
        labels={"Edema": 1, "Fracture": -1, "Pneumonia": 0},
        findings=(Finding("mass", "left"), Finding("mass", "right")),
    )
    made[1] = replace(made[1], labels={"Edema": 1}, views=(View(b"broken", 30, 20),), findings=())
    return made


def write(folder: Path, studies: list[Study]) -> PreparedDataset:
    return write_dataset(studies, folder, source="test", source_version="7", options={"size": 32})


def cells(html: str, first: str) -> list[list[str]]:
    """The rows of all tables that start with the cell `first`."""
    rows = [re.findall(r"<t[dh]>(.*?)</t[dh]>", row) for row in re.findall(r"<tr>(.*?)</tr>", html, re.S)]
    return [row for row in rows if row and row[0] == first]


def test_counts(tmp_path, studies):
    out = tmp_path / "page.html"
    write_show(write(tmp_path / "data", studies), out)
    html = out.read_text()
    views = [len(study.views) for study in studies]
    assert cells(html, "train")[0] == ["train", "5", str(sum(views[::2])), "5", "3", "2", "0", "3"]
    assert cells(html, "val")[0] == ["val", "5", str(sum(views[1::2])), "4", "2", "2", "0", "3"]
    assert cells(html, "Edema") == [["Edema", "1", "1"]]
    assert cells(html, "Fracture") == [["Fracture", "0 (1)", "0"]]
    assert cells(html, "Pneumonia") == [["Pneumonia", "0", "0"]]
    assert cells(html, "mass") == [["mass", "1", "0"]]
    assert cells(html, "studies with known truth") == [["studies with known truth", "1", "1"]]
    assert cells(html, "findings") == [
        ["findings", "train", "5", "4", "4", "4", "5", "5"],
        ["findings", "val", "5", "4", "4", "4", "4", "4"],
    ]
    assert cells(html, "train")[1][:2] == ["train", str(4 * 4 + 5 + 2)]
    assert cells(html, "val")[1] == ["val", "20", "4", "0", "0"]


def test_one_escaped_file_without_scripts(tmp_path, studies):
    out = tmp_path / "page.html"
    write_show(write(tmp_path / "data", studies), out)
    html = out.read_text()
    assert "One two &lt;b&gt;three&lt;/b&gt;." in html
    assert "A &amp; B." in html
    assert "<script" not in html
    assert not re.search(r"(src|href)=\"(?!data:)", html)
    assert "http" not in html
    assert str(tmp_path) not in html


def test_samples(tmp_path, studies):
    dataset = write(tmp_path / "data", studies)
    pages = []
    for seed in (1, 1, 2):
        write_show(dataset, tmp_path / "page.html", samples=4, seed=seed)
        pages.append((tmp_path / "page.html").read_text())
    shown = [re.findall(r"<h3>(s\d+) &middot; (\w+)</h3>", page) for page in pages]
    assert shown[0] == shown[1] != shown[2]
    assert all(split == ("train", "val")[int(study[1:]) % 2] for study, split in shown[0])
    write_show(dataset, tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text()
    assert len(re.findall("<h3>", html)) == 10
    pictures = re.findall(r'base64,([^"]+)" alt="(\w+) view', html)
    assert len(pictures) == sum(len(study.views) for study in studies)
    assert {projection for _, projection in pictures} == {"frontal", "lateral", "unknown"}
    with Image.open(io.BytesIO(base64.b64decode(pictures[0][0]))) as picture:
        assert picture.size == (256, 256)


def test_a_selection_keeps_its_views(tmp_path, studies):
    split = write(tmp_path / "data", studies).split("train")
    assert split.select([2, 0]).projections == [["frontal", "lateral"], ["frontal"]]
    assert split.finding_kinds == [["mass", "mass"], None, None, None, None]


def test_text_alone(tmp_path, studies):
    made = [replace(study, views=(), labels={}, findings=None) for study in studies]
    dataset = write_dataset(
        made, tmp_path / "data", source="test", source_version="1", options={"text_only": True}
    )
    write_show(dataset, tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text()
    assert cells(html, "train")[0][1:3] == ["5", "0"]
    assert html.count("no image") == 10
    assert "No study has a label." in html


def test_command(tmp_path, studies):
    dataset = write(tmp_path / "data", studies)
    out = tmp_path / "new" / "page.html"
    done = CliRunner().invoke(app, ["data", "show", str(dataset.path), "--out", str(out), "--samples", "2"])
    assert (done.exit_code, done.stdout.strip()) == (0, str(out))
    assert out.read_text().count("<h3>") == 2

"""Labels from reports: what a report says and nothing more, what is kept, and what is not labelled."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image
from typer.testing import CliRunner

from cxreport.bench.labelling import report_labels
from cxreport.cli import app
from cxreport.data.store import PreparedDataset, write_dataset
from cxreport.study import Finding, Report, Study, View


def test_a_report_gives_what_it_mentions() -> None:
    report = Report("Small left pleural effusion. No pneumothorax.", "Possible pneumonia.")
    assert report_labels(report) == {"Pleural Effusion": 1, "Pneumothorax": 0, "Pneumonia": -1}
    assert report_labels(Report("", "Normal chest.")) == {"No Finding": 1}
    assert report_labels(Report()) == {}


def test_a_dataset_is_written_again_with_labels(tmp_path: Path) -> None:
    png = io.BytesIO()
    Image.new("L", (8, 8)).save(png, "PNG")
    view = View(png.getvalue(), 8, 8, "frontal")
    finding = Finding("edema", boxes={"frontal": (0.0, 0.0, 1.0, 1.0)})
    studies = [
        Study("a", "p", (view,), Report("Pulmonary edema."), "train", findings=(finding,)),
        Study("b", "q", (view,), Report("Pulmonary edema."), "val", labels={"Fracture": 0}),
        Study("c", "r", (view,), split="test"),
    ]
    source = write_dataset(studies, tmp_path / "in", source="s", source_version="1", options={"size": 8})
    done = CliRunner().invoke(app, ["data", "label", str(source.path), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "1 labelled, 1 kept, 1 without a report" in done.stderr
    written = PreparedDataset.open(tmp_path / "out")
    assert [written.split(name).labels[0] for name in ("train", "val", "test")] == [
        {"Edema": 1}, {"Fracture": 0}, {},
    ]  # fmt: skip
    assert written.split("train")[0].findings == (finding,)
    assert written.info["options"] == {"size": 8, "labels": "rules.en of findings and impression"}
    assert written.sha256 != source.sha256
    again = CliRunner().invoke(app, ["data", "label", str(source.path), "--out", str(tmp_path / "out")])
    assert again.exit_code == 1
    renewed = ["data", "label", str(source.path), "--out", str(tmp_path / "renewed"), "--renew"]
    done = CliRunner().invoke(app, renewed)
    assert "2 labelled, 0 kept, 1 without a report" in done.stderr
    assert PreparedDataset.open(tmp_path / "renewed").split("val").labels[0] == {"Edema": 1}

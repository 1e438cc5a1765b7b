from __future__ import annotations

import json

import pytest
from releases import chexpert_plus, chinese, covid, iu_xray, mimic_cxr, nih, openi, rexrank, rsna
from typer.testing import CliRunner

from cxreport.cli import app
from cxreport.data.store import PreparedDataset


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("command", "release", "more", "studies"),
    [
        ("iu-xray", iu_xray, (), 4),
        ("openi", openi, ("--sections", "findings"), 3),
        ("mimic-cxr", mimic_cxr, ("--last-paragraph", "--labels", "negbio"), 4),
        ("chexpert-plus", chexpert_plus, ("--sections", "both", "--labels", "none"), 3),
        ("nih", nih, ("--split", "patient", "--seed", "1"), 4),
        ("covid", covid, ("--keep-identifiers",), 6),
        ("rsna", rsna, ("--max-side", "32", "--format", "jpeg"), 4),
    ],
)
def test_every_release_imports_with_a_command(tmp_path, command, release, more, studies):
    release.make(tmp_path / "release")
    done = run(
        "data", "import", command, tmp_path / "release", "--out", tmp_path / "out", "--workers", 1, *more
    )
    assert done.exit_code == 0, done.output
    dataset = PreparedDataset.open(tmp_path / "out")
    assert sum(split["count"] for split in dataset.info["splits"].values()) == studies
    assert dataset.info["source"] == command.replace("-", "_")
    assert f"{studies} studies" in done.stdout


def test_files_of_one_study_list_import_with_a_command(tmp_path):
    (tmp_path / "r").mkdir()
    (tmp_path / "c").mkdir()
    ranked = rexrank.make(tmp_path / "r")
    done = run(
        "data",
        "import",
        "rexrank",
        ranked,
        "--images",
        tmp_path / "r/images",
        "--out",
        tmp_path / "a",
        "--workers",
        1,
    )
    assert done.exit_code == 0, done.output
    table = chinese.make_csv(tmp_path / "c")
    done = run(
        "data", "import", "chinese", table, "--encoding", "gb18030", "--out", tmp_path / "b", "--text-only"
    )
    assert done.exit_code == 0, done.output
    assert "4 studies" in done.stdout


def test_annotations_in_place_of_tables(tmp_path):
    for name, release in (("mimic-cxr", mimic_cxr), ("chexpert-plus", chexpert_plus)):
        (tmp_path / name).mkdir()
        annotation = release.make_annotation(tmp_path / name)
        out = tmp_path / f"{name}-out"
        done = run(
            "data", "import", name, tmp_path / name, "--annotation", annotation, "--out", out, "--text-only"
        )
        assert done.exit_code == 0, done.output


def test_lists_of_hd_mae(tmp_path):
    rsna.make(tmp_path / "r")
    rsna.make_lists(tmp_path / "lists")
    out = tmp_path / "out"
    done = run(
        "data",
        "import",
        "rsna",
        tmp_path / "r",
        "--lists",
        tmp_path / "lists",
        "--share",
        10,
        "--out",
        out,
        "--text-only",
    )
    assert done.exit_code == 0, done.output
    assert PreparedDataset.open(out).info["options"]["train_share_percent"] == 10
    assert PreparedDataset.open(out).info["splits"]["train"]["count"] == 1


def test_what_is_missing_is_one_sentence(tmp_path):
    done = run("data", "import", "mimic-cxr", tmp_path, "--out", tmp_path / "out")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: There is no file mimic-cxr-2.0.0-split.csv or ")
    assert done.stderr.count("\n") == 1


def test_a_rexrank_submission(tmp_path):
    ranked = rexrank.make(tmp_path)
    lines = [
        {"study_id": study, "hypothesis": f"draft of {study}", "reference": "x"} for study in rexrank.STUDIES
    ]
    predictions = tmp_path / "predictions.jsonl"
    predictions.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = run("data", "rexrank", ranked, predictions, "--out", tmp_path / "new" / "submission.json")
    assert done.exit_code == 0, done.output
    written = json.loads((tmp_path / "new" / "submission.json").read_text())
    assert written["study_b"]["model_prediction"] == "draft of study_b"
    predictions.write_text(json.dumps(lines[0]) + "\n")
    done = run("data", "rexrank", ranked, predictions, "--out", tmp_path / "less.json")
    assert done.exit_code == 1
    assert "have no draft, study_b first" in done.stderr

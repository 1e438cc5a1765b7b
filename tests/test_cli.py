"""The command line: statuses, sentences instead of tracebacks, JSON and nothing else on stdout."""

from __future__ import annotations

import csv
import errno
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import cxreport
from cxreport import DISCLAIMER
from cxreport.cli import app

TINY = """
name: tiny
data: {image_size: 32, views: [frontal], max_views: 1}
model:
  generator: r2gen
  encoder: {name: resnet_small, width: 4}
  width: 16
  feed_forward: 16
  heads: 2
  layers: 1
  memory_heads: 2
  vocabulary_threshold: 1
training: {epochs: 1, batch_size: 8}
decoding: {method: greedy, max_length: 6}
"""


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(*arguments: str | Path) -> str:
    """The one sentence of a command that ends with status 1."""
    result = run(*arguments)
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    *_, last = result.stderr.strip().splitlines()
    assert last.startswith("Error: ")
    assert "Traceback" not in result.output
    return last


def test_the_command_line_imports_nothing_heavy() -> None:
    heavy = ("torch", "torchvision", "lightning", "datasets", "pydicom", "pandas", "matplotlib", "scipy")
    code = f"import sys, cxreport.cli; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_names_every_command() -> None:
    result = run("--help")
    assert result.exit_code == 0
    for name in ("demo", "phantom", "data", "train", "generate", "evaluate", "not for diagnosis"):
        assert name in result.output


@pytest.mark.parametrize(
    "command", ["demo", "phantom make", "phantom show", "data import folder", "train", "generate", "evaluate"]
)
def test_every_command_has_help(command: str) -> None:
    result = run(*command.split(), "--help")
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_version() -> None:
    assert run("--version").stdout == f"cxreport {cxreport.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        "fly",
        "phantom make",
        "phantom make --out x --language latin",
        "phantom make --out x --seed -1",
        "train recipe.yaml",
        "generate model",
        "evaluate",
        "evaluate p.jsonl --hypotheses h.txt --references r.txt",
        "evaluate --hypotheses h.txt",
        "evaluate p.jsonl --loud",
    ],
)
def test_wrong_arguments_end_with_status_2(arguments: str) -> None:
    result = run(*arguments.split())
    assert result.exit_code == 2
    assert result.stdout == ""


def test_missing_inputs_are_told_in_a_sentence(tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(TINY)
    assert "absent.yaml" in refused(
        "train", tmp_path / "absent.yaml", "--data", tmp_path, "--out", tmp_path / "r"
    )
    assert "is not a prepared dataset" in refused(
        "train", recipe, "--data", tmp_path, "--out", tmp_path / "r"
    )
    assert (
        refused("train", recipe, "--data", tmp_path, "--out", tmp_path / "r", "--set", "training.epoch=3")
        == "Error: --set training.epoch=3: unknown key training.epoch; did you mean training.epochs?"
    )
    assert "did you mean demo?" in refused("train", "dmeo", "--data", tmp_path, "--out", tmp_path / "r")
    assert "absent.jsonl" in refused("evaluate", tmp_path / "absent.jsonl")
    assert "is not a prepared dataset" in refused(
        "phantom", "show", tmp_path, "--out", tmp_path / "sheet.png"
    )
    assert "at least 10" in refused("phantom", "make", "--out", tmp_path / "p", "--studies", "3")


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (
            OSError(errno.ENOSPC, "full", "scores.json"),
            1,
            "Error: Cannot use scores.json: No space left on device;",
        ),
        (
            PermissionError(errno.EACCES, "no", "scores.json"),
            1,
            "Error: Cannot use scores.json: Permission denied;",
        ),
        (KeyboardInterrupt(), 130, "Interrupted."),
    ],
)
def test_what_stops_a_command_becomes_a_sentence_and_a_status(
    error: BaseException, status: int, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr("cxreport.metrics.evaluate.evaluate_files", stop)
    result = run("evaluate", "p.jsonl")
    assert result.exit_code == status
    assert result.stderr.startswith(sentence)
    assert len(result.stderr.splitlines()) == 1


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*arguments: Any, **options: Any) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("cxreport.metrics.evaluate.evaluate_files", bug)
    assert isinstance(run("evaluate", "p.jsonl").exception, ZeroDivisionError)


@pytest.fixture
def texts(tmp_path: Path) -> tuple[Path, Path]:
    hypotheses, references = tmp_path / "h.txt", tmp_path / "r.txt"
    hypotheses.write_text("the heart is large .\nno effusion is seen .\n")
    references.write_text("the heart is large .\nno effusion or pneumothorax .\n")
    return hypotheses, references


def test_texts_are_scored_as_json_on_stdout_and_in_a_file(texts: tuple[Path, Path], tmp_path: Path) -> None:
    arguments = ("--hypotheses", texts[0], "--references", texts[1], "--protocol", "raw")
    result = run("evaluate", *arguments, "--json", "--out", tmp_path / "scores.json")
    assert result.exit_code == 0
    scores = json.loads(result.stdout)
    assert scores["protocol"] == "raw"
    assert scores["n"] == 2
    assert scores["scores"]["bleu1"]["value"] == pytest.approx(8 / 10)
    assert len(scores["scores"]["rouge_l"]["ci95"]) == 2
    assert json.loads((tmp_path / "scores.json").read_text()) == scores


def test_every_option_reaches_the_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    from cxreport.metrics import evaluate

    given: list[Any] = []

    def record(paths: list[Path], options: Any, *, other: Path | None, progress: Any) -> Any:
        given[:] = [paths, options, other]
        return evaluate.Evaluation({"protocol": "p", "n": 1, "scores": {}, "notes": []}, *[None] * 3)

    monkeypatch.setattr(evaluate, "evaluate_files", record)
    assert run("evaluate", "p.jsonl", "--json").exit_code == 0
    assert given == [[Path("p.jsonl")], evaluate.Options(), None]
    words = "a.csv b.csv --protocol cxpmrg --metrics bleu,cider --seed 4 --min-positives 7 --no-baselines"
    words += (
        " --meteor jar --by sex --by age --facts f.csv --train-reports t.txt --tokenizer llm --compare c.csv"
    )
    assert run("evaluate", *words.split(), "--json").exit_code == 0
    options = evaluate.Options(
        protocol="cxpmrg",
        metrics=("bleu", "cider"),
        seed=4,
        min_positives=7,
        meteor="jar",
        baselines=False,
        by=("sex", "age"),
        facts=Path("f.csv"),
        train_reports=Path("t.txt"),
        tokenizer=Path("llm"),
    )
    assert given == [[Path("a.csv"), Path("b.csv")], options, Path("c.csv")]


def test_a_page_and_a_line_for_every_pair_are_written(texts: tuple[Path, Path], tmp_path: Path) -> None:
    page, lines = tmp_path / "new" / "page.html", tmp_path / "new" / "lines.jsonl"
    pair = ("evaluate", "--hypotheses", texts[0], "--references", texts[1], "--protocol", "raw", "--json")
    result = run(*pair, "--html", page, "--per-sample", lines)
    assert result.exit_code == 0, result.output
    assert "<mark" in page.read_text()
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [row["study_id"] for row in rows] == ["1", "2"]
    assert rows[0]["bleu4"] == pytest.approx(1.0)
    assert rows[1]["rouge_l"] == pytest.approx(0.6)
    assert json.loads(result.stdout)["n"] == 2
    for option in ("--html", "--per-sample"):
        assert "Cannot write" in refused(*pair, option, tmp_path)


def test_output_files_get_their_folders(texts: tuple[Path, Path], phantoms: Path, tmp_path: Path) -> None:
    evaluate = ("evaluate", "--hypotheses", texts[0], "--references", texts[1], "--out")
    show = ("phantom", "show", phantoms, "--studies", "1", "--out")
    (tmp_path / "file").write_text("")
    for command, name in ((evaluate, "scores.json"), (show, "sheet.png")):
        assert run(*command, tmp_path / "new" / "folder" / name).exit_code == 0
        assert (tmp_path / "new" / "folder" / name).stat().st_size
        for taken, reason in (("", "Is a directory"), (f"file/{name}", "(Not a directory|File exists)")):
            assert re.search(f"Cannot write .*: {reason}; make room", refused(*command, tmp_path / taken))


def test_texts_are_scored_as_a_table(texts: tuple[Path, Path]) -> None:
    result = run("evaluate", "--hypotheses", texts[0], "--references", texts[1])
    assert result.exit_code == 0
    line = next(line for line in result.stdout.splitlines() if "BLEU-1" in line)
    assert "0.800 [" in line


def test_the_table_of_a_predictions_file_has_its_controls(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    record: dict[str, Any] = {"reference": "heart is large .", "hypothesis": "heart is large ."}
    record |= {"controls": {"most_frequent": "clear .", "shuffled_images": "lungs are clear ."}}
    path.write_text("".join(json.dumps(record | {"study_id": f"s{n}"}) + "\n" for n in range(3)))
    result = run("evaluate", path)
    assert result.exit_code == 0
    for column in ("model", "shuffled images", "most frequent report"):
        assert column in result.stdout
    assert "…" not in result.stdout


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms") / "data"
    result = run("phantom", "make", "--out", folder, "--studies", "10", "--size", "32", "--seed", "1")
    assert result.exit_code == 0, result.output
    assert f"{folder}: 10 studies: 7 train, 1 val, 2 test; sha256 " in result.stdout
    return folder


def test_phantoms_are_shown(phantoms: Path, tmp_path: Path) -> None:
    result = run("phantom", "show", phantoms, "--out", tmp_path / "sheet.png", "--studies", "2")
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert min(sheet.size) > 32


def test_a_dataset_is_never_written_over(phantoms: Path) -> None:
    assert "not an empty folder" in refused("phantom", "make", "--out", phantoms, "--studies", "10")


def test_the_demo_prints_its_table_and_its_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    score = {"value": 0.5, "ci95": [0.4, 0.6], "n": 9}
    scores = {"protocol": "p", "n": 9, "scores": {"bleu1": score}, "notes": []}
    monkeypatch.setattr("cxreport.bench.demo.run_demo", lambda out, bars: (scores, out / "report.html"))
    result = run("demo", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert "0.500 [0.400, 0.600]" in result.stdout
    assert str(tmp_path / "report.html") in result.stdout
    assert DISCLAIMER in result.stdout
    as_json = run("demo", "--out", tmp_path, "--json")
    assert json.loads(as_json.stdout) == scores


def images_and_csv(folder: Path, bad: int) -> tuple[Path, Path]:
    """Twelve good PNG files and `bad` text files that call themselves PNG, with a CSV of all."""
    rng = np.random.default_rng(0)
    images = folder / "images"
    images.mkdir()
    rows = []
    for number in range(12 + bad):
        path = images / f"{number}.png"
        if number < 12:
            Image.fromarray(rng.integers(0, 256, (40, 40), dtype=np.uint8)).save(path)
        else:
            path.write_text("not an image")
        rows.append({"id": number, "file": path.name, "text": f"Finding number {number}.", "who": number})
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return images, folder / "table.csv"


COLUMNS = ("--id", "id", "--image", "file", "--report", "text", "--patient", "who")


def test_import_counts_what_it_leaves_out_and_lists_the_first_ten(tmp_path: Path) -> None:
    images, table = images_and_csv(tmp_path, bad=12)
    result = run("data", "import", "folder", images, "--csv", table, *COLUMNS, "--out", tmp_path / "data")
    assert result.exit_code == 0, result.output
    assert ": 12 studies: " in result.stdout
    assert len(result.stdout.splitlines()) == 1
    lines = result.stderr.splitlines()
    assert lines[0] == "12 left out: no readable image (12)."
    sentence = r"  (\d+): \1\.png is not a PNG, JPEG or DICOM file, whatever its name says\."
    assert re.fullmatch(sentence, lines[1])
    assert lines[-1] == "  and 2 more"
    assert len(lines) == 12


def test_import_keeps_its_policy_and_tells_warnings(tmp_path: Path) -> None:
    images, table = images_and_csv(tmp_path, bad=0)
    columns = (*COLUMNS, "--projection", "who")
    result = run("data", "import", "folder", images, "--csv", table, *columns, "--out", tmp_path / "data")
    assert result.exit_code == 0, result.output
    lines = result.stderr.splitlines()
    assert lines[0] == "12 image warnings, kept in the studies' metadata."
    assert re.fullmatch(r"  (\d+)\.png: the projection '\1' is not known", lines[1])
    assert lines[-1] == "  and 2 more"
    options = json.loads((tmp_path / "data" / "dataset.json").read_text())["options"]
    assert options["report_section"] == "findings"
    assert options["shares"] == {"train": 0.7, "val": 0.1, "test": 0.2}


def test_import_names_a_missing_column(tmp_path: Path) -> None:
    images, table = images_and_csv(tmp_path, bad=0)
    columns = [name.replace("text", "txet") for name in COLUMNS]
    sentence = refused("data", "import", "folder", images, "--csv", table, *columns, "--out", tmp_path / "d")
    assert "no column txet" in sentence
    assert not (tmp_path / "d").exists()


@pytest.fixture(scope="module")
def trained(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    (folder / "tiny.yaml").write_text(TINY)
    result = run(
        "train",
        folder / "tiny.yaml",
        "--data",
        phantoms,
        "--out",
        folder / "run",
        "--set",
        "training.epochs=2",
    )
    assert result.exit_code == 0, result.output
    assert "parameters, 2 epochs of 7 studies" in result.stderr
    assert "epoch 2/2: train loss" in result.stderr
    assert (folder / "run" / "model" / "config.json").is_file()
    return folder / "run"


def test_a_finished_run_is_not_trained_again(trained: Path, phantoms: Path) -> None:
    arguments = ("train", trained.parent / "tiny.yaml", "--data", phantoms, "--out", trained)
    result = run(*arguments, "--resume", "--set", "training.epochs=2")
    assert result.exit_code == 0
    assert "is finished" in result.stderr
    assert "not empty" in refused(*arguments)
    assert "training.epochs is 2 there and 1 here" in refused(*arguments, "--resume")


def test_a_split_is_drafted_and_scored(trained: Path, phantoms: Path, tmp_path: Path) -> None:
    out = tmp_path / "predictions.jsonl"
    result = run("generate", trained, phantoms, "--split", "test", "--out", out, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["studies"] == 2
    assert [json.loads(line)["split"] for line in out.read_text().splitlines()] == ["test", "test"]
    scores = json.loads(run("evaluate", out, "--json").stdout)
    assert set(scores["controls"]) >= {"most_frequent", "random_train", "nearest_neighbour"}


def test_a_draft_is_searched_as_set_says(trained: Path, phantoms: Path, tmp_path: Path) -> None:
    out = tmp_path / "predictions.jsonl"
    result = run("generate", trained, phantoms, "--out", out, "--set", "decoding.max_length=3")
    assert result.exit_code == 0, result.output
    drafts = [json.loads(line)["hypothesis"].split() for line in out.read_text().splitlines()]
    assert all(len(words) <= 3 for words in drafts)
    assert "only the search" in refused("generate", trained, phantoms, "--out", out, "--set", "seed=1")


def test_images_are_drafted_with_the_disclaimer(trained: Path, tmp_path: Path) -> None:
    images, _ = images_and_csv(tmp_path, bad=1)
    result = run("generate", trained / "model", images / "0.png", images / "12.png")
    assert result.exit_code == 0, result.output
    assert str(images / "0.png") in result.stdout
    assert DISCLAIMER in result.stdout
    assert "1 left out: unreadable image (1)" in result.stderr
    assert result.stderr.count(str(images / "12.png")) == 1
    as_json = run("generate", trained / "model", images, "--json", "--out", tmp_path / "drafts.jsonl")
    tree = json.loads(as_json.stdout)
    assert len(tree["drafts"]) == 12
    assert tree["drafts"][0]["file"] == str(images / "0.png")
    assert tree["excluded"][0]["file"] == str(images / "12.png")
    assert len((tmp_path / "drafts.jsonl").read_text().splitlines()) == 12
    assert "12.png" in refused("generate", trained / "model", images / "12.png")


def test_generate_refuses_what_does_not_fit_together(trained: Path, phantoms: Path, tmp_path: Path) -> None:
    assert run("generate", trained, phantoms).exit_code == 2
    assert run("generate", trained, phantoms, tmp_path, "--out", "p.jsonl").exit_code == 2
    refused("generate", tmp_path, phantoms, "--out", tmp_path / "p.jsonl")
    assert "no nowhere split" in refused(
        "generate", trained, phantoms, "--split", "nowhere", "--out", tmp_path / "p.jsonl"
    )

"""Chinese all the way: phantoms, training, drafts with evidence, scores; and a baseline beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cxreport.cli import app

SMALL = (
    *("data.image_size=32", "model.width=32", "model.feed_forward=32", "model.encoder.width=4"),
    *("training.epochs=1", "training.batch_size=32", "decoding.max_length=40"),
)


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("chinese") / "phantoms"
    run("phantom", "make", "--out", out, "--studies", 100, "--size", 32, "--language", "grammar-zh")
    return out


def test_from_phantoms_to_scores(phantoms: Path, tmp_path: Path) -> None:
    changes = [word for change in SMALL for word in ("--set", change)]
    run("train", "chinese", "--data", phantoms, "--out", tmp_path / "run", *changes)
    out = tmp_path / "predictions.jsonl"
    run("generate", tmp_path / "run", phantoms, "--out", out, "--evidence", "gradient")
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 20
    assert {line["protocol"] for line in lines} == {"findings.full.characters"}
    assert all(set(line["reference"].split()) & set("肺心胸") for line in lines)
    for line in lines:
        for one in line["evidence"]:
            assert one["sentence"] == line["hypothesis"][one["start"] : one["end"]]
            assert [seen["projection"] for seen in one["maps"]] == ["frontal"]
    scores = json.loads(run("evaluate", out, "--json"))
    assert {"bleu4", "finding_micro_f1"} <= scores["scores"].keys()
    assert any(name.startswith("chexpert14.rules_zh.macro") for name in scores["scores"])
    assert scores["protocol_settings"]["cleaner"] == "characters"
    assert "meteor" not in scores["scores"]


def test_a_perfect_draft_scores_one_in_words_labels_and_findings(phantoms: Path, tmp_path: Path) -> None:
    changes = ("--set", "data.cleaner=characters")
    run("train", "most_frequent", "--data", phantoms, "--out", tmp_path / "run", *changes)
    out = tmp_path / "predictions.jsonl"
    run("generate", tmp_path / "run", phantoms, "--out", out)
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert len({line["hypothesis"] for line in lines}) == 1
    perfect = tmp_path / "perfect.jsonl"
    with perfect.open("w", encoding="utf-8") as file:
        for line in lines:
            file.write(json.dumps(line | {"hypothesis": line["reference"]}, ensure_ascii=False) + "\n")
    floor, ceiling = (
        json.loads(run("evaluate", path, "--json", "--min-positives", 1))["scores"] for path in (out, perfect)
    )
    for name in ("bleu4", "finding_f1", "side_accuracy"):
        assert ceiling[name]["value"] == pytest.approx(1.0)
    assert floor["finding_f1"]["value"] < 0.1
    assert floor["bleu4"]["value"] < 0.9

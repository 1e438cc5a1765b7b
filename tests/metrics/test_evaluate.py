"""From files to scores: what is scored, what is left out, and every mistake told in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cxreport.errors import UserError
from cxreport.metrics.evaluate import evaluate_file, evaluate_texts

NORMAL = "the heart is normal in size . no pleural effusion ."
LEFT = "there is a small left pleural effusion . no pneumothorax ."
RIGHT = "there is a small right pleural effusion . no pneumothorax ."


def record(number: int, **changes: Any) -> dict[str, Any]:
    side = ("left", "right")[number % 2]
    report = (LEFT, RIGHT)[number % 2]
    return {
        "study_id": f"s{number}",
        "split": "test",
        "hypothesis": report,
        "reference": report,
        "seconds": 0.1,
        "mean_logprob": -0.2,
        "evidence": [],
        "truth": [["pleural_effusion", side]],
        "language": "grammar",
        "controls": {"most_frequent": NORMAL, "shuffled_images": (RIGHT, LEFT)[number % 2]},
        "protocol": "findings.full.clean",
    } | changes


def write(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in records), encoding="utf-8")
    return path


def test_model_and_every_control_are_scored(tmp_path: Path) -> None:
    path = write(tmp_path / "predictions.jsonl", [record(i) for i in range(40)])
    scores = evaluate_file(path, seed=3, min_positives=20)
    assert (scores["protocol"], scores["n"], scores["seed"]) == ("findings.full.clean", 40, 3)
    assert scores["scores"]["bleu4"] == {"value": pytest.approx(1.0), "ci95": pytest.approx([1, 1]), "n": 40}
    assert scores["scores"]["finding_f1"]["value"] == 1.0
    assert scores["scores"]["unique_ratio"] == {"value": 2 / 40, "ci95": None, "n": 40}
    assert scores["controls"].keys() == {"most_frequent", "shuffled_images"}
    assert scores["controls"]["most_frequent"]["finding_f1"]["value"] == 0.0
    shuffled = scores["controls"]["shuffled_images"]
    assert shuffled["finding_f1"]["value"] == 0.0  # every side is wrong,
    assert shuffled["finding_kind_f1"]["value"] == 1.0  # every kind is right
    assert shuffled["side_accuracy"]["value"] == 0.0
    assert scores["findings"]["by_kind"]["pleural_effusion"]["positives"] == 40
    assert scores["excluded"] == {}
    json.dumps(scores, allow_nan=False)


def test_the_same_seed_gives_the_same_scores(tmp_path: Path) -> None:
    records = [record(i, hypothesis=LEFT[: 5 + i]) for i in range(24)]
    path = write(tmp_path / "p.jsonl", records)
    assert evaluate_file(path, seed=1) == evaluate_file(path, seed=1)
    assert evaluate_file(path, seed=1)["scores"] != evaluate_file(path, seed=2)["scores"]


@pytest.mark.parametrize("change", [{"language": "openi"}, {"truth": None}])
def test_findings_need_truth_and_grammar_in_every_line(tmp_path: Path, change: dict[str, Any]) -> None:
    path = write(tmp_path / "p.jsonl", [record(0), record(1, **change)])
    scores = evaluate_file(path)
    assert "findings" not in scores
    assert not [name for name in scores["scores"] if name.startswith("finding")]


def test_empty_references_are_left_out_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", [record(0), record(1, reference="  "), record(2)])
    scores = evaluate_file(path)
    assert scores["n"] == 2
    assert scores["excluded"] == {"empty reference": ["s1"]}
    assert any("1 studies without a reference" in note for note in scores["notes"])


def test_one_study_is_scored_and_its_cider_explained(tmp_path: Path) -> None:
    scores = evaluate_file(write(tmp_path / "p.jsonl", [record(0)]))
    assert scores["scores"]["cider"]["value"] == 0.0
    assert scores["scores"]["bleu1"]["value"] == pytest.approx(1.0)
    assert any("CIDEr is 0" in note for note in scores["notes"])
    assert any("no macro averages" in note for note in scores["notes"])


def test_identical_and_empty_drafts_are_scored(tmp_path: Path) -> None:
    same = evaluate_file(write(tmp_path / "a.jsonl", [record(i, hypothesis=LEFT) for i in range(10)]))
    assert same["scores"]["most_common_share"]["value"] == 1.0
    empty = evaluate_file(write(tmp_path / "b.jsonl", [record(i, hypothesis="") for i in range(10)]))
    assert empty["scores"]["bleu1"]["value"] == 0.0
    assert empty["scores"]["mean_words"]["value"] == 0.0


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        (json.dumps(record(0)) + "\n{oops\n", r"line 2 is not JSON: .* at character 2"),
        ("[1]\n", "line 1 must hold a JSON object"),
        ('{"study_id": "a", "hypothesis": "x"}\n', "line 1 has no 'reference'"),
        ('{"study_id": "a", "hypothesis": null, "reference": "x"}\n', "hypothesis must be text, not null"),
        (json.dumps(record(0)) * 2, "not JSON"),
        ((json.dumps(record(0)) + "\n") * 2, "line 2: study 's0' stands already in line 1"),
        (json.dumps(record(0, truth=[["edema"]])), "truth must be a list"),
        (json.dumps(record(0, truth=[["edema", "up"]])), "truth must be a list"),
        (json.dumps(record(0, controls={"most_frequent": 3})), "controls must map names to texts"),
        (json.dumps(record(0, protocol=3)), "protocol and language must be text"),
        (json.dumps(record(0)) + "\n" + json.dumps(record(1, controls={})), "differ in the control"),
        (json.dumps(record(0)) + "\n" + json.dumps(record(1, protocol="x.y.z")), "has protocol 'x.y.z'"),
        (json.dumps(record(0, reference="")), "no reference report in any of its 1 lines"),
    ],
)
def test_bad_prediction_files_are_told_in_one_sentence(tmp_path: Path, lines: str, message: str) -> None:
    path = tmp_path / "predictions.jsonl"
    path.write_text(lines, encoding="utf-8")
    with pytest.raises(UserError, match=message) as caught:
        evaluate_file(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_binary_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Cannot read .*: No such file"):
        evaluate_file(tmp_path / "absent.jsonl")
    with pytest.raises(UserError, match="Is a directory"):
        evaluate_file(tmp_path)
    binary = tmp_path / "binary.jsonl"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not a text file in UTF-8"):
        evaluate_file(binary)


def text_pair(folder: Path, hypotheses: bytes, references: bytes) -> tuple[Path, Path]:
    paths = folder / "hypotheses.txt", folder / "references.txt"
    paths[0].write_bytes(hypotheses)
    paths[1].write_bytes(references)
    return paths


def test_text_files_are_scored_line_by_line(tmp_path: Path) -> None:
    scores = evaluate_texts(*text_pair(tmp_path, b"a b c d\nx y z\n", b"a b c d\nx y w\n"))
    assert (scores["protocol"], scores["n"]) == ("raw", 2)
    assert scores["scores"]["bleu1"]["value"] == pytest.approx(6 / 7)
    assert scores["scores"]["rouge_l"]["value"] == pytest.approx((1 + 2 / 3) / 2)
    assert scores["scores"]["cider"]["n"] == 2


@pytest.mark.parametrize("hypotheses", [b"a b\r\nc d\r\n", b"a b\nc d", "\ufeffa b\nc d\n".encode()])
def test_line_ends_and_marks_of_editors_do_not_count(tmp_path: Path, hypotheses: bytes) -> None:
    scores = evaluate_texts(*text_pair(tmp_path, hypotheses, b"a b\nc d\n"))
    assert scores["n"] == 2
    assert scores["scores"]["rouge_l"]["value"] == pytest.approx(1.0)


def test_a_line_separator_inside_a_report_is_no_line_end(tmp_path: Path) -> None:
    text = "heart\u2028normal\x0csize\x85now\n".encode()
    assert evaluate_texts(*text_pair(tmp_path, text, text))["n"] == 1


def test_an_empty_hypothesis_line_is_a_bad_draft(tmp_path: Path) -> None:
    scores = evaluate_texts(*text_pair(tmp_path, b"a b\n\n", b"a b\nc d\n"))
    assert scores["n"] == 2
    assert scores["scores"]["rouge_l"]["value"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("hypotheses", "references", "message"),
    [
        (b"a\nb\n", b"a\n", "has 2 lines but .* has 1"),
        (b"a\nb\n", b"a\n \n", "references.txt, line 2 is empty"),
        (b"", b"a\n", "hypotheses.txt holds no text"),
        (b"a\n", b" \n\n", "references.txt holds no text"),
        (b"\xff\n", b"a\n", "not a text file in UTF-8"),
    ],
)
def test_bad_text_files_are_told(tmp_path: Path, hypotheses: bytes, references: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        evaluate_texts(*text_pair(tmp_path, hypotheses, references))


def test_another_protocol_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--protocol clean"):
        evaluate_texts(*text_pair(tmp_path, b"a\n", b"a\n"), protocol="clean")

"""From files to scores: what is scored, what is left out, and every mistake told in one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cxreport.errors import UserError
from cxreport.metrics.evaluate import Options, evaluate_file, evaluate_files, evaluate_texts, score

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
    scores = evaluate_file(path, Options(seed=3, min_positives=20))
    assert (scores["protocol"], scores["n"], scores["seed"]) == ("findings.full.clean", 40, 3)
    assert scores["scores"]["bleu4"] == {"value": pytest.approx(1.0), "ci95": pytest.approx([1, 1]), "n": 40}
    assert scores["scores"]["finding_f1"]["value"] == 1.0
    assert scores["scores"]["unique_ratio"] == {"value": 2 / 40, "ci95": None, "n": 40}
    assert scores["controls"].keys() == {"all_normal", "most_frequent", "shuffled_images"}
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
    assert evaluate_file(path, Options(seed=1)) == evaluate_file(path, Options(seed=1))
    assert evaluate_file(path, Options(seed=1))["scores"] != evaluate_file(path, Options(seed=2))["scores"]


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
        ('{"study_id": "a", "hypothesis": "x", "reference": NaN}\n', "reference must be text, not NaN"),
        ('{"study_id": "a", "hypothesis": "\\ud800", "reference": "x"}\n', "holds half of a character"),
        ("[" * 100_000, "line 1 holds a number too long or lists too deep"),
        ("1" * 5000, "line 1 holds a number too long"),
        (json.dumps(record(0, patient_id=3)), "patient_id must be text"),
        (json.dumps(record(0, facts=["F"])), "facts must map names to values"),
        (json.dumps(record(0, protocol="x.y.z")), r"Unknown protocol 'x\.y\.z'"),
        (json.dumps(record(0)) * 2, "not JSON"),
        ((json.dumps(record(0)) + "\n") * 2, "line 2: study 's0' stands already in line 1"),
        (json.dumps(record(0, truth=[["edema"]])), "truth must be a list"),
        (json.dumps(record(0, truth=[["edema", "up"]])), "truth must be a list"),
        (json.dumps(record(0, controls={"most_frequent": 3})), "controls must map names to texts"),
        (json.dumps(record(0, protocol=3)), "protocol and language must be text"),
        (json.dumps(record(0)) + "\n" + json.dumps(record(1, controls={})), "differ in the control"),
        (json.dumps(record(0)) + "\n" + json.dumps(record(1, protocol="x.y.z")), "has protocol 'x.y.z'"),
        (json.dumps(record(0, reference="")), "no reference report in any of its 1 studies"),
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
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(UserError, match="Is a directory"):
        evaluate_file(tmp_path / "folder.jsonl")
    with pytest.raises(UserError, match=r"is none of predictions\.jsonl, a ReXrank \.json or a \.csv"):
        evaluate_file(tmp_path / "drafts.txt")
    binary = tmp_path / "binary.jsonl"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not a text file in UTF-8"):
        evaluate_file(binary)


def text_pair(folder: Path, hypotheses: bytes, references: bytes) -> tuple[Path, Path]:
    paths = folder / "hypotheses.txt", folder / "references.txt"
    paths[0].write_bytes(hypotheses)
    paths[1].write_bytes(references)
    return paths


FAST = Options(protocol="raw", metrics=("bleu", "rouge_l", "cider"))


def text_scores(
    folder: Path, hypotheses: bytes, references: bytes, options: Options = FAST
) -> dict[str, Any]:
    return evaluate_texts(*text_pair(folder, hypotheses, references), options).scores


def test_text_files_are_scored_line_by_line(tmp_path: Path) -> None:
    scores = text_scores(tmp_path, b"a b c d\nx y z\n", b"a b c d\nx y w\n")
    assert (scores["protocol"], scores["n"]) == ("raw", 2)
    assert scores["scores"]["bleu1"]["value"] == pytest.approx(6 / 7)
    assert scores["scores"]["rouge_l"]["value"] == pytest.approx((1 + 2 / 3) / 2)
    assert scores["scores"]["cider"]["n"] == 2


@pytest.mark.parametrize("hypotheses", [b"a b\r\nc d\r\n", b"a b\nc d", "\ufeffa b\nc d\n".encode()])
def test_line_ends_and_marks_of_editors_do_not_count(tmp_path: Path, hypotheses: bytes) -> None:
    scores = text_scores(tmp_path, hypotheses, b"a b\nc d\n")
    assert scores["n"] == 2
    assert scores["scores"]["rouge_l"]["value"] == pytest.approx(1.0)


def test_a_line_separator_inside_a_report_is_no_line_end(tmp_path: Path) -> None:
    text = "heart\u2028normal\x0csize\x85now\n".encode()
    assert text_scores(tmp_path, text, text)["n"] == 1


@pytest.mark.parametrize("protocol", ["raw", "findings.full.clean"])
def test_an_empty_line_is_an_empty_report_on_either_side(tmp_path: Path, protocol: str) -> None:
    options = Options(protocol=protocol, metrics=("rouge_l",))
    scores = text_scores(tmp_path, b"a b\n\nno edema\n", b"a b\nc d\n\n", options)
    assert scores["n"] == 3
    assert (scores["empty_drafts"], scores["empty_references"]) == (1, 1)
    assert scores["scores"]["rouge_l"]["value"] == pytest.approx(1 / 3)
    assert (scores["excluded"], scores["missing_drafts"]) == ({}, [])


def test_files_of_empty_lines_are_scored(tmp_path: Path) -> None:
    scores = text_scores(tmp_path, b"\n\n", b"a b\nc d\n", Options(protocol="raw"))
    assert scores["scores"]["bleu1"]["value"] == 0.0
    assert scores["scores"]["mean_words"]["value"] == 0.0
    json.dumps(scores, allow_nan=False)


@pytest.mark.parametrize(
    ("hypotheses", "references", "message"),
    [
        (b"a\nb\n", b"a\n", "has 2 lines but .* has 1"),
        (b"", b"a\n", "hypotheses.txt holds no line"),
        (b"a\n", b"", "references.txt holds no line"),
        (b"\xff\n", b"a\n", "not a text file in UTF-8"),
    ],
)
def test_bad_text_files_are_told(tmp_path: Path, hypotheses: bytes, references: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        text_scores(tmp_path, hypotheses, references)


def test_the_default_protocol_cleans_drafts_and_references(tmp_path: Path) -> None:
    texts = b"The heart is NORMAL in size.\n", b"the heart, is normal in size\n"
    cleaned = text_scores(tmp_path, *texts, Options(metrics=("bleu",)))
    assert cleaned["protocol"] == "findings.full.clean"
    assert cleaned["scores"]["bleu4"]["value"] == pytest.approx(1.0)
    assert text_scores(tmp_path, *texts)["scores"]["bleu4"]["value"] < 0.1


def test_a_metric_that_cannot_be_computed_is_missing_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cxreport.metrics import LANGUAGE_METRICS
    from cxreport.metrics.unavailable import MetricUnavailable

    def absent(hypotheses: list[str], references: list[str]) -> None:
        raise MetricUnavailable("Install the words of METEOR.")

    monkeypatch.setattr("cxreport.metrics.bleu.bleu", absent)
    monkeypatch.setitem(LANGUAGE_METRICS, "meteor", "cxreport.metrics.bleu:bleu")
    monkeypatch.delitem(LANGUAGE_METRICS, "bleu")
    scores = text_scores(tmp_path, b"a\nb\n", b"a\nb\n", Options(protocol="raw"))
    assert scores["scores"]["meteor"] == {
        "value": None,
        "ci95": None,
        "n": 2,
        "reason": "Install the words of METEOR.",
    }
    assert "meteor: Install the words of METEOR." in scores["notes"]
    with pytest.raises(UserError, match="Install the words"):
        text_scores(tmp_path, b"a\n", b"a\n", Options(protocol="raw", metrics=("meteor",)))


def test_what_is_not_computed_is_named(tmp_path: Path) -> None:
    scores = text_scores(tmp_path, b"a\n", b"a\n", Options(protocol="raw"))
    assert "chexpert.chexbert" in scores["not_computed"]
    assert any("chexpert.chexbert" in note for note in scores["notes"])


def test_a_metric_or_one_of_its_scores_is_chosen_by_name(tmp_path: Path) -> None:
    pair = b"no effusion\nedema\n", b"no effusion\nedema\n"
    one = "chexpert14.rules.edema.uncertain1.f1"
    scores = text_scores(
        tmp_path, *pair, Options(protocol="raw", metrics=("bleu4", "cider", one, "unique_ratio"))
    )
    assert list(scores["scores"]) == ["bleu4", "cider", one, "unique_ratio"]
    assert scores["controls"]["all_normal"].keys() == scores["scores"].keys()
    whole = text_scores(tmp_path, *pair, Options(protocol="raw", metrics=("bleu", "bleu4")))
    assert list(whole["scores"]) == ["bleu1", "bleu2", "bleu3", "bleu4"]


@pytest.mark.parametrize(
    "name", ["blue", "bleu7", "chexpert14.rules.macro.uncertain2.f1", "chexpert14.x.y.z.f1", ""]
)
def test_an_unknown_name_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"--metrics: .* is called"):
        text_scores(tmp_path, b"a\n", b"a\n", Options(protocol="raw", metrics=(name,)))


def test_finding_scores_by_name_need_phantoms(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs phantoms"):
        text_scores(tmp_path, b"a\n", b"a\n", Options(protocol="raw", metrics=("finding_f1",)))


def test_prepared_texts_are_not_cleaned_again_and_do_not_change_protocol(tmp_path: Path) -> None:
    text = "NOT lower case , as a cleaner would leave it"
    path = write(tmp_path / "p.jsonl", [record(0, hypothesis=text, reference=text.lower(), language=None)])
    assert evaluate_file(path)["scores"]["bleu1"]["value"] < 0.9
    assert evaluate_file(path, Options(protocol="raw"))["protocol"] == "raw"
    cut = evaluate_file(path, Options(protocol="findings.words3.clean"))
    assert cut["scores"]["length_ratio"]["value"] == 10 / 3
    for other in ("impression.full.clean", "findings.full.legacy-iu", "rexrank-findings"):
        with pytest.raises(UserError, match=r"stand as findings\.full\.clean, which does not lead back"):
            evaluate_file(path, Options(protocol=other))


def test_intervals_are_by_patient_where_patients_are_known(tmp_path: Path) -> None:
    """Ten patients with eight equal studies each: by study the interval is far too narrow."""
    texts = [LEFT if patient % 2 else NORMAL for patient in range(10) for _ in range(8)]
    lines = [record(i, hypothesis=text, reference=LEFT, language=None) for i, text in enumerate(texts)]
    by_study = evaluate_file(write(tmp_path / "a.jsonl", lines), Options(metrics=("rouge_l",)))
    lines = [line | {"patient_id": f"p{i // 8}"} for i, line in enumerate(lines)]
    by_patient = evaluate_file(write(tmp_path / "b.jsonl", lines), Options(metrics=("rouge_l",)))
    width = [high - low for low, high in (s["scores"]["rouge_l"]["ci95"] for s in (by_study, by_patient))]
    assert width[1] > 2 * width[0]
    assert (by_study["patients"], by_patient["patients"], by_patient["n"]) == (None, 10, 80)
    assert "over patients" in by_patient["settings"]["ci95"]


def test_several_files_are_one_system_with_a_deviation(tmp_path: Path) -> None:
    good = write(tmp_path / "1.jsonl", [record(i) for i in range(6)])
    bad = write(tmp_path / "2.jsonl", [record(i, hypothesis=NORMAL) for i in range(6)])
    both = evaluate_files([good, bad], Options(metrics=("rouge_l", "unique_ratio"))).scores
    alone = [evaluate_file(path)["scores"]["rouge_l"]["value"] for path in (good, bad)]
    row = both["scores"]["rouge_l"]
    assert row["value"] == pytest.approx(sum(alone) / 2)
    assert row["sd"] == pytest.approx(abs(alone[0] - alone[1]) / 2**0.5)
    assert row["runs"] == pytest.approx(alone)
    assert row["ci95"][0] <= row["value"] <= row["ci95"][1]
    assert both["scores"]["unique_ratio"]["runs"] == [2 / 6, 1 / 6]
    assert both["files"] == [str(good), str(bad)]
    short = write(tmp_path / "3.jsonl", [record(i) for i in range(4)])
    scores = evaluate_files([good, short], Options(metrics=("rouge_l",))).scores
    assert scores["missing_drafts"] == ["s4", "s5"]
    assert scores["scores"]["rouge_l"]["value"] == pytest.approx((1 + 4 / 6) / 2)


def test_runs_that_lack_a_score_still_make_a_mean(tmp_path: Path) -> None:
    """Side accuracy needs a sided finding in the drafts; the second run has none."""
    sided = write(tmp_path / "1.jsonl", [record(i) for i in range(6)])
    normal = write(tmp_path / "2.jsonl", [record(i, hypothesis=NORMAL) for i in range(6)])
    options = Options(min_positives=2, baselines=False)
    scores = evaluate_files([sided, normal], options, other=normal).scores
    assert "side_accuracy" in evaluate_file(sided, options)["scores"]
    assert "side_accuracy" not in scores["scores"]
    assert scores["scores"]["finding_f1"]["runs"] == [1.0, 0.0]
    assert scores["comparison"]["scores"]["finding_f1"]["difference"] == 0.5


def test_progress_counts_every_metric_of_every_system(tmp_path: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    path = write(tmp_path / "p.jsonl", [record(0)])
    options = Options(metrics=("bleu", "rouge_l"))
    evaluate_files([path], options, progress=lambda *step: steps.append(step))
    systems = 1 + len({"most_frequent", "shuffled_images", "all_normal"})
    assert steps == [("scores", done, 2 * systems) for done in range(1, 2 * systems + 1)]


def test_chinese_is_scored_by_character_and_by_its_own_rules(tmp_path: Path) -> None:
    pair = "心影增大。\n两肺纹理清晰。\n".encode(), "心影增大。\n两肺纹理增多。\n".encode()
    scores = text_scores(tmp_path, *pair, Options(protocol="findings.full.none.characters"))
    assert scores["scores"]["bleu1"]["value"] == pytest.approx(10 / 12)
    assert "chexpert14.rules_zh.macro.uncertain0.f1" in scores["scores"]
    assert {"meteor", "chexpert.rules", "priors"} <= scores["not_computed"].keys()


def test_files_of_different_protocols_share_no_table(tmp_path: Path) -> None:
    first = write(tmp_path / "1.jsonl", [record(0)])
    other = write(tmp_path / "2.jsonl", [record(0, protocol="findings.full.legacy-iu")])
    for paths, compared in (([first, other], None), ([first], other)):
        with pytest.raises(UserError, match="scores of different protocols do not compare"):
            evaluate_files(paths, other=compared)


def test_a_comparison_scores_missing_drafts_as_empty(tmp_path: Path) -> None:
    """The second system left out half of the studies; it does not win by that."""
    first = write(tmp_path / "1.jsonl", [record(i, hypothesis=NORMAL) for i in range(12)])
    other = write(tmp_path / "2.jsonl", [record(i) for i in range(6)])
    scores = evaluate_files([first], Options(metrics=("rouge_l",)), other=other).scores
    row = scores["comparison"]["scores"]["rouge_l"]
    assert row["other"] == pytest.approx(0.5)
    assert row["difference"] == pytest.approx(row["value"] - row["other"])
    assert scores["comparison"]["missing_drafts"] == [f"s{i}" for i in range(6, 12)]
    assert any(note.startswith("6 studies without a draft of ") for note in scores["notes"])
    swapped = evaluate_files([other], Options(metrics=("rouge_l",)), other=first).scores
    assert swapped["n"] == 12
    assert swapped["missing_drafts"] == [f"s{i}" for i in range(6, 12)]
    assert swapped["scores"]["rouge_l"]["value"] == pytest.approx(0.5)


def test_different_references_do_not_compare(tmp_path: Path) -> None:
    first = write(tmp_path / "1.jsonl", [record(0)])
    other = write(tmp_path / "2.jsonl", [record(0, reference=NORMAL)])
    with pytest.raises(UserError, match="different references for study 's0'"):
        evaluate_files([first], other=other)


def test_subgroups_come_from_the_file_or_a_table(tmp_path: Path) -> None:
    lines = [record(i, facts={"sex": "FM"[i % 2]}, hypothesis=LEFT, language=None) for i in range(60)]
    path = write(tmp_path / "p.jsonl", lines)
    options = Options(metrics=("rouge_l",), by=("sex",))
    table = evaluate_file(path, options)["subgroups"]["sex"]
    assert {value: group["n"] for value, group in table["groups"].items()} == {"F": 30, "M": 30}
    assert table["groups"]["F"]["scores"]["rouge_l"]["value"] == 1.0
    gap = table["gaps"]["rouge_l"]
    assert (gap["highest"], gap["lowest"]) == ("F", "M")
    assert gap["value"] == pytest.approx(1 - table["groups"]["M"]["scores"]["rouge_l"]["value"])
    facts = tmp_path / "facts.csv"
    facts.write_text("study_id,age\n" + "".join(f"s{i},{30 + i}\n" for i in range(60)))
    ages = evaluate_file(path, Options(metrics=("rouge_l",), by=("age",), facts=facts))["subgroups"]["age"]
    assert list(ages["groups"]) == ["40 to 64", "65 and over"]
    assert ages["too_small"] == {"18 to 39": 10}
    with pytest.raises(UserError, match=r"--by race: no study has it; the file knows projection|sex"):
        evaluate_file(path, Options(by=("race",)))


def test_train_reports_make_baselines(tmp_path: Path) -> None:
    train = tmp_path / "train.txt"
    train.write_text("Clear lungs.\nClear lungs.\nLarge left pleural effusion.\n")
    options = Options(train_reports=train, metrics=("rouge_l",))
    pair = b"edema\nclear\n", b"left pleural effusion .\nclear lungs .\n"
    scores = text_scores(tmp_path, *pair, options)
    assert set(scores["controls"]) == {"all_normal", "most_frequent", "random_train", "oracle_neighbour"}
    assert scores["controls"]["most_frequent"]["rouge_l"]["value"] < 0.8
    assert scores["controls"]["oracle_neighbour"]["rouge_l"]["value"] > 0.9
    assert text_scores(tmp_path, *pair, Options(baselines=False))["controls"] == {}
    train.write_text("...\n")
    with pytest.raises(UserError, match=r"--train-reports: no report in .* has a word"):
        text_scores(tmp_path, *pair, options)


def test_python_scores_two_lists_of_texts() -> None:
    row = score(["a b c", "d"], ["a b c", "e"], metrics=["rouge_l"], protocol="raw")
    assert row["rouge_l"]["value"] == 0.5
    assert row["rouge_l"]["ci95"] == [0.0, 1.0]
    same_patient = score(["a b", "d"], ["a b", "e"], metrics=["rouge_l"], protocol="raw", patients=["p", "p"])
    assert same_patient["rouge_l"]["ci95"] == [0.5, 0.5]
    for bad in ({"hypotheses": ["a"], "references": []}, {"hypotheses": [], "references": []}):
        with pytest.raises(UserError, match="give one for each"):
            score(**bad)
    for missing in (None, float("nan"), 3):
        with pytest.raises(UserError, match=r"reference 1 is (None|nan|3) and not a text"):
            score(["a", "b"], ["a", missing])
    with pytest.raises(UserError, match="1 patients for 2 studies"):
        score(["a", "b"], ["a", "b"], patients=["p"])


def test_scoring_imports_nothing_heavy(tmp_path: Path) -> None:
    """The whole default set of metrics, baselines included, in a fresh Python."""
    pair = text_pair(tmp_path, b"no edema\nclear\n", b"no edema\nclear lungs\n")
    code = (
        "import sys; from pathlib import Path; from cxreport.metrics.evaluate import evaluate_texts\n"
        "evaluate_texts(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "heavy = {'torch', 'transformers', 'datasets', 'pandas', 'scipy', 'matplotlib'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, pair)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"

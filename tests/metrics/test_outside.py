"""Files that other programs wrote: ReXrank submissions, CSV tables, facts about patients."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxreport.errors import UserError
from cxreport.metrics.evaluate import Options, evaluate_file
from cxreport.metrics.outside import add_facts, read_any, read_rexrank, read_table
from cxreport.metrics.protocols import NAMED, protocol_of

FINDINGS = protocol_of("findings.full.clean")


def study(**changes: Any) -> dict[str, Any]:
    return {
        "image_path": ["a.png"],
        "frontal_lateral": ["Frontal", "Lateral"],
        "context": "Age:50-60.Gender:M.Indication: cough. Comparison: none.",
        "section_findings": "Lungs are clear.",
        "section_impression": "Normal chest.",
        "subject_id": 7,
        "model_prediction": "Findings: Lungs clear. Impression: No disease.",
    } | changes


def write(path: Path, tree: Any) -> Path:
    path.write_text(json.dumps(tree), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("protocol", "draft", "reference"),
    [
        ("findings.full.clean", "Lungs clear.", "Lungs are clear."),
        ("impression.full.clean", "No disease.", "Normal chest."),
        ("both.full.clean", "Lungs clear. No disease.", "Lungs are clear. Normal chest."),
        (
            "rexrank-both",
            "Findings: Lungs clear. Impression: No disease.",
            "Findings: Lungs are clear. Impression: Normal chest.",
        ),
    ],
)
def test_a_protocol_takes_its_section(tmp_path: Path, protocol: str, draft: str, reference: str) -> None:
    path = write(tmp_path / "s.json", {"s1": study()})
    read = read_any(path, protocol_of(protocol)).studies[0]
    assert (read.study_id, read.hypothesis, read.reference) == ("s1", draft, reference)


def test_a_draft_without_headings_is_the_section(tmp_path: Path) -> None:
    path = write(tmp_path / "s.json", {"s1": study(model_prediction="All clear.")})
    for protocol in (FINDINGS, protocol_of("impression.full.clean"), NAMED["rexrank-both"]):
        assert read_rexrank(path, protocol).studies[0].hypothesis == "All clear."


def test_nan_and_null_are_missing_and_counted(tmp_path: Path) -> None:
    """Bare NaN is no strict JSON but stands in ReXrank's own files."""
    tree = {
        "a": study(),
        "b": study(section_findings=float("nan")),
        "c": study(model_prediction=None),
        "d": study(model_prediction=float("nan")),
        "e": study(section_findings=None, model_prediction=None),
    }
    path = write(tmp_path / "s.json", tree)
    assert "NaN" in path.read_text()
    scores = evaluate_file(path, Options(metrics=("rouge_l",)))
    assert scores["n"] == 3
    assert scores["excluded"] == {"empty reference": ["b", "e"]}
    assert scores["missing_drafts"] == ["c", "d"]
    alone = evaluate_file(write(tmp_path / "a.json", {"a": study()}), Options(metrics=("rouge_l",)))
    assert scores["scores"]["rouge_l"]["value"] == pytest.approx(alone["scores"]["rouge_l"]["value"] / 3)
    assert any(note.startswith("2 studies without a draft were scored as empty") for note in scores["notes"])


def test_facts_of_a_submission(tmp_path: Path) -> None:
    facts = read_rexrank(write(tmp_path / "s.json", {"a": study(ap_pa="AP")}), FINDINGS).studies[0]
    assert facts.patient_id == "7"
    assert facts.facts == {"age": "50-60", "sex": "M", "view": "ap", "projection": "frontal+lateral"}
    own = study(age=61, sex="Female", race=None, context=float("nan"), frontal_lateral=None, subject_id=None)
    record = read_rexrank(write(tmp_path / "t.json", {"a": own}), FINDINGS).studies[0]
    assert (record.facts, record.patient_id) == ({"age": "61", "sex": "Female"}, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{oops", "is not JSON"),
        ("[" * 100_000, "holds a number too long or lists too deep"),
        ('{"a": ' + "1" * 5000 + "}", "holds a number too long"),
        ("[]", "one JSON object that maps every study id"),
        ('{"a": 3}', "one JSON object that maps every study id"),
        ('{"a": {"section_findings": "x"}}', "no model_prediction in any of its 1 studies"),
        ('{"a": {"model_prediction": 3}}', "model_prediction must be text, NaN or null, not 3"),
        ('{"a": {"model_prediction": "x", "section_findings": ["y"]}}', "section_findings must be text"),
        ('{"a": {"model_prediction": "x"}, "a": {"model_prediction": "y"}}', "'a' stands twice"),
        ('{"a": {"model_prediction": "\\ud800"}}', "half of a character"),
        ('{"\\uDFFF": {"model_prediction": "x"}}', "half of a character"),
    ],
)
def test_bad_submissions_are_told(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "s.json"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_rexrank(path, FINDINGS)
    assert "\n" not in str(caught.value)


def table(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def test_a_table_of_drafts(tmp_path: Path) -> None:
    path = table(
        tmp_path / "t.csv",
        '\ufeffid,hypothesis,reference,patient_id,sex\r\na,"clear, ""both""\nlungs",clear lungs,p1,F\r\n'
        "b,,edema,,M\r\n\r\n",
    )
    first, second = read_table(path).studies
    assert (first.study_id, first.hypothesis, first.patient_id) == ("a", 'clear, "both"\nlungs', "p1")
    assert first.facts == {"sex": "F"}
    assert (second.hypothesis, second.reference, second.patient_id) == (None, "edema", None)
    scores = evaluate_file(path, Options(metrics=("rouge_l",)))
    assert (scores["n"], scores["missing_drafts"], scores["patients"]) == (2, ["b"], 2)


def test_two_columns_are_enough(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", "hypothesis,reference\nclear,clear\nedema,\n")
    assert [study.study_id for study in read_table(path).studies] == ["2", "3"]
    assert evaluate_file(path, Options(metrics=("rouge_l",)))["excluded"] == {"empty reference": ["3"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no column 'hypothesis'"),
        (
            "draft,reference\na,b\n",
            "has no column 'hypothesis'; its first line must name .* draft, reference",
        ),
        ("hypothesis,reference,reference\na,b,c\n", "names a column twice"),
        ("hypothesis,reference\n", "has no rows"),
        ("hypothesis,reference\na\n", "line 2 has 1 cells but the header 2"),
        ("hypothesis,reference\na,nan\n", "line 2: the reference reads 'nan'"),
        ("hypothesis,reference\nNULL,b\n", "line 2: the hypothesis reads 'NULL'"),
        ("id,hypothesis,reference\n1,a,b\n1,c,d\n", "line 3: study '1' stands already in line 2"),
        ('hypothesis,reference\n"a,b\n', "is no CSV"),
    ],
)
def test_bad_tables_are_told(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_table(table(tmp_path / "t.csv", text))


def test_facts_are_joined_by_study(tmp_path: Path) -> None:
    drafts = read_table(table(tmp_path / "t.csv", "study_id,hypothesis,reference\nb,x,y\na,x,y\n"))
    facts = table(tmp_path / "f.csv", "study_id,sex,patient_id\na,F,p1\nb,M,p2\nc,F,p3\n")
    joined = add_facts(drafts, facts).studies
    assert [(s.study_id, s.facts, s.patient_id) for s in joined] == [
        ("b", {"sex": "M"}, "p2"),
        ("a", {"sex": "F"}, "p1"),
    ]
    with pytest.raises(UserError, match="has no row for 1 of 2 studies, the first of them 'b'"):
        add_facts(drafts, table(tmp_path / "g.csv", "study_id,sex\na,F\n"))
    with pytest.raises(UserError, match="stands already in line 2"):
        add_facts(drafts, table(tmp_path / "h.csv", "study_id,sex\na,F\na,M\n"))


GOOD = {
    ".jsonl": b'{"study_id": "a", "hypothesis": "clear", "reference": "clear", "facts": {"sex": "F"}}\n',
    ".json": b'{"a": {"model_prediction": "Findings: x", "section_findings": "y", "age": 3, "ap_pa": NaN}}',
    ".csv": b'study_id,hypothesis,reference,sex\n1,"a, b",c,F\n',
}
PIECES = (b'"', b"\x00", b"\xff", b"\n", b"\r", b",", b"{", b"[", b"NaN", b"null", b"1e999", b"\\ud800", b"-")


@given(
    ending=st.sampled_from(sorted(GOOD)),
    place=st.integers(0, 90),
    cut=st.integers(0, 6),
    pieces=st.lists(st.sampled_from(PIECES), max_size=3),
)
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_read_or_told(
    tmp_path: Path, ending: str, place: int, cut: int, pieces: list[bytes]
) -> None:
    good = GOOD[ending]
    path = tmp_path / f"damaged{ending}"
    path.write_bytes(good[:place] + b"".join(pieces) + good[place + cut :])
    try:
        scores = evaluate_file(path, Options(metrics=("rouge_l",), by=("sex",)))
    except UserError as error:
        sentence = str(error)
        assert sentence.endswith("."), sentence
    else:
        json.dumps(scores, allow_nan=False, ensure_ascii=False).encode("utf-8")

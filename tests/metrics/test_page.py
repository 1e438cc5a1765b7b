"""The page of studies: which stand on it, what is marked, and that no text becomes markup."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxreport import DISCLAIMER
from cxreport.metrics.evaluate import Evaluation, Options, evaluate_texts
from cxreport.metrics.page import pieces, ranked_studies, study_view, write_study_page
from cxreport.metrics.per_sample import sample_rows


def evaluation(folder: Path, drafts: list[str], references: list[str], options: Options) -> Evaluation:
    for name, texts in (("h.txt", drafts), ("r.txt", references)):
        (folder / name).write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return evaluate_texts(folder / "h.txt", folder / "r.txt", options)


RAW = Options(protocol="raw", baselines=False, metrics=("rouge_l", "bleu", "chexpert.rules"))


def test_worst_median_and_best_studies_are_chosen(tmp_path: Path) -> None:
    references = ["a b c d e f g h i j"] * 10
    drafts = ["a b c d e f g h i j"[: 2 * number + 1] for number in range(10)]
    found = evaluation(tmp_path, drafts, references, Options(protocol="raw", metrics=("rouge_l",)))
    ranking, groups = ranked_studies(found, shown=2)
    assert ranking == "the number of findings in dispute, then rouge_l"
    assert groups == [("Worst", [0, 1]), ("Median", [4, 5]), ("Best", [9, 8])]


@pytest.mark.parametrize(
    ("count", "sizes"), [(1, [1]), (2, [1, 1]), (3, [1, 1, 1]), (4, [2, 2]), (40, [5, 5, 5])]
)
def test_no_study_stands_twice(tmp_path: Path, count: int, sizes: list[int]) -> None:
    texts = [f"word{number} clear" for number in range(count)]
    found = evaluation(
        tmp_path, texts, ["word1 clear"] * count, Options(protocol="raw", metrics=("rouge_l",))
    )
    _, groups = ranked_studies(found)
    places = [place for _, group in groups for place in group]
    assert len(places) == len(set(places)) == sum(sizes)
    assert [len(group) for _, group in groups] == sizes


def test_findings_in_dispute_count_before_words(tmp_path: Path) -> None:
    references = ["edema .", "clear lungs .", "left effusion . cardiomegaly ."]
    drafts = ["pulmonary edema is there .", "cardiomegaly .", "left effusion . heart size normal ."]
    for metrics in (("rouge_l",), ("unique_ratio",)):
        found = evaluation(tmp_path, drafts, references, Options(protocol="raw", metrics=metrics))
        ranking, groups = ranked_studies(found, shown=1)
        assert ranking.endswith("rouge_l") == (metrics == ("rouge_l",))
        assert groups == [("Worst", [1]), ("Median", [2]), ("Best", [0])]


def test_findings_are_marked_where_they_stand(tmp_path: Path) -> None:
    reference = "small left pleural effusion . no edema . no pneumothorax ."
    draft = "no pleural effusion . cardiomegaly . no edema ."
    view = study_view(evaluation(tmp_path, [draft], [reference], RAW), 0)
    assert view.marks == [("Cardiomegaly", "invented"), ("Pleural Effusion", "missed")]
    for text, parts in ((reference, view.reference), (draft, view.draft)):
        assert "".join(piece.text for piece in parts) == text
    marked = {piece.label: piece for piece in view.draft if piece.label}
    assert {label for label, piece in marked.items() if piece.differs} == {"Cardiomegaly", "Pleural Effusion"}
    assert marked["Pleural Effusion"].status == "negative"
    assert not marked["Edema"].differs
    assert dict(view.scores).keys() == {"bleu1", "rouge_l"}


def test_mentions_that_overlap_are_shown_once() -> None:
    from cxreport.metrics.labeler.labels import Mention

    text = "left effusion and edema"
    mentions = [
        Mention("Edema", "positive", 18, 23, "edema"),
        Mention("Pleural Effusion", "positive", 0, 13, "left effusion"),
        Mention("Pleural Other", "positive", 5, 20, "effusion and ed"),
    ]
    parts = pieces(text, mentions, {"Edema"})
    assert [(piece.text, piece.label, piece.differs) for piece in parts] == [
        ("left effusion", "Pleural Effusion", False),
        (" and ", None, False),
        ("edema", "Edema", True),
    ]


def test_text_of_a_report_cannot_become_markup(tmp_path: Path) -> None:
    attack = "<script>alert(1)</script> edema & 'x' \"y\""
    found = evaluation(tmp_path, [attack, "clear"], ["edema", attack], RAW)
    write_study_page(found, tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "http" not in html.replace("http-equiv", "")


def test_the_page_has_the_tables_and_the_protocol(tmp_path: Path) -> None:
    found = evaluation(tmp_path, ["no edema ."] * 3, ["no edema ."] * 3, RAW)
    write_study_page(found, tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "raw, n = 3" in html
    assert "1.000 [1.000, 1.000]" in html
    assert "percentile bootstrap over studies" in html
    assert DISCLAIMER in html


def test_one_row_per_pair_with_the_scores_of_that_pair(tmp_path: Path) -> None:
    found = evaluation(tmp_path, ["edema seen", ""], ["edema seen", "clear lungs"], RAW)
    rows = list(sample_rows(found))
    assert [row["study_id"] for row in rows] == ["1", "2"]
    assert rows[0]["rouge_l"] == 1.0
    assert rows[0]["chexpert14.rules.example.uncertain0.f1"] == 1.0
    assert rows[1]["rouge_l"] == rows[1]["bleu4"] == 0.0
    assert not [name for name in rows[0] if ".macro." in name or ".edema." in name]

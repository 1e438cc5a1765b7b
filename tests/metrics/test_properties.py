"""What every score must do, whatever the texts."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxreport.metrics.evaluate import Options, evaluate_texts, score
from cxreport.metrics.per_sample import sample_rows

WORDS = ("edema", "no", "pleural", "effusion", ".", "left", "clear", "lungs", "the", "heart", "is", "large")
REPORT = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)
PAIRS = st.lists(st.tuples(REPORT, REPORT), min_size=1, max_size=6)
METRICS = ("bleu", "rouge_l", "cider", "length_ratio", "chexpert.rules", "diversity")
FEW = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])


def values(
    pairs: list[tuple[str, str]], metrics: tuple[str, ...] = METRICS, protocol: str = "raw"
) -> dict[str, float]:
    scores = score([p[0] for p in pairs], [p[1] for p in pairs], metrics=metrics, protocol=protocol)
    return {name: row["value"] for name, row in scores.items()}


@given(PAIRS, st.randoms(use_true_random=False))
@FEW
def test_the_order_of_studies_changes_nothing(pairs: list[tuple[str, str]], shuffler: random.Random) -> None:
    shuffled = list(pairs)
    shuffler.shuffle(shuffled)
    assert values(shuffled) == pytest.approx(values(pairs))


@given(st.lists(REPORT.filter(str.strip), min_size=2, max_size=6, unique=True))
@FEW
def test_identical_texts_score_the_maximum(reports: list[str]) -> None:
    found = values([(text, text) for text in reports])
    longest = max(len(text.split()) for text in reports)
    for order in range(1, min(longest, 4) + 1):
        assert found[f"bleu{order}"] == pytest.approx(1.0, abs=1e-6)
    assert found["rouge_l"] == pytest.approx(1.0)
    assert found["length_ratio"] == found["vocabulary_coverage"] == 1.0
    for name, value in found.items():
        if name.startswith("chexpert14.rules.macro_present.uncertain0."):
            assert value in (0.0, 1.0)  # 0 where no report has a label


@given(pairs=PAIRS, added=st.tuples(REPORT, REPORT))
@FEW
def test_another_study_leaves_the_scores_of_the_others_alone(
    pairs: list[tuple[str, str]], added: tuple[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """All but CIDEr, whose document frequencies come from all references."""
    folder = tmp_path_factory.mktemp("pairs")

    def rows(texts: list[tuple[str, str]]) -> list[dict[str, object]]:
        for place, name in enumerate(("h.txt", "r.txt")):
            (folder / name).write_text("".join(pair[place] + "\n" for pair in texts))
        options = Options(protocol="raw", metrics=METRICS, baselines=False)
        found = list(sample_rows(evaluate_texts(folder / "h.txt", folder / "r.txt", options)))
        kept = (
            "study_id",
            "bleu1",
            "bleu2",
            "bleu3",
            "bleu4",
            "rouge_l",
            "length_ratio",
            "repeated_sentences",
        )
        return [{name: row[name] for name in row if name in kept or "chexpert" in name} for row in found]

    assert rows([*pairs, added])[:-1] == rows(pairs)


@given(st.lists(st.tuples(st.text(max_size=40), st.text(max_size=40)), min_size=1, max_size=4))
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_any_unicode_is_scored(pairs: list[tuple[str, str]]) -> None:
    for protocol in ("raw", "findings.full.clean"):
        found = score([p[0] for p in pairs], [p[1] for p in pairs], metrics=METRICS, protocol=protocol)
        json.dumps(found, allow_nan=False)
        for name, row in found.items():
            if name.startswith(("bleu", "rouge", "chexpert")) and not name.endswith("positives"):
                assert -1e-9 <= row["value"] <= 1 + 1e-6, name


def test_emoji_and_chinese_are_words_like_others() -> None:
    pairs = [("🫁 clear 👍🏽", "🫁 clear 👍🏽"), ("心影增大 。", "心影正常 。")]
    found = values(pairs, ("rouge_l", "bleu1"))
    assert found["rouge_l"] == pytest.approx(0.75)


def test_a_report_of_ten_thousand_words_is_scored() -> None:
    long = " ".join(f"word{number % 997}" for number in range(10_000))
    found = values([(long, long), ("clear lungs .", "clear lungs .")])
    assert found["rouge_l"] == pytest.approx(1.0)
    assert found["mean_words"] == 10_003 / 2


def test_one_study_has_no_cider_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("clear lungs are seen\n")
    found = evaluate_texts(tmp_path / "t.txt", tmp_path / "t.txt", Options(protocol="raw")).scores
    assert found["scores"]["cider"]["value"] == 0.0
    assert found["scores"]["bleu4"]["value"] == pytest.approx(1.0)
    assert any("CIDEr is 0 by definition" in note for note in found["notes"])


@given(PAIRS)
@FEW
def test_every_interval_holds_two_ordered_numbers(pairs: list[tuple[str, str]]) -> None:
    for row in score([p[0] for p in pairs], [p[1] for p in pairs], metrics=METRICS, protocol="raw").values():
        if row["ci95"] is not None:
            low, high = row["ci95"]
            assert low <= high

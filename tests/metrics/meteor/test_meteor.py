"""METEOR without Java against the published program's numbers, and what any METEOR must do."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxreport.metrics.meteor import match_statistics, meteor, meteor_tally, score_from_statistics
from cxreport.metrics.meteor.lexicon import Lexicon

SECTIONS = ("whitespace", "ptb", "ptb_raw", "single_pair")
REPORT = "the heart is normal in size . the lungs are clear . no pleural effusion or pneumothorax ."
OTHER = "stable cardiomegaly . small left effusion . no pneumothorax is seen ."


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, Any]:
    return json.loads((shared / "golden" / "nlg_metrics.json").read_text(encoding="utf-8"))


def published(section: dict[str, Any]) -> np.ndarray:
    return np.array([[float(number) for number in row.split()] for row in section["meteor_match_statistics"]])


@pytest.mark.parametrize("name", [*SECTIONS, "several_references"])
def test_the_formula_on_published_statistics(golden: dict[str, Any], name: str) -> None:
    statistics = published(golden[name])
    scores = golden[name]["per_sample"]["METEOR"]
    np.testing.assert_allclose(score_from_statistics(statistics)[:, 0], scores, rtol=0, atol=1e-15)
    tally = meteor_tally(statistics)
    np.testing.assert_allclose(tally.per_sample()[:, 0], scores, rtol=0, atol=1e-15)
    assert tally.values()[0] == pytest.approx(golden[name]["corpus"]["METEOR"], abs=1e-15)


@pytest.mark.parametrize("name", SECTIONS)
def test_the_matcher_counts_what_the_program_counted(
    golden: dict[str, Any], name: str, real_lexicon: Lexicon
) -> None:
    section = golden[name]
    pairs = section.get("tokenized") or section.get("pairs") or golden["pairs"]
    own = match_statistics([(pair["hyp"], pair["ref"]) for pair in pairs], real_lexicon)
    np.testing.assert_array_equal(own, published(section))


def test_the_best_of_several_references_counts(golden: dict[str, Any], real_lexicon: Lexicon) -> None:
    section = golden["several_references"]
    tally = meteor([pair["hyp"] for pair in section["pairs"]], [pair["refs"] for pair in section["pairs"]])
    np.testing.assert_allclose(tally.per_sample()[:, 0], section["per_sample"]["METEOR"], rtol=0, atol=1e-15)
    assert tally.values()[0] == pytest.approx(section["corpus"]["METEOR"], abs=1e-15)


def test_by_hand(real_lexicon: Lexicon) -> None:
    # "no" is a function word and matches exactly, "effusion" a content word that shares a stem: weight 0.6.
    precision = (0.25 + 0.75 * 0.6) / (0.25 + 0.75 * 2)
    tally = meteor(["no effusions left"], ["no effusion seen"])
    assert tally.values()[0] == pytest.approx(precision * (1 - 0.6 * (1 / 2) ** 0.2))
    # Where every word is matched and in one chunk there is no fragmentation, whatever the matcher.
    assert meteor(["no effusions"], ["no effusion"]).values()[0] == pytest.approx(0.25 + 0.75 * 0.6)


def test_equal_texts_have_the_maximum(real_lexicon: Lexicon) -> None:
    texts = [REPORT, "clear", "no no no", "é 😀 中 .", OTHER]
    tally = meteor(texts, texts)
    assert tally.per_sample()[:, 0].tolist() == [1.0] * 5
    assert tally.values()[0] == 1.0
    assert meteor([REPORT.upper()], [REPORT]).values()[0] == 1.0


def test_the_score_lies_between_nothing_and_the_maximum(real_lexicon: Lexicon) -> None:
    drafts = [REPORT, OTHER, "", "", "😀", "clear"]
    tally = meteor(drafts, [OTHER, REPORT, REPORT, "", "clear", ""])
    scores = tally.per_sample()[:, 0]
    assert scores[2:].tolist() == [0.0] * 4
    assert np.all((scores[:2] > 0) & (scores[:2] < 1))
    assert np.isfinite(tally.values()[0])
    assert meteor([""], [""]).values()[0] == 0.0


def test_order_and_company_change_nothing_of_a_sample(real_lexicon: Lexicon) -> None:
    drafts, references = [REPORT, OTHER, "the lungs are clear"], [OTHER, REPORT, REPORT]
    tally = meteor(drafts, references)
    backwards = meteor(drafts[::-1], references[::-1])
    np.testing.assert_array_equal(backwards.per_sample()[::-1], tally.per_sample())
    np.testing.assert_allclose(backwards.values(), tally.values(), rtol=0, atol=1e-15)
    more = meteor([*drafts, "new words"], [*references, REPORT])
    np.testing.assert_array_equal(more.per_sample()[:3], tally.per_sample())
    for place in range(3):
        alone = meteor([drafts[place]], [references[place]])
        np.testing.assert_array_equal(alone.per_sample()[0], tally.per_sample()[place])


def test_the_corpus_score_comes_from_sums(real_lexicon: Lexicon) -> None:
    tally = meteor([REPORT, "clear"], [OTHER, "clear"])
    scores = tally.per_sample()[:, 0]
    assert scores[1] == 1.0
    assert tally.values()[0] != pytest.approx(scores.mean())
    # The complete pair adds words but no chunk.
    alone = meteor([REPORT], [OTHER])
    np.testing.assert_array_equal(tally.statistics[:, 20], [alone.statistics[0, 20], 0])


def test_a_long_report_is_scored(real_lexicon: Lexicon) -> None:
    """10,000 words: the beam stays 40 wide, so time grows with the words and not with what they allow."""
    generator = random.Random(0)
    words = (REPORT + " " + OTHER).split()
    long = " ".join(generator.choices(words, k=10_000))
    tally = meteor([long, REPORT, long], [REPORT, long, long])
    scores = tally.per_sample()[:, 0]
    assert scores[2] == 1.0
    assert np.all(scores[:2] < 0.1)
    assert tally.statistics[0, :2].tolist() == tally.statistics[1, 1::-1].tolist()


def test_intervals_come_from_the_statistics(real_lexicon: Lexicon) -> None:
    tally = meteor([REPORT, OTHER, "clear lungs"] * 5, [OTHER, REPORT, REPORT] * 5)
    row = tally.scores(seed=1)["meteor"]
    assert row["ci95"][0] < row["value"] < row["ci95"][1]


def test_unequal_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="2 hypotheses but 1 references"):
        meteor(["a", "b"], ["a"])

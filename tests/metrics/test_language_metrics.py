"""BLEU, ROUGE-L and CIDEr-D against the published code's numbers and against hand computations."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxreport.metrics import LANGUAGE_METRICS, metric_function
from cxreport.metrics.bleu import bleu
from cxreport.metrics.cider import cider_d
from cxreport.metrics.ngrams import count_ngrams
from cxreport.metrics.rouge import common_subsequence_length, rouge_l

SECTIONS = ("whitespace", "ptb", "ptb_raw", "double_blanks", "several_references", "single_pair")
WITHOUT_RESOURCES = sorted(LANGUAGE_METRICS.keys() - {"meteor"})
TOLERANCES = {"Bleu": 1e-9, "ROUGE_L": 1e-9, "CIDEr": 1e-6}


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, Any]:
    return json.loads((shared / "golden" / "nlg_metrics.json").read_text(encoding="utf-8"))


def pairs_of(golden: dict[str, Any], section: str) -> tuple[list[str], list[Any]]:
    part = golden[section]
    pairs = part.get("tokenized") or part.get("pairs") or golden["pairs"]
    return [pair["hyp"] for pair in pairs], [pair.get("refs", pair.get("ref")) for pair in pairs]


@pytest.mark.parametrize("section", SECTIONS)
def test_equals_the_published_code(golden: dict[str, Any], section: str) -> None:
    hypotheses, references = pairs_of(golden, section)
    corpus, per_sample = {}, {}
    for metric, names in (
        (bleu, [f"Bleu_{n}" for n in range(1, 5)]),
        (rouge_l, ["ROUGE_L"]),
        (cider_d, ["CIDEr"]),
    ):
        tally = metric(hypotheses, references)
        corpus.update(zip(names, tally.values(), strict=True))
        per_sample.update(zip(names, tally.per_sample().T, strict=True))
    for name, value in corpus.items():
        tolerance = TOLERANCES[name.split("_")[0] if name.startswith("Bleu") else name]
        assert value == pytest.approx(golden[section]["corpus"][name], abs=tolerance), name
        np.testing.assert_allclose(
            per_sample[name], golden[section]["per_sample"][name], rtol=0, atol=tolerance, err_msg=name
        )


def test_bleu_by_hand() -> None:
    # "the lungs are clear" against "the lungs appear clear": 3 of 4 words, 1 of 3 bigrams, no trigram.
    values = bleu(["the lungs are clear"], ["the lungs appear clear"]).values()
    assert values[0] == pytest.approx(3 / 4)
    assert values[1] == pytest.approx(math.sqrt(3 / 4 * 1 / 3))
    assert values[2] < 1e-5


def test_bleu_smooths_with_the_published_constants() -> None:
    assert bleu(["edema"], ["clear"]).values()[0] == pytest.approx(1e-15, rel=1e-6, abs=0)
    # Two words have no trigram: (1e-15 / 1e-9) ** (1 / 3) is what the published code makes of 0 / 0.
    assert bleu(["lungs clear"], ["lungs clear"]).values()[2] == pytest.approx(1e-2, rel=1e-6)


def test_bleu_sums_counts_before_dividing_and_punishes_short_drafts() -> None:
    # 2 of 2 and 0 of 2 words: precision 2/4; 4 draft words against 4 + 2 reference words.
    values = bleu(["heart normal", "edema seen"], ["heart normal in size", "no effusion"]).values()
    assert values[0] == pytest.approx(2 / 4 * math.exp(1 - 6 / 4))


def test_bleu_clips_by_the_best_reference_and_takes_the_closest_length() -> None:
    tally = bleu(["no no effusion"], [["no no", "effusion no seen today ."]])
    assert tally.values()[0] == pytest.approx(1.0)  # "no" twice in the first, "effusion" in the second
    assert tally.statistics[0, -1] == 2  # |3 - 2| = 1 is closer than |3 - 5|


def test_rouge_by_hand() -> None:
    # The longest common subsequence of "a b c d" and "a x c" is "a c".
    precision, recall, beta = 2 / 4, 2 / 3, 1.2
    expected = (1 + beta**2) * precision * recall / (recall + beta**2 * precision)
    assert rouge_l(["a b c d"], ["a x c"]).values()[0] == pytest.approx(expected)


def test_rouge_counts_an_empty_word_between_doubled_blanks() -> None:
    assert rouge_l(["a  b"], ["a b"]).values()[0] < 1.0
    assert bleu(["a  b c d"], ["a b c d"]).values()[3] == pytest.approx(1.0, abs=1e-8)


def test_cider_by_hand() -> None:
    # Two one-word samples, every idf log 2; only the first unigram matches: 10 * (1 + 0 + 0 + 0) / 4.
    np.testing.assert_allclose(
        cider_d(["clear", "edema"], ["clear", "nodule"]).per_sample()[:, 0], [2.5, 0.0]
    )


def test_cider_ignores_words_of_every_reference_and_fades_with_length() -> None:
    references = ["clear lungs .", "enlarged heart ."]
    assert cider_d([".", "."], references).values()[0] == 0.0
    same = cider_d(["clear lungs .", "x"], references).per_sample()[0, 0]
    # One word more: the vectors gain an unseen n-gram each, and the penalty is exp(-1 / 72).
    longer = cider_d(["clear lungs . stable", "x"], references).per_sample()[0, 0]
    cosines = 2 / math.sqrt(2 * 3) + 2 / math.sqrt(2 * 3) + 1 / math.sqrt(1 * 2) + 0
    assert longer == pytest.approx(10 * cosines / 4 * math.exp(-1 / 72))
    assert same == pytest.approx(7.5)  # three of the four orders exist in three words


def test_one_sample_alone_has_no_cider() -> None:
    assert cider_d(["heart normal"], ["heart normal"]).values()[0] == 0.0


def test_perfect_and_empty_drafts() -> None:
    references = ["the heart is normal .", "left effusion is seen now ."]
    assert bleu(references, references).values() == pytest.approx([1.0] * 4, abs=1e-8)
    assert rouge_l(references, references).values()[0] == pytest.approx(1.0)
    assert cider_d(references, references).values()[0] == pytest.approx(10.0)
    for metric in (bleu, rouge_l, cider_d):
        assert metric(["", ""], references).values() == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("name", WITHOUT_RESOURCES)
def test_unequal_counts_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="2 hypotheses but 1 references"):
        metric_function(name)(["a", "b"], ["a"])


def test_a_sample_without_a_reference_is_refused() -> None:
    with pytest.raises(ValueError, match="no reference"):
        bleu(["a"], [[]])


words = st.lists(st.sampled_from("abcd"), max_size=12)


@settings(max_examples=100, deadline=None)
@given(words, words)
def test_common_subsequence_equals_the_textbook_table(first: list[str], second: list[str]) -> None:
    table = np.zeros((len(first) + 1, len(second) + 1), dtype=int)
    for i, one in enumerate(first):
        for j, two in enumerate(second):
            table[i + 1, j + 1] = table[i, j] + 1 if one == two else max(table[i, j + 1], table[i + 1, j])
    assert common_subsequence_length(first, second) == table[-1, -1]


texts = st.lists(
    st.lists(st.sampled_from(["a", "b", "c", "."]), min_size=1, max_size=8).map(" ".join), min_size=1
)


@settings(max_examples=50, deadline=None)
@given(texts, st.randoms(use_true_random=False))
def test_scores_do_not_depend_on_the_order_of_the_samples(references: list[str], random: Any) -> None:
    hypotheses = [random.choice(references) for _ in references]
    order = list(range(len(references)))
    random.shuffle(order)
    for name in WITHOUT_RESOURCES:
        metric = metric_function(name)
        shuffled = metric([hypotheses[i] for i in order], [references[i] for i in order])
        np.testing.assert_allclose(shuffled.values(), metric(hypotheses, references).values(), atol=1e-9)


odd = st.lists(
    st.tuples(*[st.text(alphabet="ab é中😀\u00a0.\n", max_size=12)] * 2), min_size=1, max_size=5
).map(lambda pairs: tuple(map(list, zip(*pairs, strict=True))))


@settings(max_examples=100, deadline=None)
@given(odd)
def test_odd_texts_have_finite_scores(texts: tuple[list[str], list[str]]) -> None:
    """Empty texts, blanks of every kind, emoji, letters of other scripts; corpora of one sample too."""
    for name in ("bleu", "rouge_l", "cider"):
        tally = metric_function(name)(*texts)
        assert tally.statistics.shape[0] == len(texts[0])
        assert np.all(np.isfinite(tally.values())), name
        assert np.all(np.isfinite(tally.per_sample())), name


def test_another_sample_changes_only_what_it_must() -> None:
    drafts, references = ["the heart is normal", "clear"], ["the heart is large", "clear lungs"]
    for metric in (bleu, rouge_l):
        fewer, more = metric(drafts, references), metric([*drafts, "new"], [*references, "words here"])
        np.testing.assert_array_equal(more.per_sample()[:2], fewer.per_sample())
    # CIDEr's document frequencies come from all references: what shares n-grams with the new sample changes.
    fewer, more = cider_d(drafts, references), cider_d([*drafts, "new"], [*references, "the heart beats"])
    assert more.per_sample()[0, 0] != pytest.approx(fewer.per_sample()[0, 0], abs=1e-3)
    assert more.per_sample()[1, 0] == pytest.approx(fewer.per_sample()[1, 0], abs=1e-12)


def test_a_long_report_is_scored() -> None:
    long, short = "no pleural effusion . " * 2_500, "no pleural effusion or edema ."
    for metric, largest in ((bleu, 1.0), (rouge_l, 1.0), (cider_d, 10.0)):
        scores = metric([long, short, long, "x"], [short, long, long, "y"]).per_sample()[:, 0]
        assert scores[2] == pytest.approx(largest, abs=1e-6)
        assert np.all((scores[:2] >= 0) & (scores[:2] < largest / 2))


@settings(max_examples=50, deadline=None)
@given(texts, st.integers(0, 3))
def test_counted_ngrams_equal_counting_by_hand(texts: list[str], order: int) -> None:
    lengths, counts = count_ngrams(texts)
    assert lengths.tolist() == [len(text.split()) for text in texts]
    for place, text in enumerate(texts):
        split = text.split()
        by_hand = Counter(tuple(split[i : i + order + 1]) for i in range(len(split) - order))
        own = counts[order].count[counts[order].text == place]
        assert sorted(own) == sorted(by_hand.values())

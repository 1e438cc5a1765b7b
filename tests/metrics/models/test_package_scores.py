"""RaTEScore and GREEN through stand-ins of their packages: order, blank texts, unread answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cxreport.metrics.models.green import green
from cxreport.metrics.models.ratescore import ratescore
from cxreport.metrics.unavailable import MetricUnavailable

DRAFTS = ["one two", "", "one", "one two three"]
TRUTHS = ["one two", "one", " ", "one two"]


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders that look like the weights of both metrics."""
    root = tmp_path / "models"
    for name in ("ratescore-ner", "ratescore-synonyms", "green"):
        (root / name).mkdir(parents=True)
        (root / name / "config.json").write_text("{}")
    monkeypatch.setenv("CXREPORT_METRIC_MODELS", str(root))
    return root


def test_ratescore_keeps_the_order_and_scores_blank_texts_zero(
    models: Path, package: Callable[[str, str], None]
) -> None:
    package(
        "RaTEScore",
        """
class RaTEScore:
    def __init__(self, bert_model, eval_model, batch_size, use_gpu):
        assert bert_model.endswith("ratescore-ner") and eval_model.endswith("ratescore-synonyms")

    def compute_score(self, candidates, references):
        print("noise")
        assert all(text.strip() for text in candidates + references)
        return [len(c.split()) / 10 for c in candidates]
""",
    )
    tally = ratescore(DRAFTS, TRUTHS)
    assert tally.per_sample()[:, 0] == pytest.approx([0.2, 0, 0, 0.3])
    assert tally.values() == pytest.approx([0.125])


def test_green_counts_answers_that_could_not_be_read(
    models: Path, package: Callable[[str, str], None]
) -> None:
    package(
        "radeval.metrics.green_score",
        """
class GREEN:
    def __init__(self, model_name, output_dir):
        assert model_name.endswith("green")

    def __call__(self, refs, hyps):
        assert refs == ["one two", "one two"]
        return 0.5, 0.1, [0.5, float("nan")], None
""",
    )
    tally = green(DRAFTS, TRUTHS)
    assert tally.names == ("green", "green_unread")
    assert tally.values() == pytest.approx([0.125, 0.25])


@pytest.mark.parametrize("metric", [ratescore, green])
def test_nothing_is_asked_for_blank_texts(models: Path, metric: Callable[..., object]) -> None:
    tally = metric(["", " "], ["one", "two"])
    assert tally.values()[0] == 0  # type: ignore[attr-defined]


def test_absent_weights_say_what_to_fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXREPORT_METRIC_MODELS", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(MetricUnavailable, match="GREEN-radllama2-7b"):
        green(["a"], ["a"])
    with pytest.raises(MetricUnavailable, match="RaTE-NER-Deberta"):
        ratescore(["a"], ["a"])

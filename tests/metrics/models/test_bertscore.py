"""BERTScore: the package on a tiny random model, and what is said where something is absent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cxreport.errors import UserError
from cxreport.metrics.models.bertscore import NAMES, bertscore
from cxreport.metrics.unavailable import MetricUnavailable


def test_equals_the_cosines_of_the_model_by_hand(tiny_bert: Path) -> None:
    pytest.importorskip("bert_score")
    import torch
    from transformers import AutoModel, AutoTokenizer

    with pytest.raises(UserError, match="does not say model_max_length"):
        bertscore(["heart"], ["heart"], model=tiny_bert, layer=1, rescaled=False)
    AutoTokenizer.from_pretrained(tiny_bert, model_max_length=32).save_pretrained(tiny_bert)
    drafts, references = ["no effusion is seen .", "heart normal"], ["left pleural effusion", "heart normal"]
    tally = bertscore(drafts, references, model=tiny_bert, layer=2, rescaled=False)
    tokenizer, model = AutoTokenizer.from_pretrained(tiny_bert), AutoModel.from_pretrained(tiny_bert)
    with torch.no_grad():
        draft, reference = (
            torch.nn.functional.normalize(
                model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0], dim=-1
            )
            for text in (drafts[0], references[0])
        )
    cosines = draft @ reference.T
    # [CLS] and [SEP] weigh nothing, but other tokens may be matched with them.
    precision, recall = (side.max(dim=1).values[1:-1].mean() for side in (cosines, cosines.T))
    assert tally.names == NAMES
    own = tally.per_sample()
    np.testing.assert_allclose(own[0, :2], [float(precision), float(recall)], atol=1e-5)
    np.testing.assert_allclose(own[0, 2], float(2 * precision * recall / (precision + recall)), atol=1e-5)
    np.testing.assert_allclose(own[1], 1.0, atol=1e-5)
    np.testing.assert_allclose(tally.values(), own.mean(axis=0))


def test_a_blank_text_scores_nothing(tiny_bert: Path) -> None:
    pytest.importorskip("bert_score")
    tally = bertscore(["", "heart"], ["heart", " "], model=tiny_bert, layer=1, rescaled=False)
    assert tally.per_sample().tolist() == [[0.0] * 3] * 2


def test_what_is_absent_is_named(tmp_path: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("bert_score")
    monkeypatch.setenv("CXREPORT_METRIC_MODELS", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MetricUnavailable, match="distilroberta-base are absent; download"):
        bertscore(["a"], ["a"])
    with pytest.raises(MetricUnavailable, match="There is no model in"):
        bertscore(["a"], ["a"], model=tmp_path / "nothing")
    with pytest.raises(UserError, match="no baseline for tiny"):
        bertscore(["a"], ["a"], model=tiny_bert.rename(tmp_path / "tiny"))
    with pytest.raises(UserError, match="no layer for tiny"):
        bertscore(["a"], ["a"], model=tmp_path / "tiny", rescaled=False)
    monkeypatch.setattr("cxreport.metrics.models.bertscore.find_spec", lambda name: None)
    with pytest.raises(MetricUnavailable, match=r"pip install .cxreport\[bertscore\]"):
        bertscore(["a"], ["a"])

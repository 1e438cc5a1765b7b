"""CheXbert on random weights in the published format, against the published package and text by text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from cxreport.errors import UserError
from cxreport.metrics.models.chexbert import (
    CheXbert,
    chexbert_matrix,
    published_chexbert,
    semantic_similarity,
)
from cxreport.metrics.unavailable import MetricUnavailable
from cxreport.study import LABELS

TEXTS = [
    "no pleural effusion is seen .",
    "large right effusion and opacity",
    "heart normal , no acute pneumothorax in the left lung " * 3,
    "small",
]


@pytest.fixture
def weights(tiny_bert: Path) -> Path:
    """``chexbert`` beside the BERT, with its tensors named as published."""
    folder = tiny_bert.parent / "chexbert"
    folder.mkdir()
    torch.manual_seed(1)
    tensors = {
        f"module.bert.{key}": value for key, value in load_file(tiny_bert / "model.safetensors").items()
    }
    for place in range(len(LABELS)):
        classes = 4 if place < 13 else 2
        tensors[f"module.linear_heads.{place}.weight"] = torch.randn(classes, 16)
        tensors[f"module.linear_heads.{place}.bias"] = torch.randn(classes)
    save_file(tensors, folder / "model.safetensors")
    (folder / "chexbert.pth").touch()
    return folder


def test_a_batch_equals_its_rows(tiny_bert: Path, weights: Path) -> None:
    model = CheXbert(weights, tiny_bert)
    together = model.labels(TEXTS)
    assert np.array_equal(together, np.concatenate([model.labels([text]) for text in TEXTS]))
    assert len({tuple(row) for row in together.tolist()}) > 1
    assert set(together[:, -1].tolist()) <= {0, 1}
    alone = np.concatenate([model.embeddings([text]) for text in TEXTS])
    assert model.embeddings(TEXTS) == pytest.approx(alone, abs=1e-5)


def test_classes_are_those_of_the_published_network(tiny_bert: Path, weights: Path) -> None:
    """f1chexbert's own module, fed as the package feeds it, one text at a time."""
    package = pytest.importorskip("f1chexbert.f1chexbert", reason="the package f1chexbert is not installed")
    from transformers import AutoTokenizer

    published = package.bert_labeler(pretrain_path=str(tiny_bert)).eval()
    state = load_file(weights / "model.safetensors")
    published.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
    tokenizer = AutoTokenizer.from_pretrained(str(tiny_bert))
    expected = []
    for text in TEXTS:
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        answers = published(ids, torch.ones(ids.shape))
        expected.append([int(answer.argmax(dim=1)) for answer in answers])
    assert CheXbert(weights, tiny_bert).labels(TEXTS).tolist() == expected


def test_the_published_file_gives_the_same(tiny_bert: Path, weights: Path) -> None:
    """``chexbert.pth`` as released: a dict with the state dict under ``model_state_dict``."""
    expected = CheXbert(weights, tiny_bert).labels(TEXTS).tolist()
    state = load_file(weights / "model.safetensors")
    (weights / "model.safetensors").unlink()
    torch.save({"epoch": 3, "model_state_dict": state}, weights / "chexbert.pth")
    assert CheXbert(weights, tiny_bert).labels(TEXTS).tolist() == expected


def test_a_blank_text_has_no_label(tiny_bert: Path, weights: Path) -> None:
    assert not CheXbert(weights, tiny_bert).labels(["", " \n"]).any()


def test_similarity_of_equal_texts_is_one(
    tiny_bert: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXREPORT_METRIC_MODELS", str(weights.parent))
    published_chexbert.cache_clear()
    others = TEXTS[1:] + TEXTS[:1]
    assert semantic_similarity(TEXTS, TEXTS) == pytest.approx(np.ones(len(TEXTS)), abs=1e-6)
    assert np.all(semantic_similarity(TEXTS, others) < 0.999)
    assert (
        chexbert_matrix([TEXTS[0], TEXTS[1], TEXTS[0]])[[0, 2]].tolist()[0]
        == chexbert_matrix(TEXTS[:1])[0].tolist()
    )
    published_chexbert.cache_clear()


def test_other_tensors_are_refused(tiny_bert: Path, weights: Path) -> None:
    state = load_file(weights / "model.safetensors")
    missing = {key: value for key, value in state.items() if "linear_heads.13" not in key}
    save_file(missing, weights / "model.safetensors")
    with pytest.raises(UserError, match=r"linear_heads\.0 to 13"):
        CheXbert(weights, tiny_bert)
    del state["module.bert.pooler.dense.weight"]
    save_file(state, weights / "model.safetensors")
    with pytest.raises(UserError, match=r"pooler\.dense\.weight"):
        CheXbert(weights, tiny_bert)


def test_absent_weights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXREPORT_METRIC_MODELS", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    published_chexbert.cache_clear()
    with pytest.raises(MetricUnavailable, match=r"chexbert\.pth .*StanfordAIMI/RRG_scorers"):
        chexbert_matrix(["no effusion"])

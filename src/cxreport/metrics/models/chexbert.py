"""CheXbert (Smit et al., EMNLP 2020): a BERT with 14 heads that reads the labels of a report.

The network is a BERT and 14 linear layers, so it is built here on ``transformers``: batched, with weights
read without running code. The package ``f1chexbert`` reads one report at a time and unpickles; the tests hold
both against each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cxreport.errors import UserError
from cxreport.metrics.clinical import label_tally
from cxreport.metrics.models.folders import model_folder
from cxreport.metrics.statistics import Tally
from cxreport.study import LABELS

if TYPE_CHECKING:
    from torch import Tensor

MAX_TOKENS = 512
BATCH = 32
CHECKPOINT = "chexbert.pth"


class CheXbert:
    """CheXbert from two folders: the labels and the embedding of reports.

    Args:
        weights: folder with ``chexbert.pth``, as published, or the same tensors as ``model.safetensors``.
        bert: folder of ``bert-base-uncased``: its configuration and vocabulary; its weights are not needed.

    Raises UserError when the tensors are not those of a CheXbert.
    """

    def __init__(self, weights: Path, bert: Path) -> None:
        import torch
        from transformers import AutoConfig, AutoModel, AutoTokenizer

        self._tokenizer: Any = AutoTokenizer.from_pretrained(str(bert), local_files_only=True)
        config = AutoConfig.from_pretrained(str(bert), local_files_only=True)
        tensors = _tensors(weights)
        heads = [_under(tensors, f"linear_heads.{place}.") for place in range(len(LABELS))]
        bert_weights = _under(tensors, "bert.")
        if not bert_weights or not all({"weight", "bias"} <= head.keys() for head in heads):
            raise UserError(f"{weights} holds no CheXbert: it needs bert.* and linear_heads.0 to 13.")
        self._bert: Any = AutoModel.from_config(config)
        bert_weights.pop("embeddings.position_ids", None)  # a table that newer transformers do not keep
        try:
            self._bert.load_state_dict(bert_weights)
        except RuntimeError as error:
            raise UserError(f"{weights} does not fit {bert}: {' '.join(str(error).split())[:200]}") from None
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._bert.to(self._device).eval()
        self._heads = [tuple(head[part].to(self._device) for part in ("weight", "bias")) for head in heads]

    def labels(self, texts: Sequence[str]) -> np.ndarray:
        """Classes (N, 14) int8 in the order of :data:`cxreport.study.LABELS`.

        The codes are those of :mod:`cxreport.metrics.clinical`; the head of No Finding knows the first two
        only. A blank text is absent throughout; the published code gives it whatever the heads answer to two
        special tokens.
        """
        classes = np.zeros((len(texts), len(LABELS)), dtype=np.int8)
        written = [place for place, text in enumerate(texts) if text.strip()]
        for start in range(0, len(written), BATCH):
            rows = written[start : start + BATCH]
            states = self._embed([texts[row] for row in rows])
            answers = [(states @ weight.T + bias).argmax(dim=1).cpu().numpy() for weight, bias in self._heads]
            classes[rows] = np.stack(answers, axis=1)
        return classes

    def embeddings(self, texts: Sequence[str]) -> np.ndarray:
        """States of the first token (N, D) float32."""
        blocks = [
            self._embed(list(texts[start : start + BATCH])).cpu().numpy()
            for start in range(0, len(texts), BATCH)
        ]
        return np.concatenate(blocks) if blocks else np.zeros((0, 0), dtype=np.float32)

    def _embed(self, texts: list[str]) -> Tensor:
        import torch

        plain = [" ".join(text.split()) for text in texts]
        with torch.inference_mode():
            batch = self._tokenizer(
                plain, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
            ).to(self._device)
            hidden = self._bert(
                input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
            ).last_hidden_state
        first: Tensor = hidden[:, 0]
        return first


@lru_cache(maxsize=1)
def published_chexbert() -> CheXbert:
    """CheXbert from the local folders; MetricUnavailable says what to fetch."""
    return CheXbert(model_folder("chexbert"), model_folder("bert-base-uncased"))


def chexbert_matrix(texts: Sequence[str]) -> np.ndarray:
    """Classes (N, 14) int8 of `texts` by the published CheXbert; equal texts are read once."""
    distinct = sorted(set(texts))
    rows = dict(zip(distinct, published_chexbert().labels(distinct), strict=True))
    return np.array([rows[text] for text in texts], dtype=np.int8).reshape(-1, len(LABELS))


def chexbert_scores(hypotheses: Sequence[str], references: Sequence[str]) -> Tally:
    """Scores of the labels that CheXbert reads, named as those of the rules; see :func:`label_tally`."""
    return label_tally(chexbert_matrix(hypotheses), chexbert_matrix(references), "chexbert")


def semantic_similarity(hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """Cosine (N,) of the CheXbert embeddings of every pair: SembScore (Endo et al., ML4H 2021)."""
    model = published_chexbert()
    drafts, truths = model.embeddings(hypotheses), model.embeddings(references)
    norms = np.linalg.norm(drafts, axis=1) * np.linalg.norm(truths, axis=1)
    products = np.einsum("nd,nd->n", drafts, truths)
    similarity: np.ndarray = np.divide(products, norms, out=np.zeros_like(products), where=norms > 0)
    return similarity


def _tensors(folder: Path) -> dict[str, Tensor]:
    """The published state dict without the prefix of its data-parallel wrapper."""
    from cxreport.weights.torch_file import read_weights_file

    safe = folder / "model.safetensors"
    tensors = read_weights_file(safe if safe.is_file() else folder / CHECKPOINT)
    if not safe.is_file():
        tensors = tensors.get("model_state_dict", {}) if isinstance(tensors, dict) else {}
    return {key.removeprefix("module."): value for key, value in tensors.items()}


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}

"""Tiny random models in the published formats, and stand-ins for packages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

WORDS = (
    "a b 1 2 no acute left right pleural effusion is seen heart normal small large opacity lung the of and in"
    " there . , pneumothorax"
)
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@pytest.fixture
def tiny_bert(tmp_path: Path) -> Path:
    """A random BERT of width 16 with a word vocabulary, as a folder."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path / "models" / "bert-base-uncased"
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join([*SPECIAL, *WORDS.split()]) + "\n")
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS.split()) + 5,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        initializer_range=0.5,
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """``package("radgraph", source)``: a module of that name for the process of a metric's package."""
    place = tmp_path / "packages"
    place.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(place))

    def make(name: str, source: str) -> None:
        path = place.joinpath(*name.split("."))
        path.mkdir(parents=True)
        (path / "__init__.py").write_text(source)
        for parent in path.relative_to(place).parents:
            (place / parent / "__init__.py").touch()

    return make

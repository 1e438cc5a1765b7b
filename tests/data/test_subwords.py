"""Byte-pair tokenizers: what goes in comes out, and special tokens are where they are said to be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cxreport.data.subwords import BEGIN, END, PAD, load_subwords, save_subwords, train_subwords
from cxreport.data.text import clean

TEXTS = ["the heart size is normal .", "the lungs are clear . no pleural effusion .", "no pneumothorax ."] * 3


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_subwords(TEXTS, 320, max_length=64)


@given(text=st.text())
def test_any_text_comes_back(tokenizer: Any, text: str) -> None:
    text = text.encode("utf-8", "replace").decode("utf-8")
    assume(not any(special in text for special in (BEGIN, END, PAD)))
    for given_text in (text, clean(text)):
        ids = tokenizer(given_text).input_ids
        assert ids[0] == tokenizer.bos_token_id
        assert tokenizer.decode(ids, skip_special_tokens=True) == given_text


def test_special_tokens_are_apart_and_padding_is_on_the_right(tokenizer: Any) -> None:
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (0, 1, 2)
    both = tokenizer(["no .", "the heart size is normal ."], padding=True)
    assert both.input_ids[0][-1] == 2
    assert both.attention_mask[0][-1] == 0
    assert sum(both.attention_mask[1]) == len(both.input_ids[1])
    ended = train_subwords(TEXTS, 320, max_length=64, ends=True)("no .").input_ids
    assert (ended[0], ended[-1]) == (0, 1)


def test_frequent_words_are_one_entry(tokenizer: Any) -> None:
    assert len(tokenizer) <= 320
    assert len(tokenizer(" heart", add_special_tokens=False).input_ids) == 1
    assert len(tokenizer(" xyzzy", add_special_tokens=False).input_ids) > 1


def test_a_saved_tokenizer_is_the_same_for_either_transformers(tokenizer: Any, tmp_path: Path) -> None:
    save_subwords(tokenizer, tmp_path)
    again: Any = load_subwords(tmp_path)
    text = "the heart é 心 is normal ."
    assert again(text).input_ids == tokenizer(text).input_ids
    assert again.decode(again(text).input_ids, skip_special_tokens=True) == text
    assert (again.bos_token, again.eos_token, again.pad_token) == (BEGIN, END, PAD)
    named = json.loads((tmp_path / "tokenizer_config.json").read_text())["tokenizer_class"]
    assert named == "PreTrainedTokenizerFast"

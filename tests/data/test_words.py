"""The word tokenizer: R2Gen's ids, on a vocabulary small enough to count by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxreport.data.words import END, WordTokenizer
from cxreport.errors import UserError

REPORTS = ["no effusion . no mass .", "effusion  on the left .", "Zebra no"]


def test_the_threshold_and_the_order() -> None:
    tokenizer = WordTokenizer.train(REPORTS, threshold=2)
    # . and no three times, effusion twice, every other word once; by code point
    assert tokenizer.words == (".", "<unk>", "effusion", "no")
    assert len(tokenizer) == 4
    assert WordTokenizer.train(REPORTS, threshold=3).words == (".", "<unk>", "no")
    assert WordTokenizer.train(REPORTS, threshold=1).words[2] == "Zebra"


def test_ids_begin_and_end_with_zero() -> None:
    tokenizer = WordTokenizer.train(REPORTS, threshold=2)
    assert tokenizer.encode("no left effusion .") == [0, 4, 2, 3, 1, 0]
    assert tokenizer.encode("") == [0, 0]


def test_a_long_report_loses_its_end() -> None:
    tokenizer = WordTokenizer.train(REPORTS, threshold=2)
    assert tokenizer.encode("no effusion no", max_length=4) == [0, 4, 3, 4]
    assert tokenizer.encode("no effusion no", max_length=5) == [0, 4, 3, 4, 0]


def test_decoding_stops_at_the_first_end() -> None:
    tokenizer = WordTokenizer.train(REPORTS, threshold=2)
    assert tokenizer.decode([4, 3, END, 4]) == "no effusion"
    assert tokenizer.decode([2]) == "<unk>"
    assert tokenizer.decode([END]) == tokenizer.decode([]) == ""


@given(st.lists(st.sampled_from([".", "effusion", "no", "<unk>"])))
def test_known_words_come_back(words: list[str]) -> None:
    tokenizer = WordTokenizer.train(REPORTS, threshold=2)
    ids = tokenizer.encode(" ".join(words))
    assert tokenizer.decode(ids[1:]) == " ".join(words)
    assert len(ids) == len(words) + 2


def test_saved_and_loaded(tmp_path: Path) -> None:
    tokenizer = WordTokenizer.train([*REPORTS, "naïve “quote” naïve"], threshold=1)
    tokenizer.save(tmp_path / "tokenizer.json")
    assert WordTokenizer.load(tmp_path / "tokenizer.json").words == tokenizer.words


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not json", "not JSON"),
        ("[]", "list of words"),
        ('{"type": "bpe", "words": ["<unk>"]}', 'type "words"'),
        ('{"type": "words", "words": ["<unk>", 3]}', "list of words"),
        ('{"type": "words", "words": ["no"]}', "<unk>"),
        ('{"type": "words", "words": ["<unk>", "no", "no"]}', "unique"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as told:
        WordTokenizer.load(path)
    assert str(path) in str(told.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.json"):
        WordTokenizer.load(tmp_path / "absent.json")

"""Words by the Penn Treebank's rules and by character; the Java program printed the expected words."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxreport.metrics.ptb import ptb_words
from cxreport.metrics.tokenize import TOKENIZERS

PUNCTUATION = {*"'`.?!,:-;", "''", "``", "--", "...", "-LRB-", "-RRB-", "-LCB-", "-RCB-"}
"""What ``pycocoevalcap`` drops from the program's output."""

WORDS = {
    "The heart isn't enlarged (see above); 2.5 cm nodule, right/left lobes...":
        "the heart is n't enlarged -lrb- see above -rrb- 2.5 cm nodule right/left lobes",
    "Heart size: 1.5 x 2 cm -- unchanged.": "heart size 1.5 x 2 cm unchanged",
    'Don\'t can\'t won\'t cannot; it’s O\'Brien\'s "sign".':
        "do n't ca n't wo n't can not it 's o'brien 's sign",
    "[sic] {note} <b> 50% $5 & more": "-lsb- sic -rsb- -lcb- note -rcb- <b> 50 % $ 5 & more",
    "T11-T12, well-expanded, e.g. i.e. p.m. Dr. Smith": "t11-t12 well-expanded e.g. i.e. p.m. dr. smith",
    "2.5cm 5mm 10:30am 1.5-2.0 10/12/2010 1/2": "2.5 cm 5mm 10:30 am 1.5-2 .0 10/12/2010 1/2",
    "no. 5 fig. x etc. vs. Inc. ill. Ill.": "no. 5 fig x etc. vs. inc. ill ill.",
    "level of T.  The end of T. spine": "level of t the end of t. spine",
    "XXXX, NO RECENT CXR.; 2., Mild": "xxxx no recent cxr. 2. mild",
    "a/b/c/d y/o. s/p 5 1/2": "a/b/c / d y/o s/p 5\u00a01/2",
    "½ £5 5° · é 中文。 😀 – …": "1/2 # 5 5 ° · é 中文 。",
    "non-U.S. R&D A+ C++ #3 #tag @me a@b.org www.x.com":
        "non-u.s. r&d a + c++ # 3 #tag @me a@b.org www.x.com",
    "### *** ___ >> +/- 'em '90s rock'n'roll": "### *** ___ >> + / 'em '90s rock 'n' roll",
    ":) (size:) gonna 'tis": ":-rrb- -lrb- size :-rrb- gon na 't is",
    "": "",
    " . , ; ": "",
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), WORDS.items())
def test_penn_treebank_words(text: str, expected: str) -> None:
    assert " ".join(ptb_words(text)) == expected


@pytest.mark.parametrize("section", ["ptb", "ptb_raw"])
def test_published_tokens(section: str, shared: Path) -> None:
    golden = json.loads((shared / "golden" / "nlg_metrics.json").read_text(encoding="utf-8"))
    pairs = golden[section].get("pairs", golden["pairs"])
    for pair, tokenized in zip(pairs, golden[section]["tokenized"], strict=True):
        for side in ("hyp", "ref"):
            assert " ".join(ptb_words(pair[side])) == tokenized[side]


@pytest.mark.slow
def test_all_openi_reports_as_the_java_program_has_them(shared: Path, tmp_path: Path) -> None:
    from cxreport.phantom.openi import ARCHIVE_NAME, read_reports

    spec = find_spec("pycocoevalcap")
    if spec is None or shutil.which("java") is None:
        pytest.skip("pycocoevalcap or java is not installed")
    reports = read_reports(shared / "data" / "iu_xray" / ARCHIVE_NAME)
    texts = [text for each in reports for text in (each.report.findings, each.report.impression) if text]
    texts += [text.lower() for text in texts]
    (tmp_path / "texts").write_text("\n".join([*texts, ""]), encoding="utf-8")
    jar = Path(next(iter(spec.submodule_search_locations or ()))) / "tokenizer" / "stanford-corenlp-3.4.1.jar"
    program = [
        "edu.stanford.nlp.process.PTBTokenizer",
        "-preserveLines",
        "-lowerCase",
        str(tmp_path / "texts"),
    ]
    done = subprocess.run(
        ["java", "-Dfile.encoding=UTF-8", "-cp", str(jar), *program], capture_output=True, check=True
    )
    lines = done.stdout.decode("utf-8").split("\n")
    theirs = [[word for word in line.split(" ") if word and word not in PUNCTUATION] for line in lines]
    differing = [text for text, words in zip(texts, theirs, strict=False) if ptb_words(text) != words]
    assert differing == []


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_text_has_words_without_blanks(text: str) -> None:
    for name, tokenizer in TOKENIZERS.items():
        words = tokenizer(text)
        assert all(words), name
        assert not any(word != word.strip(" \t\n") or " " in word for word in words), name


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["heart", "T11-T12", "cm", "can't", "no.", "e.g.", "left."]), max_size=8))
def test_words_of_plain_text_do_not_depend_on_the_blanks_between(words: list[str]) -> None:
    assert ptb_words("  ".join(words)) == ptb_words(" ".join(words))


def test_a_long_text_is_split() -> None:
    assert len(ptb_words("the heart isn't enlarged . " * 2_000)) == 10_000
    assert ptb_words("((((" * 500) == ["-lrb-"] * 2000
    assert ptb_words("a," * 10_000) == ["a"] * 10_000  # no blank between: seconds, not minutes


def test_characters() -> None:
    assert TOKENIZERS["characters"]("双肺 清晰\u3000。\n") == ["双", "肺", "清", "晰", "。"]
    assert TOKENIZERS["whitespace"](" a  b ") == ["a", "b"]

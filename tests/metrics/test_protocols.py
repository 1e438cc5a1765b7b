"""Protocols: what is cleaned and cut, what their ids say, and that they do not mix."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cxreport.data.text import CLEANERS
from cxreport.errors import UserError
from cxreport.metrics.protocols import (
    DEFAULT,
    NAMED,
    RAW,
    Protocol,
    ReferenceCutter,
    one_protocol,
    protocol_of,
    split_headings,
)

REPORT = "Heart size NORMAL.  1. No effusion."


def test_the_default_is_the_whole_cleaned_findings() -> None:
    protocol = protocol_of(DEFAULT)
    assert protocol.settings == {
        "section": "findings",
        "reference_cut": "full",
        "cleaner": "clean",
        "words": "whitespace",
        "headings": False,
        "rare_words": "kept",
        "missing_draft": "scored as empty and counted",
    }
    assert protocol.prepared(REPORT) == CLEANERS["clean"](REPORT)
    assert ReferenceCutter(protocol)("a b c " * 100) == "a b c " * 100


def test_raw_changes_nothing() -> None:
    raw = protocol_of(RAW)
    for text in ("", " two  blanks ", "É\u200b😀\n"):
        assert raw.prepared(text) == text
        assert raw.tokenized([text]) == [text]
        assert ReferenceCutter(raw)(text) == text
    assert raw.settings["section"] == "as given"


def test_an_id_names_every_choice() -> None:
    protocol = protocol_of("both.words60.legacy-iu.characters")
    assert (protocol.section, protocol.cut, protocol.cleaner) == ("both", "words60", "legacy-iu")
    assert (protocol.words, protocol.name) == ("characters", "both.words60.legacy-iu.characters")
    assert protocol_of("impression.full.none").prepared("A  b") == "A  b"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "Unknown protocol ''"),
        ("findings", "Unknown protocol"),
        ("findings.full", "Unknown protocol"),
        ("lungs.full.clean", "Unknown protocol"),
        ("findings.words0.clean", "Unknown protocol"),
        ("findings.60.clean", "Unknown protocol"),
        ("findings.full.clean.tokens", "Unknown protocol"),
        ("findings.full.clean.ptb.more", "Unknown protocol"),
        ("findings.full.scrub", "needs the cleaner scrub"),
    ],
)
def test_other_names_are_refused_with_what_there_is(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        protocol_of(name)


@pytest.mark.parametrize("name", NAMED)
def test_every_named_protocol_prepares_a_report(name: str) -> None:
    protocol = protocol_of(name)
    if protocol.cleaner not in {*CLEANERS, "rexrank", None}:
        pytest.skip(f"the cleaner {protocol.cleaner} is not there yet")
    text = protocol.prepared(REPORT)
    assert "effusion" in text
    assert protocol.cleaner is None or text == " ".join(text.split())
    assert protocol.prepared("   ").strip() == ""


def test_r2gen_cuts_references_as_published(shared: Path) -> None:
    """The golden texts went through the published tokenizer: 59 words, rare ones as <unk>.

    Only the report without words differs: published it becomes a full stop, here it stays empty.
    """
    golden = json.loads((shared / "golden" / "word_tokenizer.json").read_text(encoding="utf-8"))
    annotation = json.loads((shared / "data" / "iu_xray" / "annotation.json").read_text(encoding="utf-8"))
    protocol = protocol_of("legacy-r2gen")
    cut = ReferenceCutter(protocol, train_reports=[study["report"] for study in annotation["train"]])
    assert (cut.protocol.name, cut.protocol.rare_words) == ("legacy-r2gen.unk", 3)
    assert cut.protocol.settings != protocol.settings
    long = 0
    for example in golden["examples"]:
        if not example["report"].strip():
            assert (example["decoded_from_truncated"], protocol.prepared(example["report"])) == (".", "")
            continue
        prepared = protocol.prepared(example["report"])
        assert cut(prepared) == example["decoded_from_truncated"]
        long += len(prepared.split()) > 59
    assert long


def test_without_a_vocabulary_rare_words_stay() -> None:
    cut = ReferenceCutter(protocol_of("legacy-r2gen"))
    words = [f"w{number}" for number in range(100)]
    assert cut(" ".join(words)) == " ".join(words[:59])
    assert cut.protocol.rare_words is None


def test_train_reports_change_nothing_but_r2gens_words() -> None:
    for name in (DEFAULT, "findings.words5.clean"):
        cut = ReferenceCutter(protocol_of(name), train_reports=["a b"])
        assert cut.protocol == protocol_of(name)
        assert cut("x y") == "x y"


def test_sub_words_need_a_tokenizer(tmp_path: Path) -> None:
    protocol = protocol_of("legacy-r2gengpt")
    with pytest.raises(UserError, match=r"needs --tokenizer FOLDER .* or use legacy-r2gengpt-words"):
        ReferenceCutter(protocol)
    pytest.importorskip("tokenizers")
    with pytest.raises(UserError, match=r"Cannot read .*tokenizer\.json"):
        ReferenceCutter(protocol, tokenizer=tmp_path)


def test_sub_words_are_cut_and_written_back(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    pieces = {"[UNK]": 0, "card": 1, "##io": 2, "##mega": 3, "##ly": 4, "no": 5}
    model = tokenizers.Tokenizer(tokenizers.models.WordPiece(pieces, unk_token="[UNK]"))
    model.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    model.decoder = tokenizers.decoders.WordPiece()
    model.save(str(tmp_path / "tokenizer.json"))
    cut = ReferenceCutter(Protocol("x", cut="subwords3", cleaner="clean"), tokenizer=tmp_path)
    assert cut("no cardiomegaly") == "no cardio"
    assert cut("no no") == "no no"


def test_sections_of_a_report() -> None:
    sections = {"findings": "Clear.", "impression": "Normal."}
    assert protocol_of(DEFAULT).text_of(sections) == "Clear."
    assert protocol_of("impression.full.clean").text_of(sections) == "Normal."
    assert protocol_of("both.full.clean").text_of(sections) == "Clear. Normal."
    assert NAMED["rexrank-both"].text_of(sections) == "Findings: Clear. Impression: Normal."
    assert NAMED["rexrank-both"].text_of({"impression": "Normal."}) == "Impression: Normal."
    assert protocol_of("both.full.clean").text_of({}) == ""


def test_headings_part_a_draft() -> None:
    assert split_headings("Findings: Clear. Impression: Normal.") == {
        "findings": "Clear.",
        "impression": "Normal.",
    }
    assert split_headings("Clear. IMPRESSION : Normal.") == {"findings": "Clear.", "impression": "Normal."}
    assert split_headings("Findings: a Findings: b") == {"findings": "a b"}
    assert split_headings("the findings are normal") == {}


def test_rexrank_words() -> None:
    assert (
        NAMED["rexrank-findings"].prepared("Heart is normal.Lungs clear.") == "heart is normal .lungs clear ."
    )


def test_scores_of_different_protocols_are_kept_apart() -> None:
    def scores(name: str) -> dict[str, object]:
        protocol = protocol_of(name)
        return {"protocol": protocol.name, "protocol_settings": protocol.settings}

    assert one_protocol({"a": scores(DEFAULT), "b": scores(DEFAULT)}) == DEFAULT
    assert one_protocol({"a": scores("legacy-r2gen"), "b": scores("findings.words59.legacy-iu")})
    with pytest.raises(UserError, match=r"a was scored as raw but c as findings\.full\.clean"):
        one_protocol({"a": scores(RAW), "b": scores(RAW), "c": scores(DEFAULT)})


def test_chinese_is_read_whole_however_its_characters_were_parted() -> None:
    parted = Protocol("x", cleaner="characters")
    assert parted.whole(["心 影 增 大 。 CT 正 常"]) == ["心影增大。 CT 正常"]
    assert parted.language == protocol_of("findings.full.none.characters").language == "zh"
    assert protocol_of(DEFAULT).whole(["心 影"]) == ["心 影"]
    assert protocol_of(DEFAULT).language == "en"

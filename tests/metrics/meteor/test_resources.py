"""Reading METEOR's files from a made-up wheel, and keeping them in a cache that cannot be wrong."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import pytest

from cxreport.metrics.meteor import meteor, resources
from cxreport.metrics.meteor.normalize import ANY, BEFORE_NUMBER
from cxreport.metrics.unavailable import MetricUnavailable

MEMBERS = {
    "function/english.words": "the\n”\n",
    "nonbreaking/english.prefixes": "# a comment\n\nDr\nNo #NUMERIC_ONLY#\n",
    "synonym/english.synsets": "lung\n00000003 00000001\nheart\n2\n",
    "synonym/english.exceptions": "lung\nlungz lungx\nnowhere\nlungx\n",
}
RULES = "0.5\nno\nwithout any\n0.1\nwithout any\nno\n0.1\nno\nnot\n"


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> resources.Wheel:
    """A wheel of a few words, and an empty cache."""
    folder = tmp_path / "site" / "pycocoevalcap" / "meteor"
    (folder / "data").mkdir(parents=True)
    with zipfile.ZipFile(folder / "meteor-1.5.jar", "w") as jar:
        for name, text in MEMBERS.items():
            jar.writestr(name, text)
    (folder / "data" / "paraphrase-en.gz").write_bytes(gzip.compress(RULES.encode()))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv(resources.CACHE_VARIABLE, str(tmp_path / "cache"))
    found = resources.find_wheel()
    if found.jar.parent != folder:  # the installed package was imported before and hides this one
        found = resources.Wheel(folder / "meteor-1.5.jar", folder / "data" / "paraphrase-en.gz")
        monkeypatch.setattr(resources, "find_wheel", lambda: found)
    return found


def test_what_the_files_say(wheel: resources.Wheel) -> None:
    lexicon = resources.load_lexicon()
    assert lexicon.function_words == {"the", "”"}
    assert lexicon.keeps_dot == {"Dr": ANY, "No": BEFORE_NUMBER}
    assert lexicon.synonyms.of("lung") == lexicon.synonyms.of("lungz") == {1, 3}
    assert lexicon.synonyms.of("hearts") == {2}
    table = lexicon.paraphrases
    no, without = table.child(0, "no"), table.child(0, "without")
    assert table.targets(no) == [table.child(without, "any"), table.child(0, "not")]
    assert table.targets(table.child(without, "any")) == [no]
    assert table.targets(without) == []
    assert (table.child(no, "any"), table.child(0, "lung")) == (0, 0)


def test_the_cache_is_read_and_not_the_wheel(wheel: resources.Wheel, monkeypatch: pytest.MonkeyPatch) -> None:
    resources.load_lexicon()
    assert [path.name for path in resources.cache_path().parent.iterdir()] == [resources.cache_path().name]
    monkeypatch.setattr(resources, "_read_wheel", None)
    assert resources.load_lexicon().synonyms.of("heart") == {2}


@pytest.mark.parametrize("damage", ["flip", "cut", "garbage", "version"])
def test_a_wrong_cache_is_written_anew(
    damage: str, wheel: resources.Wheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    resources.load_lexicon()
    path = resources.cache_path()
    whole = path.read_bytes()
    last = bytes([whole[-1] ^ 1])
    broken = {"flip": whole[:-1] + last, "cut": whole[:-9], "garbage": b"?" * 99, "version": whole}[damage]
    path.write_bytes(broken)
    with monkeypatch.context() as patch:
        if damage == "version":
            patch.setattr(resources, "_VERSION", "0")
            resources._write_cache(path, wheel, resources._read_wheel(wheel, path))
    assert path.read_bytes() != whole
    assert resources.load_lexicon().synonyms.of("heart") == {2}
    assert len(path.read_bytes()) == len(whole)
    assert resources._read_cache(path, wheel) is not None


def test_another_wheel_is_read_anew(wheel: resources.Wheel) -> None:
    resources.load_lexicon()
    wheel.paraphrases.write_bytes(gzip.compress(b"0.5\nheart\ncor\n"))
    table = resources.load_lexicon().paraphrases
    assert table.targets(table.child(0, "heart")) == [table.child(0, "cor")]


def test_an_interrupted_reading_leaves_nothing(
    wheel: resources.Wheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources.os, "replace", lambda *paths: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        resources.load_lexicon()
    assert list(resources.cache_path().parent.iterdir()) == []


@pytest.mark.parametrize("which", ["jar", "member", "cut", "table", "not gzip"])
def test_damaged_files_are_named(which: str, wheel: resources.Wheel) -> None:
    if which == "jar":
        wheel.jar.write_bytes(b"PK nothing")
    elif which == "member":
        with zipfile.ZipFile(wheel.jar, "w") as jar:
            jar.writestr("other", "")
    elif which == "cut":
        wheel.paraphrases.write_bytes(wheel.paraphrases.read_bytes()[:-9])
    elif which == "table":
        wheel.paraphrases.write_bytes(gzip.compress(b"0.5\nheart\n"))
    else:
        wheel.paraphrases.write_bytes(b"0.5\nheart\ncor\n")
    with pytest.raises(MetricUnavailable, match=r"METEOR in .* are damaged .* install them again"):
        resources.load_lexicon()
    assert not resources.cache_path().exists()


def test_a_folder_that_cannot_be_written_is_named(
    wheel: resources.Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(resources.CACHE_VARIABLE, str(tmp_path / "file"))
    with pytest.raises(MetricUnavailable, match=r"cannot write its cache .* CXREPORT_CACHE"):
        resources.load_lexicon()


def test_no_wheel_is_no_score(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without METEOR's word lists there is no METEOR: nothing else goes by that name."""
    from cxreport.metrics.meteor import score

    monkeypatch.setattr(resources, "find_spec", lambda name: None)
    score._lexicon.cache_clear()
    with pytest.raises(MetricUnavailable, match=r"needs the word lists .*pip install 'cxreport\[metrics\]'"):
        meteor(["clear"], ["clear"])


def test_the_default_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(resources.CACHE_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert resources.cache_path().parent == tmp_path / "cxreport"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resources.cache_path().parent == tmp_path / ".cache" / "cxreport"

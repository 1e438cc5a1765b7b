"""The Java program as a process: a stand-in that speaks its protocol, and the real one."""

from __future__ import annotations

import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cxreport.metrics.meteor import jar, match_statistics, meteor
from cxreport.metrics.meteor.jar import MeteorJar, meteor_jar
from cxreport.metrics.meteor.lexicon import Lexicon
from cxreport.metrics.meteor.resources import Wheel
from cxreport.metrics.unavailable import MetricUnavailable

ANSWER = "for line in sys.stdin: print(*[len(part.split()) for part in line.split('|||')[1:]], *[0] * 21)"


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """``program(body)``: a stand-in for ``java`` with that body, as a path."""
    monkeypatch.setattr(jar, "find_wheel", lambda: Wheel(tmp_path / "a.jar", tmp_path / "b.gz"))

    def make(body: str) -> str:
        path = tmp_path / "java"
        path.write_text(
            f"#!{sys.executable}\nimport sys, time\nsys.stdout.reconfigure(line_buffering=True)\n{body}\n"
        )
        path.chmod(0o755)
        return str(path)

    return make


def test_a_line_is_answered_with_a_line(program: Callable[[str], str]) -> None:
    with MeteorJar(java=program(ANSWER)) as process:
        # Line ends and separators inside texts must not end the line or add a text.
        assert process.statistics("a ||| b\nc", ["one two\r"])[:2] == [2.0, 3.0]
        assert process.statistics("", [""])[:2] == [0.0, 0.0]
        running = process._process
    assert running.poll() == 0


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("print('Error: specify hypothesis'); time.sleep(9)", "answered 'Error: specify hypothesis'"),
        ("print('1.0 2.0'); time.sleep(9)", "answered '1.0 2.0'"),
        ("sys.stderr.write('no memory\\n'); sys.exit(1)", "stopped or took more than .* no memory"),
        ("time.sleep(60)", "stopped or took more than 1 seconds: no message"),
    ],
)
def test_a_program_that_fails_is_ended_and_named(
    body: str, message: str, program: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jar, "START_SECONDS", 1.0 if "60" in body else 20.0)
    monkeypatch.setattr(jar, "CLOSE_SECONDS", 0.1)
    process = MeteorJar(java=program(body))
    with pytest.raises(MetricUnavailable, match=message), process:
        process.statistics("a", ["b"])
    assert process._process.poll() is not None


def test_a_text_that_would_take_too_long_is_refused(program: Callable[[str], str]) -> None:
    with (
        MeteorJar(java=program(ANSWER)) as process,
        pytest.raises(MetricUnavailable, match="more than 131072 letters"),
    ):
        process.statistics("a " * 70_000, ["b"])


def test_no_java_is_named(program: Callable[[str], str]) -> None:
    with pytest.raises(MetricUnavailable, match="no program 'no-such-java': install Java"):
        meteor_jar(["a"], ["b"], java="no-such-java")


@pytest.mark.slow
def test_the_real_program_counts_the_same(real_lexicon: Lexicon, shared: Path) -> None:
    """Pairs of real reports and odd strings; starting Java takes ten seconds or more."""
    if shutil.which("java") is None:
        pytest.skip("there is no java")
    from cxreport.phantom.openi import ARCHIVE_NAME, read_reports

    reports = [report.report.findings for report in read_reports(shared / "data" / "iu_xray" / ARCHIVE_NAME)]
    generator = random.Random(7)
    pairs = [tuple(generator.sample(reports, 2)) for _ in range(200)]
    pairs += [tuple(text.lower() for text in pair) for pair in pairs[:100]]
    odd = [
        "",
        "é Ж 中 😀",
        "don't 5'10\" e.g. U.S. ... -- “x” ‘y’",
        "a|||b",
        "no " * 30,
        "No. 5 (see) <b> 1,000",
    ]
    pairs += [(first, second) for first in odd for second in odd]
    drafts, references = map(list, zip(*pairs, strict=True))
    tally = meteor_jar(drafts, references)
    np.testing.assert_array_equal(meteor(drafts, references).statistics, tally.statistics)
    assert match_statistics(pairs, real_lexicon).shape == (len(pairs), 23)

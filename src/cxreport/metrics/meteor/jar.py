"""METEOR 1.5 through the published Java program: one process for all pairs of a set."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from threading import Timer
from types import TracebackType
from typing import IO

import numpy as np

from cxreport.metrics.meteor.resources import find_wheel
from cxreport.metrics.meteor.score import STATISTICS, meteor_tally
from cxreport.metrics.ngrams import reference_lists
from cxreport.metrics.statistics import Tally
from cxreport.metrics.unavailable import MetricUnavailable

START_SECONDS = 300.0
"""Reading the paraphrase table takes ten seconds on an idle machine."""
PAIR_SECONDS = 120.0
CLOSE_SECONDS = 5.0
MOST_LETTERS = 1 << 17
"""Longer texts are refused: the program's time grows with the square of their length."""
HEAP = "2G"


def meteor_jar(
    hypotheses: Sequence[str], references: Sequence[str] | Sequence[Sequence[str]], *, java: str = "java"
) -> Tally:
    """METEOR as :func:`cxreport.metrics.meteor.meteor`, counted by the published program.

    Raises MetricUnavailable where Java or the program is absent, does not start, stops, or takes too long.
    """
    lists = reference_lists(hypotheses, references)
    with MeteorJar(java=java) as jar:
        rows = [jar.statistics(draft, texts) for draft, texts in zip(hypotheses, lists, strict=True)]
    return meteor_tally(np.array(rows, dtype=np.float64).reshape(-1, STATISTICS))


class MeteorJar:
    """The program, started once, which answers a line with a line (``-stdio``); a context manager."""

    def __init__(self, *, java: str = "java") -> None:
        program, jar = shutil.which(java), find_wheel().jar
        if program is None:
            raise MetricUnavailable(
                f"There is no program {java!r}: install Java 8 or later, or score METEOR without Java."
            )
        options = [f"-Xmx{HEAP}", "-Dfile.encoding=UTF-8", "-jar", str(jar)]
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [program, *options, "-", "-", "-stdio", "-l", "en", "-norm"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        self._seconds = START_SECONDS

    def __enter__(self) -> MeteorJar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process; at once when it does not end by itself."""
        try:
            self._process.communicate(timeout=CLOSE_SECONDS)
        except (subprocess.TimeoutExpired, OSError, ValueError):
            self._process.kill()
            self._process.wait()
        finally:
            self._errors.close()

    def statistics(self, draft: str, references: Sequence[str]) -> list[float]:
        """The 23 numbers of the best reference; see :func:`cxreport.metrics.meteor.match_statistics`."""
        texts = [_one_line(text) for text in (*references, draft)]
        if sum(map(len, texts)) > MOST_LETTERS:
            raise MetricUnavailable(
                f"A sample has more than {MOST_LETTERS} letters, which takes the Java program too long; "
                "score METEOR without Java."
            )
        answer = self._ask(" ||| ".join(["SCORE", *texts]))
        try:
            numbers = [float(number) for number in answer.split()]
        except ValueError:
            numbers = []
        if len(numbers) != STATISTICS:
            raise MetricUnavailable(f"The Java program of METEOR answered {answer.strip()[:80]!r}.")
        return numbers

    def _ask(self, line: str) -> str:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        watch = Timer(self._seconds, process.kill)
        watch.start()
        try:
            process.stdin.write(line + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except OSError:
            answer = ""
        finally:
            watch.cancel()
        if not answer:
            raise MetricUnavailable(
                f"The Java program of METEOR stopped or took more than {self._seconds:.0f} seconds: "
                f"{self._last_error() or 'no message'}; score METEOR without Java."
            )
        self._seconds = PAIR_SECONDS
        return answer

    def _last_error(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read(1 << 16).decode("utf-8", "replace").strip().splitlines()
        return lines[-1].strip() if lines else ""


def _one_line(text: str) -> str:
    """Without what means something in the program's protocol."""
    return " ".join(text.replace("|||", "").split("\n")).replace("\r", " ")

"""Speed of the metrics of words beside pycocoevalcap and METEOR's Java program, on pairs of Open-i reports.

    python benchmarks/metrics.py [--quick] [--rows words,meteor,bootstrap,labels] [--json FILE]

3,858 pairs: a report's findings (its impression where it has none), cleaned, and those of another report
drawn by seed. Peer and ours run in turn on the same pairs; the ratio is the peer's seconds over ours, the
median over repeats. METEOR is timed from starting a new Python to the scores, word lists in the cache,
against starting Java to the scores. The archive comes from the package ``torchxrayvision`` or
``$CXREPORT_SHARED``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import random
import statistics
import time
import tracemalloc
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from cxreport.data.text import clean
from cxreport.errors import UserError
from cxreport.metrics.bleu import bleu
from cxreport.metrics.cider import cider_d
from cxreport.metrics.labeler import label_matrix
from cxreport.metrics.labeler.english import read_sentence
from cxreport.metrics.meteor.jar import MeteorJar, meteor_jar
from cxreport.metrics.meteor.resources import load_lexicon
from cxreport.metrics.rouge import rouge_l
from cxreport.metrics.statistics import RESAMPLES, Tally, scores_of
from cxreport.phantom.openi import ARCHIVE_NAME, find_archive, read_reports

PAIRS = 3858
QUICK_PAIRS = 200
REPEATS = 3
SEED = 9223

Row = dict[str, Any]
Texts = tuple[Sequence[str], Sequence[str]]


def words(texts: Texts, repeats: int) -> Row:
    """BLEU-1..4, ROUGE-L and CIDEr-D together, per sample and corpus."""

    def ours() -> list[np.ndarray]:
        return [metric(*texts).values() for metric in (bleu, rouge_l, cider_d)]

    def theirs() -> list[np.ndarray]:
        from pycocoevalcap.bleu.bleu import Bleu
        from pycocoevalcap.cider.cider import Cider
        from pycocoevalcap.rouge.rouge import Rouge

        drafts, references = ({place: [text] for place, text in enumerate(side)} for side in texts)
        return [
            np.array(Bleu(4).compute_score(references, drafts, verbose=0)[0]),
            np.array([Rouge().compute_score(references, drafts)[0]]),
            np.array([Cider().compute_score(references, drafts)[0]]),
        ]

    largest = max(np.abs(a - b).max() for a, b in zip(ours(), theirs(), strict=True))
    peer = f"pycocoevalcap {version('pycocoevalcap')}"
    return _compared(ours, theirs, repeats) | {"peer": peer, "largest_difference": float(largest)}


def meteor(texts: Texts, repeats: int) -> Row:
    """METEOR from a new process to the scores, against the Java program from its start."""
    load_lexicon()
    found: dict[str, np.ndarray] = {}

    def ours() -> None:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found["ours"] = pool.apply(meteor_statistics, texts)

    def theirs() -> None:
        found["jar"] = meteor_jar(*texts).statistics

    start = time.perf_counter()
    with MeteorJar() as jar:
        jar.statistics("normal", ["normal"])
    start_seconds = time.perf_counter() - start
    row = _compared(ours, theirs, min(repeats, 2))
    same = float(np.mean(np.all(found["ours"] == found["jar"], axis=1)))
    return row | {"peer": "meteor-1.5.jar", "peer_start_seconds": start_seconds, "equal_statistics": same}


def meteor_statistics(drafts: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """The match statistics (N, 23); a function of its own so that a new process can call it."""
    from cxreport.metrics.meteor import meteor as python_meteor

    return python_meteor(drafts, references).statistics


def bootstrap(texts: Texts, repeats: int) -> Row:
    """Intervals of all metrics that need no weights, and how memory grows with the resamples."""
    tallies = _all_tallies(texts)
    seconds = statistics.median(
        _seconds(lambda: scores_of(tallies, seed=SEED, resamples=RESAMPLES)) for _ in range(repeats)
    )
    memory = {count: _peak_mebibytes(tallies, count) for count in (RESAMPLES, 4 * RESAMPLES)}
    scores = sum(len(tally.names) for tally in tallies)
    return {
        "seconds": seconds,
        "resamples": RESAMPLES,
        "scores": scores,
        "peak_mebibytes": memory[RESAMPLES],
        "peak_mebibytes_with_four_times_the_resamples": memory[4 * RESAMPLES],
    }


def labels(texts: Texts, repeats: int) -> Row:
    """Reports a second of the built-in English labeler on one core; no peer runs without downloads."""

    def without_cache() -> None:
        for text in reports:
            read_sentence.cache_clear()
            label_matrix([text])

    reports = [*texts[0], *texts[1]]
    uncached = statistics.median(_seconds(without_cache) for _ in range(repeats))
    label_matrix(reports)
    cached = statistics.median(_seconds(lambda: label_matrix(reports)) for _ in range(repeats))
    return {"reports_per_second": len(reports) / uncached, "with_a_warm_cache": len(reports) / cached}


ROWS: dict[str, Callable[[Texts, int], Row]] = {
    "words": words,
    "meteor": meteor,
    "bootstrap": bootstrap,
    "labels": labels,
}
"""What can be timed: a name to a function of the texts and the repeats that returns numbers by name."""


def openi_pairs(count: int) -> Texts:
    """`count` drafts and references; no report is its own draft."""
    shared = os.environ.get("CXREPORT_SHARED")
    archive = Path(shared) / "data" / "iu_xray" / ARCHIVE_NAME if shared else find_archive()
    reports = [clean(each.report.findings or each.report.impression) for each in read_reports(archive)]
    reports = [text for text in reports if text]
    generator = random.Random(SEED)
    places = [generator.sample(range(len(reports)), 2) for _ in range(count)]
    return [reports[draft] for draft, _ in places], [reports[reference] for _, reference in places]


def _all_tallies(texts: Texts) -> list[Tally]:
    from cxreport.metrics import CLINICAL_METRICS, LANGUAGE_METRICS, ON_REQUEST, metric_function

    names = [name for name in (*LANGUAGE_METRICS, *CLINICAL_METRICS) if name not in ON_REQUEST]
    return [metric_function(name)(*texts) for name in names]


def _compared(ours: Callable[[], object], theirs: Callable[[], object], repeats: int) -> Row:
    """Medians over repeats in which both run in turn."""
    times = [(_seconds(ours), _seconds(theirs)) for _ in range(repeats)]
    own, peer = (statistics.median(column) for column in zip(*times, strict=True))
    return {
        "seconds": own,
        "peer_seconds": peer,
        "ratio": statistics.median(second / first for first, second in times),
        "repeats": repeats,
    }


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _peak_mebibytes(tallies: Sequence[Tally], resamples: int) -> float:
    tracemalloc.start()
    scores_of(tallies, seed=SEED, resamples=resamples)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description="Speed of the metrics beside their named peers.")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_PAIRS} pairs, one repeat")
    parser.add_argument("--rows", default=",".join(ROWS), help="of: " + ", ".join(ROWS))
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    options = parser.parse_args()
    names = options.rows.split(",")
    if unknown := sorted(set(names) - ROWS.keys()):
        parser.error(f"no row is called {', '.join(unknown)}; there are {', '.join(ROWS)}")
    try:
        texts = openi_pairs(QUICK_PAIRS if options.quick else PAIRS)
        rows = {name: ROWS[name](texts, 1 if options.quick else REPEATS) for name in names}
    except UserError as error:
        parser.exit(1, f"{error}\n")
    result = {
        "pairs": len(texts[0]),
        "mean_words": float(np.mean([len(text.split()) for side in texts for text in side])),
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "rows": rows,
    }
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"{result['pairs']} pairs of {result['mean_words']:.0f} words")
    for name, row in rows.items():
        numbers = (f"{key} {value:.4g}" for key, value in row.items() if isinstance(value, int | float))
        print(f"{name}: {', '.join(numbers)}" + (f" ({row['peer']})" if "peer" in row else ""))


if __name__ == "__main__":
    main()

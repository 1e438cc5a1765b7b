"""Scores with intervals for a predictions file or a pair of text files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cxreport.errors import UserError
from cxreport.metrics import LANGUAGE_METRICS, metric_function
from cxreport.metrics.diversity import most_common_share, unique_ratio
from cxreport.metrics.findings import FindingCounts, Item
from cxreport.metrics.predictions import RAW, Prediction, read_predictions, read_reports
from cxreport.metrics.statistics import RESAMPLES
from cxreport.phantom.parser import parse

DEFAULT_SEED = 9223
MIN_POSITIVES = 20
"""A kind of finding enters the macro averages when the scored studies have it this often."""

SETTINGS = {
    "words": "whatever whitespace separates; full references; texts scored as they stand in the file",
    "bleu": "corpus BLEU, closest reference length (pycocoevalcap)",
    "rouge_l": "beta 1.2, split on single blanks, mean over studies (pycocoevalcap)",
    "cider": "CIDEr-D, sigma 6, times 10, document frequencies of the scored references (pycocoevalcap);"
    " the bootstrap keeps those frequencies",
    "unique_ratio": "different drafts per draft; no interval, because resampling makes duplicates",
    "findings": "items are (kind, side), bilateral counts as left and right;"
    " division by zero is 0 in averages and null in tables",
    "ci95": f"percentile bootstrap over studies, {RESAMPLES} resamples",
}
"""What the numbers mean; stands in every ``scores.json``."""


def evaluate_file(
    path: Path, *, seed: int = DEFAULT_SEED, min_positives: int = MIN_POSITIVES
) -> dict[str, Any]:
    """Score the drafts of a predictions file, and every control in it, against its references.

    Lines without a reference are left out and counted under ``excluded``. Findings are scored when every
    remaining line has a known truth and a text in the phantoms' grammar. Raises UserError for an
    unreadable or inconsistent file, and when no line has a reference.
    """
    predictions = read_predictions(path)
    scored = [prediction for prediction in predictions if prediction.reference.strip()]
    if not scored:
        raise UserError(
            f"{path} has no reference report in any of its {len(predictions)} lines, so there is nothing"
            " to score against; draft a split of a dataset with reports."
        )
    excluded = [prediction.study_id for prediction in predictions if not prediction.reference.strip()]
    references = [prediction.reference for prediction in scored]
    truths = _truths(scored)
    systems = {"model": [prediction.hypothesis for prediction in scored]} | {
        name: [prediction.controls[name] for prediction in scored] for name in scored[0].controls
    }
    rows: dict[str, dict[str, Any]] = {}
    tables: dict[str, Any] = {}
    for name, drafts in systems.items():
        rows[name] = language_scores(drafts, references, seed=seed)
        if truths is not None:
            counts = FindingCounts.of(truths, [parse(draft) for draft in drafts])
            rows[name] |= counts.tally(min_positives=min_positives).scores(seed=seed)
            tables[name] = counts.tables(min_positives=min_positives)
    scores = _scores(scored[0].protocol, rows.pop("model"), seed=seed, count=len(scored))
    scores["excluded"] = {"empty reference": excluded} if excluded else {}
    scores["controls"] = rows
    if truths is not None:
        scores["findings"] = tables["model"]
        if not tables["model"]["kinds_counted"]:
            scores["notes"].append(
                f"No kind of finding has {min_positives} true items, so there are no macro averages."
            )
    if excluded:
        scores["notes"].append(f"{len(excluded)} studies without a reference report were left out.")
    return scores


def evaluate_texts(
    hypotheses: Path, references: Path, *, protocol: str = RAW, seed: int = DEFAULT_SEED
) -> dict[str, Any]:
    """Score two text files, one report a line, line by line; nothing is cleaned.

    An empty line among the hypotheses is a draft without words and scores 0. Raises UserError for an
    empty line among the references, files of different length, files without text, or another protocol.
    """
    if protocol != RAW:
        raise UserError(
            f"--protocol {protocol}: two text files are scored as they are; use --protocol {RAW}."
        )
    drafts, truths = read_reports(hypotheses), read_reports(references)
    if len(drafts) != len(truths):
        raise UserError(
            f"{hypotheses} has {len(drafts)} lines but {references} has {len(truths)};"
            " line n of both must be the same study."
        )
    empty = next((number for number, text in enumerate(truths, start=1) if not text.strip()), None)
    if empty is not None:
        raise UserError(f"{references}, line {empty} is empty; remove that line from both files.")
    return _scores(protocol, language_scores(drafts, truths, seed=seed), seed=seed, count=len(drafts))


def language_scores(
    hypotheses: Sequence[str], references: Sequence[str], *, seed: int
) -> dict[str, dict[str, Any]]:
    """``{name: {"value", "ci95", "n"}}`` of every language metric and of diversity; ci95 may be None."""
    scores: dict[str, dict[str, Any]] = {}
    for name in LANGUAGE_METRICS:
        scores |= metric_function(name)(hypotheses, references).scores(seed=seed)
    scores["unique_ratio"] = {"value": unique_ratio(hypotheses), "ci95": None, "n": len(hypotheses)}
    return scores | most_common_share(hypotheses).scores(seed=seed)


def _scores(protocol: str, row: dict[str, dict[str, Any]], *, seed: int, count: int) -> dict[str, Any]:
    notes = []
    if count == 1:
        notes.append("One study: CIDEr is 0 by definition (every idf is log 1), and intervals have no width.")
    return {
        "protocol": protocol,
        "n": count,
        "seed": seed,
        "scores": row,
        "settings": SETTINGS,
        "notes": notes,
    }


def _truths(predictions: Sequence[Prediction]) -> list[frozenset[Item]] | None:
    """The known findings of every study, or None unless all are known and written in the grammar."""
    truths = [p.truth for p in predictions if p.truth is not None and p.language == "grammar"]
    return truths if len(truths) == len(predictions) else None

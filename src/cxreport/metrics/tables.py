"""Scores as rows of text, for the terminal and for the page."""

from __future__ import annotations

from typing import Any

TITLES = {
    "bleu1": "BLEU-1",
    "bleu2": "BLEU-2",
    "bleu3": "BLEU-3",
    "bleu4": "BLEU-4",
    "rouge_l": "ROUGE-L",
    "cider": "CIDEr-D",
    "finding_f1": "finding F1 (macro)",
    "finding_precision": "finding precision (macro)",
    "finding_recall": "finding recall (macro)",
    "finding_micro_f1": "finding F1 (micro)",
    "finding_kind_f1": "finding F1, side ignored",
    "side_accuracy": "side accuracy",
    "unique_ratio": "unique drafts",
    "most_common_share": "most common draft",
    "length_ratio": "length ratio",
    "mean_words": "words per draft",
}
"""Metrics in the order in which tables show them, with the names that readers see."""

SYSTEMS = {
    "model": "model",
    "shuffled_images": "shuffled images",
    "nearest_neighbour": "nearest neighbour",
    "most_frequent": "most frequent report",
    "random_train": "random report",
}
"""The model and its controls in the order of the columns."""

Table = tuple[list[str], list[list[str]]]
"""A header and its rows."""


def with_interval(score: dict[str, Any] | None) -> str:
    """``0.512 [0.480, 0.544]``; without an interval only the value; ``-`` where there is no score."""
    if score is None:
        return "-"
    value = f"{score['value']:.3f}"
    if score["ci95"] is None:
        return value
    low, high = score["ci95"]
    return f"{value} [{low:.3f}, {high:.3f}]"


def score_table(scores: dict[str, Any]) -> Table:
    """One row per metric, one column for the model and for each of its controls."""
    systems = {"model": scores["scores"]} | scores.get("controls", {})
    columns = sorted(systems, key=lambda name: _place(SYSTEMS, name))
    metrics = sorted(
        {name for row in systems.values() for name in row}, key=lambda name: _place(TITLES, name)
    )
    header = [f"{scores['protocol']}, n = {scores['n']}", *(SYSTEMS.get(name, name) for name in columns)]
    rows = [
        [TITLES.get(metric, metric), *(with_interval(systems[name].get(metric)) for name in columns)]
        for metric in metrics
    ]
    return header, rows


def finding_table(scores: dict[str, Any]) -> Table:
    """One row per kind of finding, then per side: positives, counts, precision, recall, F1.

    A kind marked with ``*`` enters the macro averages; ``-`` is a division by zero. No rows where findings
    were not scored.
    """
    header = ["finding", "positives", "found", "invented", "missed", "precision", "recall", "F1"]
    tables = scores.get("findings")
    if not tables:
        return header, []
    counted = set(tables["kinds_counted"])
    rows = [
        _finding_row(name.replace("_", " ") + ("*" if name in counted else ""), row)
        for name, row in tables["by_kind"].items()
    ]
    sides = {"left": "all on the left", "right": "all on the right", "none": "all without a side"}
    return header, rows + [_finding_row(sides[name], row) for name, row in tables["by_side"].items()]


def _finding_row(name: str, row: dict[str, Any]) -> list[str]:
    counts = [str(row[key]) for key in ("positives", "tp", "fp", "fn")]
    scores = [row[key] for key in ("precision", "recall", "f1")]
    return [name, *counts, *("-" if score is None else f"{score:.3f}" for score in scores)]


def _place(order: dict[str, str], name: str) -> tuple[int, str]:
    """Known names in their order, others after them by name."""
    known = list(order)
    return (known.index(name) if name in order else len(known), name)

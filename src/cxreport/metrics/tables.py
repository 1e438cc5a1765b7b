"""Scores as rows of text, for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cxreport.metrics.clinical import slug
from cxreport.metrics.protocols import one_protocol
from cxreport.study import LABELS

TITLES = {
    "bleu1": "BLEU-1",
    "bleu2": "BLEU-2",
    "bleu3": "BLEU-3",
    "bleu4": "BLEU-4",
    "rouge_l": "ROUGE-L",
    "meteor": "METEOR",
    "cider": "CIDEr-D",
    "finding_f1": "finding F1 (macro)",
    "finding_precision": "finding precision (macro)",
    "finding_recall": "finding recall (macro)",
    "finding_micro_f1": "finding F1 (micro)",
    "finding_kind_f1": "finding F1, side ignored",
    "side_accuracy": "side accuracy",
    "side_error_rate": "wrong side",
    "side_swap_rate": "opposite side",
    "severity_error_rate": "wrong severity",
    "prior_claim_rate": "compares with a prior",
    "prior_hallucination_rate": "invents a prior",
    "contradiction_rate": "contradicts itself",
    "reference_contradiction_rate": "references contradict",
    "unique_ratio": "unique drafts",
    "most_common_share": "most common draft",
    "repeated_sentences": "repeated sentences",
    "distinct1": "distinct-1",
    "distinct2": "distinct-2",
    "vocabulary_coverage": "vocabulary coverage",
    "length_ratio": "length ratio",
    "mean_words": "words per draft",
}
"""Metrics in the order in which tables show them, with the names that readers see; others show their id."""

SYSTEMS = {
    "model": "model",
    "shuffled_images": "shuffled images",
    "nearest_neighbour": "nearest neighbour",
    "oracle_neighbour": "oracle neighbour",
    "most_frequent": "most frequent report",
    "random_train": "random report",
    "all_normal": "all normal",
}
"""The model and its controls in the order of the columns."""

BENCHMARK = {
    "BLEU-4": "bleu4",
    "ROUGE-L": "rouge_l",
    "METEOR": "meteor",
    "CIDEr": "cider",
    "P": "chexpert14.rules.macro.uncertain0.precision",
    "R": "chexpert14.rules.macro.uncertain0.recall",
    "F1": "chexpert14.rules.macro.uncertain0.f1",
}
"""The columns of the tables of CXPMRG-Bench (Wang et al., CVPR 2025), and the scores in them.

Its labeler is not published; ours are the built-in rules. Macro average with uncertain as absent is what its
numbers fit.
"""

Table = tuple[list[str], list[list[str]]]
"""A header and its rows."""

_FIRST_LABELS = ("macro", "micro", "example")


def with_interval(score: Mapping[str, Any] | None) -> str:
    """``0.512 [0.480, 0.544]``, after several runs ``0.512 ± 0.004 [0.480, 0.544]``.

    Without an interval only the value; ``-`` where there is no score, ``missing`` where it could not be
    computed.
    """
    if score is None:
        return "-"
    if score["value"] is None:
        return "missing"
    value = f"{score['value']:.3f}"
    if "sd" in score:
        value += f" ± {score['sd']:.3f}"
    return value if score["ci95"] is None else f"{value} {_interval(score['ci95'])}"


def score_table(scores: Mapping[str, Any]) -> Table:
    """One row per metric, one column for the model and for each of its controls.

    Of the label scores only averages with uncertain as absent are shown where there are any.
    """
    systems = {"model": scores["scores"]} | scores.get("controls", {})
    columns = sorted(systems, key=lambda name: _place(SYSTEMS, name))
    names = list(dict.fromkeys(name for row in systems.values() for name in row))
    first = [name for name in names if not name.startswith("chexpert") or _is_first(name)]
    shown = first if any(map(_is_first, first)) else names
    metrics = sorted(shown, key=lambda name: _place(TITLES, name))
    header = [f"{scores['protocol']}, n = {scores['n']}", *(SYSTEMS.get(name, name) for name in columns)]
    rows = [
        [TITLES.get(metric, metric), *(with_interval(systems[name].get(metric)) for name in columns)]
        for metric in metrics
    ]
    return header, rows


def label_table(scores: Mapping[str, Any]) -> Table:
    """One row per CheXpert label and labeler, uncertain as absent: positives, precision, recall, F1.

    No rows where labels were not scored one by one.
    """
    header = ["label", "read by", "positives", "precision", "recall", "F1"]
    found = scores["scores"]
    labelers = dict.fromkeys(name.split(".")[1] for name in found if name.startswith("chexpert14."))
    rows = []
    for labeler in labelers:
        for label in LABELS:
            stem = f"chexpert14.{labeler}.{slug(label)}.uncertain0"
            if f"{stem}.positives" in found:
                positives = f"{found[f'{stem}.positives']['value']:.0f}"
                cells = [with_interval(found[f"{stem}.{score}"]) for score in ("precision", "recall", "f1")]
                rows.append([label, labeler, positives, *cells])
    return header, rows


def finding_table(scores: Mapping[str, Any]) -> Table:
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


def comparison_table(scores: Mapping[str, Any]) -> Table:
    """One row per compared score: both values, the difference, p before and after Holm, studies needed."""
    comparison = scores.get("comparison", {"unit": "studies", "scores": {}, "with": ""})
    header = [
        "comparison",
        "model",
        comparison["with"],
        "difference",
        "p",
        "p (Holm)",
        f"{comparison['unit']} needed",
    ]
    rows = []
    for name, row in sorted(comparison["scores"].items(), key=lambda item: _place(TITLES, item[0])):
        apart = f"{row['difference']:+.3f} {_interval(row['ci95'])}"
        needed = "-" if row["needed"] is None else f"{row['needed']:,}"
        values = [f"{row[key]:.3f}" for key in ("value", "other")]
        rows.append([TITLES.get(name, name), *values, apart, _p(row["p"]), _p(row["p_holm"]), needed])
    return header, rows


def subgroup_tables(scores: Mapping[str, Any]) -> Iterator[Table]:
    """For every fact a table: one row per score, one column per subgroup, and the gap."""
    for fact, table in scores.get("subgroups", {}).items():
        groups = table["groups"]
        header = [fact, *(f"{value}, n = {group['n']}" for value, group in groups.items()), "gap"]
        names = dict.fromkeys(name for group in groups.values() for name in group["scores"])
        rows = []
        for name in sorted(names, key=lambda name: _place(TITLES, name)):
            cells = [with_interval(group["scores"].get(name)) for group in groups.values()]
            gap = table["gaps"].get(name)
            text = f"{gap['highest']} - {gap['lowest']}: {with_interval(gap)}" if gap else "-"
            rows.append([TITLES.get(name, name), *cells, text])
        yield header, rows


def tables_of(scores: Mapping[str, Any]) -> list[Table]:
    """All tables of a ``scores.json`` that have rows, in order."""
    tables = [
        score_table(scores),
        label_table(scores),
        finding_table(scores),
        *subgroup_tables(scores),
        comparison_table(scores),
    ]
    return [table for table in tables if table[1]]


def benchmark_table(systems: Mapping[str, Mapping[str, Any]]) -> Table:
    """The columns of CXPMRG-Bench for several systems, each with its ``scores.json``.

    Raises UserError where two were scored by different protocols.
    """
    header = [one_protocol(systems), *BENCHMARK]
    rows = [
        [name, *(with_interval(scores["scores"].get(score)) for score in BENCHMARK.values())]
        for name, scores in systems.items()
    ]
    return header, rows


def markdown(table: Table) -> str:
    """`table` in Markdown."""
    header, rows = table
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _finding_row(name: str, row: Mapping[str, Any]) -> list[str]:
    counts = [str(row[key]) for key in ("positives", "tp", "fp", "fn")]
    scores = [row[key] for key in ("precision", "recall", "f1")]
    return [name, *counts, *("-" if score is None else f"{score:.3f}" for score in scores)]


def _is_first(name: str) -> bool:
    """Whether a label score is one that a table shows before all others."""
    parts = name.split(".")
    shown = parts[0] == "chexpert14" or parts[-1] == "f1"
    return len(parts) == 5 and parts[2] in _FIRST_LABELS and parts[3] == "uncertain0" and shown


def _interval(ci95: tuple[float, float] | list[float]) -> str:
    return f"[{ci95[0]:.3f}, {ci95[1]:.3f}]"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _place(order: Mapping[str, str], name: str) -> int:
    """Known names in their order, others after them in the order they have."""
    return list(order).index(name) if name in order else len(order)

"""What the numbers in ``scores.json`` mean, and which of them a reader sees first."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from cxreport.metrics.clinical import AVERAGES, LABEL_SETS
from cxreport.metrics.statistics import RESAMPLES

HEADLINE = (
    *("bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "meteor", "cider"),
    *("finding_f1", "finding_micro_f1", "side_accuracy"),
)
HEADLINE_LABELS = ("chexpert14.macro", "chexpert14.micro", "chexpert14.example", "chexpert5.micro")
"""Scores of quality that comparisons and subgroups are about unless others are named.

Of the label scores F1 with uncertain as absent, for these labels and averages, whoever read the labels.
"""

_SETTINGS = {
    "bleu": "corpus BLEU, closest reference length (pycocoevalcap)",
    "rouge_l": "beta 1.2, split on single blanks, mean over studies (pycocoevalcap)",
    "cider": "CIDEr-D, sigma 6, times 10, document frequencies of the scored references (pycocoevalcap);"
    " the bootstrap and subgroups keep those frequencies",
    "meteor": "METEOR 1.5 for English, -norm; corpus score from summed match statistics",
    "unique_ratio": "different drafts per draft; like distinct-n and vocabulary coverage without"
    " interval, because resampling makes duplicates",
    "finding": "items are (kind, side), bilateral counts as left and right; division by zero is 0 in averages"
    " and null in tables",
    "chexpert": "<labels>.<labeler>.<average>.<uncertain labels>.<score>; zero_division 0; macro F1 is the"
    " mean of the labels' F1, macro_present leaves out labels that no reference has, macro20 those that"
    " fewer than 20 have, example is the mean over studies;"
    " uncertain_ignored leaves out labels whose reference is uncertain, an uncertain draft counts as absent",
}


def settings_of(names: Collection[str], *, by_patient: bool, meteor: str = "python") -> dict[str, str]:
    """The settings of the scores called `names`, and of their intervals."""
    settings = {key: text for key, text in _SETTINGS.items() if any(name.startswith(key) for name in names)}
    if "meteor" in settings:
        settings["meteor"] += f"; counted by {'the published Java program' if meteor == 'jar' else 'Python'}"
    unit = "patients" if by_patient else "studies"
    return settings | {"ci95": f"percentile bootstrap over {unit}, {RESAMPLES} resamples"}


def is_headline(name: str) -> bool:
    """Whether a score is one of :data:`HEADLINE` or of the label scores beside it."""
    labels, *rest = name.split(".")
    label_score = len(rest) == 4 and rest[2:] == ["uncertain0", "f1"]
    return name in HEADLINE or (label_score and f"{labels}.{rest[1]}" in HEADLINE_LABELS)


def is_single_label(name: str) -> bool:
    """Whether a score is of one CheXpert label and not an average of several."""
    parts = name.split(".")
    return len(parts) == 5 and parts[0] in LABEL_SETS and parts[2] not in AVERAGES


def notes_of(scores: Mapping[str, Any]) -> list[str]:
    """What a reader of a ``scores.json`` should know of its numbers, in sentences."""
    notes = []
    if scores["n"] == 1:
        notes.append("One study: CIDEr is 0 by definition (every idf is log 1), and intervals have no width.")
    excluded = sum(map(len, scores["excluded"].values()))
    if excluded:
        notes.append(f"{excluded} studies without a reference report were left out.")
    other = scores.get("comparison", {"missing_drafts": (), "with": ""})
    for missing, whose in ((scores["missing_drafts"], ""), (other["missing_drafts"], f" of {other['with']}")):
        if missing:
            notes.append(f"{len(missing)} studies without a draft{whose} were scored as empty drafts.")
    findings = scores.get("findings")
    if findings and not findings["kinds_counted"]:
        notes.append(
            f"No kind of finding has {findings['min_positives']} true items, so there are no macro averages."
        )
    notes += [f"{name}: {row['reason']}" for name, row in scores["scores"].items() if "reason" in row]
    for fact, table in scores.get("subgroups", {}).items():
        notes += [
            f"{fact} {value}: {size} are too few to score." for value, size in table["too_small"].items()
        ]
    if scores["not_computed"]:
        notes.append(f"Not computed, ask for them with --metrics: {', '.join(scores['not_computed'])}.")
    return notes

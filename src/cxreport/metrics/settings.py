"""What the numbers in ``scores.json`` mean, and which of them a reader sees first."""

from __future__ import annotations

from collections.abc import Collection

from cxreport.metrics.clinical import AVERAGES, LABEL_SETS
from cxreport.metrics.statistics import RESAMPLES

HEADLINE = (
    *("bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "meteor", "cider"),
    "chexpert14.rules.macro.uncertain0.f1",
    "chexpert14.rules.micro.uncertain0.f1",
    "chexpert14.rules.example.uncertain0.f1",
    "chexpert5.rules.micro.uncertain0.f1",
    *("finding_f1", "finding_micro_f1", "side_accuracy"),
)
"""Scores of quality that comparisons and subgroups are about unless others are named."""

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
    " mean of the labels' F1, macro_present leaves out labels that no reference has, example is the mean"
    " over studies;"
    " uncertain_ignored leaves out labels whose reference is uncertain, an uncertain draft counts as absent",
}


def settings_of(names: Collection[str], *, by_patient: bool, meteor: str = "python") -> dict[str, str]:
    """The settings of the scores called `names`, and of their intervals."""
    settings = {key: text for key, text in _SETTINGS.items() if any(name.startswith(key) for name in names)}
    if "meteor" in settings:
        settings["meteor"] += f"; counted by {'the published Java program' if meteor == 'jar' else 'Python'}"
    unit = "patients" if by_patient else "studies"
    return settings | {"ci95": f"percentile bootstrap over {unit}, {RESAMPLES} resamples"}


def is_single_label(name: str) -> bool:
    """Whether a score is of one CheXpert label and not an average of several."""
    parts = name.split(".")
    return len(parts) == 5 and parts[0] in LABEL_SETS and parts[2] not in AVERAGES

"""Rule-based labelers: the 14 CheXpert labels of a report, in English and Chinese.

>>> from cxreport.metrics.labeler import label_report
>>> label_report("No pneumothorax. Small left effusion.").labels["Pleural Effusion"]
'positive'
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from cxreport.metrics.labeler.chinese import chinese_mentions
from cxreport.metrics.labeler.english import english_mentions, english_statuses
from cxreport.metrics.labeler.labels import (
    CODES,
    NO_FINDING,
    OTHER,
    STATUSES,
    Language,
    Mention,
    ReportLabels,
    Severity,
    Status,
    summarise,
)
from cxreport.study import LABELS

__all__ = [
    "CODES",
    "LABELS",
    "NO_FINDING",
    "STATUSES",
    "Language",
    "Mention",
    "ReportLabels",
    "Severity",
    "Status",
    "label_matrix",
    "label_report",
]


def label_report(text: str, language: Language = "en") -> ReportLabels:
    """The status of each of the 14 labels in a report, and the mentions behind them.

    A text without a word is an empty report: every label is absent. Mentions of abnormalities outside the
    14 labels are not listed, but they rule out No Finding.
    """
    mentions = _MENTIONS[language](text)
    labels = summarise(((one.label, one.status) for one in mentions), empty=is_empty(text))
    return ReportLabels(labels, tuple(one for one in mentions if one.label != OTHER))


def label_matrix(texts: Sequence[str], language: Language = "en") -> np.ndarray:
    """The labels of N reports as CheXbert's codes (N, 14) int8, in the order of LABELS.

    0 is absent, 1 positive, 2 negative, 3 uncertain.
    """
    statuses = _STATUSES[language]
    rows = np.zeros((len(texts), len(LABELS)), dtype=np.int8)
    for row, text in zip(rows, texts, strict=True):
        labels = summarise(statuses(text), empty=is_empty(text))
        row[:] = [CODES[status] for status in labels.values()]
    return rows


def _chinese_statuses(text: str) -> Iterator[tuple[str, str]]:
    return ((mention.label, mention.status) for mention in chinese_mentions(text))


_MENTIONS = {"en": english_mentions, "zh": chinese_mentions}
_STATUSES = {"en": english_statuses, "zh": _chinese_statuses}


def is_empty(text: str) -> bool:
    """Whether a text has no letter or digit."""
    return not any(character.isalnum() for character in text)

"""What a labeler says of a report: a status for each of the 14 labels, and the words that say so."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from cxreport.study import LABELS, Side

Status = Literal["positive", "negative", "uncertain", "absent"]
Severity = Literal["mild", "moderate", "severe"]
Language = Literal["en", "zh"]

STATUSES: tuple[Status, ...] = ("positive", "negative", "uncertain", "absent")
CODES: dict[str, int] = {"absent": 0, "positive": 1, "negative": 2, "uncertain": 3}
"""The classes of CheXbert's heads (Smit et al., EMNLP 2020)."""

NO_FINDING = "No Finding"
SUPPORT_DEVICES = "Support Devices"
OTHER = "Other"
"""An abnormality outside the 14 labels (emphysema, scoliosis, a granuloma): it only rules out No Finding."""


class Mention(NamedTuple):
    """A finding that a text names.

    ``text`` is ``report[start:end]``. ``status`` is "absent" where the words say nothing about this exam:
    history, or what an exam is asked to look for. ``cue`` is the words that decided the status, empty for
    a plain statement. ``is_prior`` says that the sentence speaks of history or of an earlier exam.
    """

    label: str
    status: Status
    start: int
    end: int
    text: str
    side: Side | None = None
    severity: Severity | None = None
    cue: str = ""
    is_prior: bool = False


@dataclass(frozen=True, slots=True)
class ReportLabels:
    """The status of all 14 labels, and the mentions in the order of the text."""

    labels: dict[str, Status]
    mentions: tuple[Mention, ...]


def summarise(statuses: Iterable[tuple[str, str]], *, empty: bool) -> dict[str, Status]:
    """The status of every label of a report, from the (label, status) of its mentions.

    Positive stands before uncertain before negative, as in the CheXpert labeler (Irvin et al., AAAI 2019).
    No Finding is positive where nothing but support devices is positive or uncertain, else absent; an
    `empty` report has no label at all. Labels do not imply each other.
    """
    labels: dict[str, Status] = dict.fromkeys(LABELS, "absent")
    rank = _RANK
    found = False
    for label, status in statuses:
        if status in _FOUND and label != SUPPORT_DEVICES:
            found = True
        if label != OTHER and rank[status] > rank[labels[label]]:
            labels[label] = status  # type: ignore[assignment]
    if not (found or empty):
        labels[NO_FINDING] = "positive"
    return labels


_RANK = {"absent": 0, "negative": 1, "uncertain": 2, "positive": 3}
_FOUND = frozenset(("positive", "uncertain"))

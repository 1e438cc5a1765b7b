"""Drafts that say a thing and its opposite: ``Small right effusion. ... No pleural effusion.``"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from cxreport.metrics.labeler import label_report
from cxreport.metrics.labeler.labels import NO_FINDING, Mention
from cxreport.metrics.statistics import Tally

LEFT_OUT = frozenset((NO_FINDING, "Lung Opacity"))
"""Labels that are not compared: reports deny one kind of opacity beside another, and call the rest clear."""

Contradiction = tuple[Mention, Mention]
"""The mention that asserts a label and the one that denies it."""


def contradictions(text: str) -> list[Contradiction]:
    """Pairs of mentions of one label in `text`, one positive and one negative, about the same side.

    Talk of history and of earlier exams does not count; nor does a denial of one severity beside another
    (``no large effusion`` beside ``small effusion``).
    """
    mentions = [
        each for each in label_report(text).mentions if not each.is_prior and each.label not in LEFT_OUT
    ]
    asserted = [each for each in mentions if each.status == "positive"]
    denied = [each for each in mentions if each.status == "negative"]
    return [(yes, no) for yes, no in product(asserted, denied) if yes.label == no.label and _clash(yes, no)]


def contradiction_rates(hypotheses: Sequence[str], references: Sequence[str]) -> Tally:
    """Shares of the drafts and of the references that contradict themselves.

    The second is what radiologists' own texts reach under the same rules: the floor of the first.
    """
    rows = [
        (bool(contradictions(draft)), bool(contradictions(truth)), 1)
        for draft, truth in zip(hypotheses, references, strict=True)
    ]
    statistics = np.array(rows, dtype=np.float64).reshape(-1, 3)
    names = ("contradiction_rate", "reference_contradiction_rate")
    return Tally(names, statistics, lambda sums: sums[..., :2] / sums[..., 2:])


def _clash(yes: Mention, no: Mention) -> bool:
    sides = {yes.side, no.side}
    same_side = len(sides) == 1 or None in sides or "bilateral" in sides
    return same_side and no.severity in (None, yes.severity)

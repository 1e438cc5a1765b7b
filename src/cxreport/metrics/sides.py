"""Right finding, wrong side or severity: what label scores cannot see.

Both texts are read by the built-in labeler. A label counts where draft and reference both assert it; only
then can its side or severity be wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from cxreport.metrics.counts import ratio
from cxreport.metrics.labeler import label_report
from cxreport.metrics.labeler.labels import Mention
from cxreport.metrics.statistics import Tally
from cxreport.study import SEVERITIES

NAMES = ("side_error_rate", "side_swap_rate", "severity_error_rate")


def side_and_severity(hypotheses: Sequence[str], references: Sequence[str]) -> Tally:
    """Rates of wrong sides and severities over the labels that both texts assert and qualify.

    ``side_error_rate``: of the labels for which both texts name a side, the share whose sides differ
    (bilateral is left and right). ``side_swap_rate``: the share that have no side in common, such as a right
    effusion drafted as left. ``severity_error_rate``: of the labels for which both name a severity, the share
    whose worst one differs. A rate is left out where no study has anything to compare.
    """
    rows = [_counts(draft, truth) for draft, truth in zip(hypotheses, references, strict=True)]
    statistics = np.array(rows, dtype=np.float64).reshape(-1, 5)
    compared = statistics[:, 3:].sum(axis=0)
    kept = [place for place, whole in enumerate((compared[0], compared[0], compared[1])) if whole]
    return Tally(
        tuple(NAMES[place] for place in kept),
        statistics,
        lambda sums: ratio(sums[..., :3], sums[..., [3, 3, 4]])[..., kept],
    )


def _counts(draft: str, truth: str) -> list[int]:
    """Differing sides, disjoint sides, differing severities, compared sides, compared severities."""
    drafted, true = _asserted(draft), _asserted(truth)
    counts = [0] * 5
    for label in drafted.keys() & true.keys():
        ours, theirs = _sides(drafted[label]), _sides(true[label])
        if ours and theirs:
            counts[0] += ours != theirs
            counts[1] += not ours & theirs
            counts[3] += 1
        ours_worst, theirs_worst = _worst(drafted[label]), _worst(true[label])
        if ours_worst is not None and theirs_worst is not None:
            counts[2] += ours_worst != theirs_worst
            counts[4] += 1
    return counts


def _asserted(text: str) -> dict[str, list[Mention]]:
    mentions: dict[str, list[Mention]] = {}
    for mention in label_report(text).mentions:
        if mention.status == "positive":
            mentions.setdefault(mention.label, []).append(mention)
    return mentions


def _sides(mentions: Iterable[Mention]) -> set[str]:
    named = {mention.side for mention in mentions if mention.side}
    return {side for name in named for side in (("left", "right") if name == "bilateral" else (name,))}


def _worst(mentions: Iterable[Mention]) -> int | None:
    return max((SEVERITIES.index(mention.severity) for mention in mentions if mention.severity), default=None)

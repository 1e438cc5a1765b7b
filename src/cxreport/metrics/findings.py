"""Exact findings: what a draft says is there, against what is known to be there.

An item is a (kind, side) pair; a bilateral finding is two items, a finding without sides has side None.
A division by zero is 0 in averages: a kind that nobody reports has precision 0, one that nobody has recall 0.
In tables it is None.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cxreport.metrics.counts import precision_recall_f1, ratio
from cxreport.metrics.statistics import Tally
from cxreport.phantom.kinds import KINDS
from cxreport.study import SidedKind

Item = SidedKind

_NO_SIDE = "none"


@dataclass(frozen=True)
class FindingCounts:
    """True positives, false positives and false negatives per study, kind and side.

    ``truth`` and ``drafts`` are (N, I) bool over ``items``.
    """

    items: tuple[Item, ...]
    truth: np.ndarray
    drafts: np.ndarray

    @classmethod
    def of(cls, truths: Sequence[Collection[Item]], drafts: Sequence[Collection[Item]]) -> FindingCounts:
        """Count over N studies; items are all those of :data:`KINDS` and any other that occurs."""
        items = _all_items(truths, drafts)
        return cls(items, _membership(truths, items), _membership(drafts, items))

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(kind for kind, _ in self.items))

    def positives(self) -> dict[str, int]:
        """True items of every kind over all studies."""
        present = self.truth.sum(axis=0)
        return {
            kind: int(sum(present[i] for i, item in enumerate(self.items) if item[0] == kind))
            for kind in self.kinds
        }

    def kinds_counted(self, min_positives: int) -> tuple[str, ...]:
        """The kinds with at least `min_positives` true items: those that macro averages are over."""
        return tuple(kind for kind, count in self.positives().items() if count >= max(1, min_positives))

    def tables(self, *, min_positives: int) -> dict[str, Any]:
        """Counts, precision, recall and F1 by kind, by side and by item, as plain JSON values.

        Precision, recall or F1 is None where it divides by zero.
        """
        by_kind = self._table(self.kinds, lambda item: item[0])
        by_side = self._table(("left", "right", _NO_SIDE), lambda item: item[1] or _NO_SIDE)
        by_item = self._table([_name(item) for item in self.items], _name)
        return {
            "min_positives": min_positives,
            "kinds_counted": list(self.kinds_counted(min_positives)),
            "by_kind": by_kind,
            "by_side": by_side,
            "by_kind_and_side": {name: row for name, row in by_item.items() if row["positives"] or row["fp"]},
        }

    def tally(self, *, min_positives: int) -> Tally:
        """Macro and micro scores, side-blind F1 and side accuracy, ready for the bootstrap.

        Macro averages run over :meth:`kinds_counted` of the full set; a kind that a resample lost is left
        out of that resample's average. Names:
        ``finding_precision``, ``finding_recall``, ``finding_f1`` (macro over kinds, a kind's items of
        both sides pooled), ``finding_micro_f1``, ``finding_kind_f1`` (macro, a study has a kind or not,
        whatever its side) and ``side_accuracy`` (of the sided kinds that a study has and its draft
        names, the share named with exactly the right sides). Without a counted kind there are no macro
        averages, and where no sided kind was found there is no side accuracy; the micro F1 always remains.
        """
        kinds, counted = self.kinds, self.kinds_counted(min_positives)
        kind_of = np.array([[item[0] == kind for kind in kinds] for item in self.items], dtype=np.float64)
        exact = _outcomes(self.truth, self.drafts) @ kind_of  # (3, N, C)
        true_kinds, draft_kinds = (self.truth @ kind_of) > 0, (self.drafts @ kind_of) > 0
        blind = _outcomes(true_kinds, draft_kinds)
        sided = np.array([any(side for kind_, side in self.items if kind_ == kind) for kind in kinds])
        found = true_kinds & draft_kinds & sided
        right = found & ((self.truth != self.drafts) @ kind_of == 0)
        side = np.stack([right.sum(axis=1), found.sum(axis=1)], axis=1)
        studies = len(self.truth)
        counts = [np.moveaxis(part, 0, 1).reshape(studies, -1) for part in (exact, blind)]
        chosen = np.array([kind in counted for kind in kinds])
        names: tuple[str, ...] = ("finding_micro_f1", "side_accuracy")[: 1 + bool(found.any())]
        if counted:
            names = ("finding_precision", "finding_recall", "finding_f1", "finding_kind_f1", *names)
        return Tally(
            names,
            np.concatenate([*counts, side], axis=1),
            lambda sums: _aggregate(sums, chosen)[..., : len(names)],
        )

    def _table(
        self, names: Sequence[str], name_of: Callable[[Item], str]
    ) -> dict[str, dict[str, float | int | None]]:
        outcomes = _outcomes(self.truth, self.drafts).sum(axis=1)  # (3, I)
        table: dict[str, dict[str, float | int | None]] = {}
        for name in names:
            columns = [i for i, item in enumerate(self.items) if name_of(item) == name]
            tp, fp, fn = (int(count) for count in outcomes[:, columns].sum(axis=1))
            scores = precision_recall_f1(np.array(tp), np.array(fp), np.array(fn))
            defined = (tp + fp, tp + fn, tp + fp + fn)
            table[name] = {"tp": tp, "fp": fp, "fn": fn, "positives": tp + fn}
            table[name] |= {
                key: float(score) if whole else None
                for key, score, whole in zip(("precision", "recall", "f1"), scores, defined, strict=True)
            }
        return table


def _aggregate(sums: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Scores (..., M) of summed counts: 3 C exact, 3 C side-blind, right sides, found kinds."""
    kinds = len(counted)
    exact, blind = (
        part.reshape(*sums.shape[:-1], 3, kinds)
        for part in (sums[..., : 3 * kinds], sums[..., 3 * kinds : 6 * kinds])
    )
    _, _, micro = precision_recall_f1(*np.moveaxis(exact.sum(axis=-1), -1, 0))
    scores = [micro, ratio(sums[..., -2], sums[..., -1])]
    if counted.any():
        present = counted & (exact[..., 0, :] + exact[..., 2, :] > 0)
        _, _, blind_f1 = precision_recall_f1(*np.moveaxis(blind, -2, 0))
        by_kind = [*precision_recall_f1(*np.moveaxis(exact, -2, 0)), blind_f1]
        scores = [ratio((score * present).sum(axis=-1), present.sum(axis=-1)) for score in by_kind] + scores
    return np.stack(scores, axis=-1)


def _outcomes(truth: np.ndarray, drafts: np.ndarray) -> np.ndarray:
    """(3, N, I) float64: true positives, false positives, false negatives."""
    return np.stack([truth & drafts, ~truth & drafts, truth & ~drafts]).astype(np.float64)


def _membership(studies: Sequence[Collection[Item]], items: Sequence[Item]) -> np.ndarray:
    return np.array([[item in study for item in items] for study in studies], dtype=bool)


def _all_items(*many: Sequence[Collection[Item]]) -> tuple[Item, ...]:
    known: dict[Item, None] = {}
    for name, kind in KINDS.items():
        sides: tuple[str | None, ...] = ("left", "right") if kind.sides else (None,)
        known.update(dict.fromkeys((name, side) for side in sides))
    others = {item for studies in many for study in studies for item in study} - known.keys()
    return (*known, *sorted(others, key=lambda item: (item[0], item[1] or "")))


def _name(item: Item) -> str:
    kind, side = item
    return f"{kind} {side}" if side else kind

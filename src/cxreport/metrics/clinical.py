"""Scores of CheXpert labels, with every choice in their name.

``chexpert14.rules.macro.uncertain0.f1`` reads: the 14 labels, read by the built-in rules, macro average,
uncertain counts as absent, F1. A division by zero is 0 everywhere (as ``zero_division=0`` of scikit-learn).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from cxreport.metrics.counts import precision_recall_f1, ratio
from cxreport.metrics.statistics import Tally
from cxreport.study import LABELS

if TYPE_CHECKING:
    from cxreport.metrics.labeler import Language

ABSENT, POSITIVE, NEGATIVE, UNCERTAIN = range(4)
"""The codes of a label matrix (N, 14) int8, CheXbert's."""

TOP_5 = ("Cardiomegaly", "Edema", "Consolidation", "Atelectasis", "Pleural Effusion")
"""The five labels of the CheXpert competition (Irvin et al. 2019)."""

LABEL_SETS = {"chexpert14": tuple(range(14)), "chexpert5": tuple(LABELS.index(name) for name in TOP_5)}
"""Name of a set -> places of its labels in :data:`LABELS`."""

UNCERTAINTY = ("uncertain0", "uncertain1", "uncertain_ignored")
"""What an uncertain label counts as: absent; present; or, in the reference, nothing at all.

With ``uncertain_ignored`` a label whose reference is uncertain is left out of that study. An uncertain
draft counts as absent, so that no draft hedges its way out of being scored.
"""

LEAST_POSITIVES = {"macro": 0, "macro_present": 1, "macro20": 20}
"""Macro average -> how many references have a label that enters it."""

AVERAGES = (*LEAST_POSITIVES, "micro", "example")
"""Mean over labels; over those that some reference has; that 20 have; of summed counts; mean over studies."""

SCORES = ("precision", "recall", "f1")
LABEL_SCORES = (*SCORES, "positives")
"""Of a single label also the number of references that have it."""

_MEMORY = 1 << 16
_LABELS = len(LABELS)


def rules(hypotheses: Sequence[str], references: Sequence[str]) -> Tally:
    """Scores of the labels that the built-in English rules read."""
    return label_tally(rule_labels(hypotheses, "en"), rule_labels(references, "en"), "rules")


def rules_chinese(hypotheses: Sequence[str], references: Sequence[str]) -> Tally:
    """Scores of the labels that the built-in Chinese rules read."""
    return label_tally(rule_labels(hypotheses, "zh"), rule_labels(references, "zh"), "rules_zh")


def rule_labels(texts: Sequence[str], language: Language) -> np.ndarray:
    """Codes (N, 14) int8 of `texts` by the built-in rules; a text read once is remembered."""
    return np.array([_codes(text, language) for text in texts], dtype=np.int8).reshape(-1, _LABELS)


@lru_cache(maxsize=_MEMORY)
def _codes(text: str, language: Language) -> tuple[int, ...]:
    from cxreport.metrics.labeler import label_matrix

    return tuple(label_matrix([text], language)[0].tolist())


def label_tally(hypotheses: np.ndarray, references: np.ndarray, labeler: str) -> Tally:
    """All label scores of two code matrices (N, 14) int8; `labeler` names who read them.

    Names are ``<set>.<labeler>.<average>.<uncertainty>.<score>`` over :data:`LABEL_SETS`, :data:`AVERAGES`,
    :data:`UNCERTAINTY` and :data:`SCORES`; and ``chexpert14.<labeler>.<label>.<uncertainty>.<score>`` with
    the label in lower case and underscores. Raises ValueError for matrices of other shapes or codes.
    """
    for codes in (hypotheses, references):
        if codes.shape != (len(references), _LABELS) or not np.isin(codes, range(4)).all():
            raise ValueError(f"codes must be (N, 14) from 0 to 3 for {len(references)} studies")
    policies = [_Policy.of(hypotheses, references, uncertainty) for uncertainty in UNCERTAINTY]
    names = tuple(
        f"{group}.{labeler}.{average}.{uncertainty}.{score}"
        for uncertainty, (group, average, scores) in product(UNCERTAINTY, _rows())
        for score in scores
    )
    statistics = np.concatenate(
        [np.ones((len(references), 1)), *(policy.counts for policy in policies)], axis=1
    )

    def aggregate(sums: np.ndarray) -> np.ndarray:
        parts = np.split(sums[..., 1:], len(policies), axis=-1)
        scores = [policy.aggregate(part, sums[..., 0]) for policy, part in zip(policies, parts, strict=True)]
        return np.concatenate(scores, axis=-1)

    return Tally(names, statistics, aggregate)


def slug(label: str) -> str:
    """A label as a part of a name: ``pleural_effusion``."""
    return label.lower().replace(" ", "_")


def _rows() -> list[tuple[str, str, tuple[str, ...]]]:
    """(label set, average or label, its scores) in order."""
    averages = [(group, average, SCORES) for group, average in product(LABEL_SETS, AVERAGES)]
    return [*averages, *(("chexpert14", slug(label), LABEL_SCORES) for label in LABELS)]


class _Policy:
    """The counts of one way to treat uncertain labels: (N, 48) float64.

    True positives, false positives and false negatives of the 14 labels, then precision, recall and F1 of
    every study's label set, for both sets of labels. ``positives`` (14,) says how many references have each.
    """

    def __init__(self, drafts: np.ndarray, truths: np.ndarray, counted: np.ndarray) -> None:
        outcomes = np.stack([drafts & truths, drafts & ~truths, ~drafts & truths]) & counted
        sets = [outcomes[..., list(places)].sum(axis=-1) for places in LABEL_SETS.values()]
        examples = [score for summed in sets for score in precision_recall_f1(*summed)]
        self.positives = (truths & counted).sum(axis=0)
        self.counts = np.concatenate([*outcomes.astype(np.float64), np.stack(examples, axis=1)], axis=1)

    @classmethod
    def of(cls, hypotheses: np.ndarray, references: np.ndarray, uncertainty: str) -> _Policy:
        positive = (POSITIVE, UNCERTAIN) if uncertainty == "uncertain1" else (POSITIVE,)
        counted = np.ones(references.shape, dtype=bool)
        if uncertainty == "uncertain_ignored":
            counted = references != UNCERTAIN
        return cls(np.isin(hypotheses, positive), np.isin(references, positive), counted)

    def aggregate(self, sums: np.ndarray, studies: np.ndarray) -> np.ndarray:
        """Scores (..., 86) in the order of :func:`_rows` of summed counts (..., 48) over `studies` (...)."""
        counts = sums[..., : 3 * _LABELS].reshape(*sums.shape[:-1], 3, _LABELS)
        by_label = np.stack(precision_recall_f1(*np.moveaxis(counts, -2, 0)), axis=-2)  # (..., 3, 14)
        rows: list[np.ndarray] = []
        for place, labels in enumerate(map(list, LABEL_SETS.values())):
            chosen = by_label[..., labels]
            micro = precision_recall_f1(*np.moveaxis(counts[..., labels].sum(axis=-1), -1, 0))
            start = 3 * (_LABELS + place)
            for least in LEAST_POSITIVES.values():
                enough = self.positives[labels] >= least
                rows.append((chosen * enough).sum(axis=-1) / max(enough.sum(), 1))
            rows += [
                np.stack(micro, axis=-1),
                ratio(sums[..., start : start + 3], studies[..., None]),
            ]
        positives = counts[..., :1, :] + counts[..., 2:, :]
        rows += list(np.moveaxis(np.concatenate([by_label, positives], axis=-2), -1, 0))
        return np.concatenate(rows, axis=-1)

"""Precision, recall and F1 of counts, with one policy for a division by zero."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

_ROUNDING = 1e-9


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """`part` / `whole`, and 0 where `whole` is 0."""
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), 0.0)


def precision_recall_f1(
    tp: np.ndarray, fp: np.ndarray, fn: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall and F1 of counts of any one shape; a division by zero is 0."""
    precision, recall = ratio(tp, tp + fp), ratio(tp, tp + fn)
    f1 = ratio(2 * tp, 2 * tp + fp + fn)
    assert np.all(f1 <= (precision + recall) / 2 + _ROUNDING), "a harmonic mean above the arithmetic mean"
    return precision, recall, f1


def check_f1(scores: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse to report an F1 above (P + R) / 2, where P and R of the same average stand beside it.

    It cannot be: every single F1 is a harmonic mean, at most the arithmetic mean of its P and R, and so
    are means of them over the same labels or studies. A macro F1 may well exceed the *harmonic* mean of
    macro P and macro R. Raises ArithmeticError, because only a bug leads here.
    """
    for name in scores:
        stem, found, ending = name.rpartition("f1")
        f1, precision, recall = (
            scores.get(f"{stem}{other}", {}).get("value") for other in ("f1", "precision", "recall")
        )
        if not found or ending or f1 is None or precision is None or recall is None:
            continue
        if f1 > (precision + recall) / 2 + _ROUNDING:
            raise ArithmeticError(f"{name} is {f1}, above the mean of {precision} and {recall}")

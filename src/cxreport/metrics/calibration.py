"""Whether probabilities are what they say: calibration error, reliability, the temperature that helps.

Guo et al., "On Calibration of Modern Neural Networks" (ICML 2017). ``logits``, ``probabilities`` and
``truth`` are (N, L): N studies, L labels; ``truth`` is 1, 0, or NaN where it is not known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit

from cxreport.metrics.statistics import Tally

BINS = 15
"""Equal intervals of probability, as in the paper."""

_LARGEST = 20.0
"""Temperatures are sought from 1 / 20 to 20."""


@dataclass(frozen=True, slots=True)
class Bin:
    """An interval of probability: its bounds, the answers in it, what they say and the share that is true."""

    low: float
    high: float
    count: int
    confidence: float
    frequency: float


def probabilities_of(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Log-odds as probabilities, softened by `temperature` above 1 and sharpened below."""
    chances: np.ndarray = expit(np.asarray(logits, dtype=np.float64) / temperature)
    return chances


def cross_entropy(logits: np.ndarray, truth: np.ndarray, temperature: float = 1.0) -> float:
    """Mean negative log-likelihood in nats of what is known."""
    known = ~np.isnan(truth)
    scaled = np.asarray(logits, dtype=np.float64)[known] / temperature
    return float(np.mean(np.logaddexp(0.0, scaled) - truth[known] * scaled))


def fit_temperature(logits: np.ndarray, truth: np.ndarray) -> float:
    """The one temperature of least :func:`cross_entropy`; belongs on a validation split.

    Ranks, and so AUROC, stay as they are. Raises ValueError where nothing is known.
    """
    if np.isnan(truth).all():
        raise ValueError("no label is known")
    span = np.log(_LARGEST)
    found = minimize_scalar(
        lambda log: cross_entropy(logits, truth, float(np.exp(log))), bounds=(-span, span), method="bounded"
    )
    return float(np.exp(found.x))


def reliability(probabilities: np.ndarray, truth: np.ndarray, bins: int = BINS) -> list[Bin]:
    """The reliability diagram over all labels: what is said and what is true in each interval."""
    places, known = _places(probabilities, truth, bins)
    rows = []
    for place in range(bins):
        inside = known & (places == place)
        count = int(inside.sum())
        confidence = float(probabilities[inside].mean()) if count else float("nan")
        frequency = float(truth[inside].mean()) if count else float("nan")
        rows.append(Bin(place / bins, (place + 1) / bins, count, confidence, frequency))
    return rows


def calibration_error(
    probabilities: np.ndarray, truth: np.ndarray, name: str = "ece", bins: int = BINS
) -> Tally:
    """Expected calibration error (ECE): |confidence - frequency| of every interval, weighted by its answers.

    Of the probability that a label is present, over all labels at once. A resample's error is larger than
    that of its population, the more so the smaller the set.
    """
    places, known = _places(probabilities, truth, bins)
    excess = np.where(known, probabilities - np.nan_to_num(truth), 0.0)
    columns = [np.where(places == place, excess, 0.0).sum(axis=1) for place in range(bins)]
    statistics = np.stack([*columns, known.sum(axis=1)], axis=1)
    return Tally(
        (name,), statistics, lambda sums: np.abs(sums[..., :-1]).sum(-1, keepdims=True) / sums[..., -1:]
    )


def _places(probabilities: np.ndarray, truth: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """The interval of every answer, and which of them are known."""
    return np.clip((probabilities * bins).astype(np.int64), 0, bins - 1), ~np.isnan(truth)

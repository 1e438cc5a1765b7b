"""Calibration by hand, by construction, and what a temperature must not change."""

from __future__ import annotations

import numpy as np
import pytest

from cxreport.metrics.calibration import (
    calibration_error,
    cross_entropy,
    fit_temperature,
    probabilities_of,
    reliability,
)

NAN = float("nan")


def drawn(count: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Log-odds that are `temperature` times too large for the truth drawn from them."""
    generator = np.random.default_rng(seed)
    true = generator.normal(-1, 2, (count, 3))
    truth = (generator.random((count, 3)) < probabilities_of(true)).astype(float)
    return true * temperature, truth


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_the_temperature_of_the_truth_is_found(temperature: float) -> None:
    logits, truth = drawn(20_000, temperature)
    truth[::7, 1] = NAN
    assert fit_temperature(logits, truth) == pytest.approx(temperature, rel=0.05)


def test_a_temperature_lowers_cross_entropy_and_error() -> None:
    logits, truth = drawn(4000, 3.0)
    found = fit_temperature(logits, truth)
    assert cross_entropy(logits, truth, found) < cross_entropy(logits, truth)
    before, after = (calibration_error(probabilities_of(logits, t), truth).values()[0] for t in (1, found))
    assert before > 0.08
    assert after < 0.02
    with pytest.raises(ValueError, match="no label"):
        fit_temperature(logits, np.full_like(truth, NAN))


def test_cross_entropy_by_hand_and_without_overflow() -> None:
    assert cross_entropy(np.array([[0.0, 7.0]]), np.array([[1.0, NAN]])) == pytest.approx(np.log(2))
    assert cross_entropy(np.array([[1000.0]]), np.array([[0.0]])) == pytest.approx(1000)
    assert probabilities_of(np.array([-1000.0, 1000.0])).tolist() == [0, 1]


def test_error_and_diagram_by_hand() -> None:
    """Two bins: of 0.1, 0.3 one is true (said 0.2, is 0.5); of 0.8, 1.0 both (said 0.9, is 1)."""
    chances, truth = np.array([[0.1, 0.3], [0.8, 1.0], [0.6, 0.2]]), np.array([[0, 1], [1, 1], [NAN, NAN]])
    tally = calibration_error(chances, truth, bins=2)
    assert tally.values()[0] == pytest.approx((2 * 0.3 + 2 * 0.1) / 4)
    low, high = reliability(chances, truth, bins=2)
    assert (low.count, low.confidence, low.frequency) == (2, pytest.approx(0.2), 0.5)
    assert (high.count, high.confidence, high.frequency) == (2, pytest.approx(0.9), 1.0)
    assert (high.low, high.high) == (0.5, 1.0)


def test_the_tally_equals_the_diagram() -> None:
    logits, truth = drawn(300, 2.0)
    chances = probabilities_of(logits)
    bins = [each for each in reliability(chances, truth) if each.count]
    wanted = sum(each.count * abs(each.confidence - each.frequency) for each in bins) / truth.size
    assert calibration_error(chances, truth).values()[0] == pytest.approx(wanted)

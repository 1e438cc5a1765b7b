"""RadCliQ-v1: the linear model, its reciprocal and the share of pairs without relations."""

from __future__ import annotations

import numpy as np
import pytest

from cxreport.metrics.models.radcliq import radcliq_from_scores, tally_of


def test_known_values() -> None:
    """A perfect pair, and equal short texts whose RadGraph term is 0.5; others have published both."""
    features = np.array([[1.0, 1.0, 1.0, 1.0], [0.5, 1.0, 1.0, 1.0]])
    assert radcliq_from_scores(features) == pytest.approx([-1.4407, -0.8181], abs=1e-4)


def test_every_better_score_lowers_it() -> None:
    base = radcliq_from_scores(np.full((1, 4), 0.5))[0]
    for place in range(3):
        features = np.full((1, 4), 0.5)
        features[0, place] = 0.9
        assert radcliq_from_scores(features)[0] < base - 0.1


def test_the_reciprocal_is_of_the_mean_and_changes_sign() -> None:
    mean, reciprocal, empty = tally_of(np.array([-0.8181, 1.0181]), np.array([1.0, 0.0])).values()
    assert (mean, reciprocal, empty) == pytest.approx((0.1, 10.0, 0.5))
    better = tally_of(np.array([-0.8181]), np.array([1.0])).values()
    assert better[1] == pytest.approx(-1.22234, abs=1e-4)

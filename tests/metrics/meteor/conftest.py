"""METEOR's real word lists, where they are installed."""

from __future__ import annotations

import pytest

from cxreport.metrics.meteor import resources
from cxreport.metrics.meteor.lexicon import Lexicon
from cxreport.metrics.unavailable import MetricUnavailable


@pytest.fixture(scope="session")
def real_lexicon() -> Lexicon:
    """METEOR's own word lists; skips where ``pycocoevalcap`` is not installed."""
    try:
        return resources.load_lexicon()
    except MetricUnavailable as reason:
        pytest.skip(str(reason))

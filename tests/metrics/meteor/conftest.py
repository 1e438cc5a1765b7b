"""METEOR's real word lists, where they are installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxreport.metrics.meteor import resources
from cxreport.metrics.meteor.lexicon import Lexicon
from cxreport.metrics.unavailable import MetricUnavailable


@pytest.fixture(scope="session")
def cache_folder(request: pytest.FixtureRequest) -> Path:
    """Where the real word lists are cached between runs of the tests."""
    cache = request.config.cache
    assert cache is not None
    return Path(cache.mkdir("meteor"))


@pytest.fixture(scope="session")
def real_lexicon(cache_folder: Path) -> Lexicon:
    """METEOR's own word lists; skips where ``pycocoevalcap`` is not installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(resources.CACHE_VARIABLE, str(cache_folder))
        try:
            return resources.load_lexicon()
        except MetricUnavailable as reason:
            pytest.skip(str(reason))


@pytest.fixture
def installed(real_lexicon: Lexicon, cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Lexicon:
    """Metrics find the real word lists in the cache of the tests."""
    monkeypatch.setenv(resources.CACHE_VARIABLE, str(cache_folder))
    return real_lexicon

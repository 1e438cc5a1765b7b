"""Fixtures that every test may use."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real data and golden numbers, which are not part of the project."""
    root = Path(os.environ.get("CXREPORT_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not root.is_dir():
        pytest.skip(f"real data is absent: no folder {root} (set CXREPORT_SHARED)")
    return root


@pytest.fixture(autouse=True, scope="session")
def _own_cache(request: pytest.FixtureRequest) -> Iterator[None]:
    """What is read once and kept (METEOR's word lists) lies in the cache of the tests, not of the user."""
    cache = request.config.cache
    assert cache is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXREPORT_CACHE", str(cache.mkdir("cxreport")))
        yield


@pytest.fixture(autouse=True)
def _heeds_ctrl_c() -> Iterator[None]:
    """A job started in the background of a script ignores Ctrl-C; what is tested must not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def _quiet_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small tensors are slower on many threads, and one thread sums in one order."""
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    import torch

    torch.set_num_threads(1)

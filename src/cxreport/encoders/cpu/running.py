"""Compile a kernel, and run it on as many threads as PyTorch uses."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numba
import numpy as np


def compiled(function: Callable[..., None], signature: Any) -> Callable[..., None]:
    """Machine code of a kernel, from numba's cache on disk where there is a place for one.

    numba sees a change only in the file of the kernel itself, so the name in its cache carries a digest of
    all files here.
    """
    _keep_memory()
    function.__qualname__ = f"{function.__name__}_{_digest()}"
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(signature, cache=True, **options)(function)
    except RuntimeError as error:
        if "cannot cache" not in str(error):
            raise
        return numba.njit(signature, **options)(function)


@cache
def _keep_memory() -> None:
    """Free one block of almost 32 MiB, which nothing touches.

    The allocator of glibc raises its limits to the largest block that was freed. Below them it keeps memory
    for the next layer; above them the system takes it back and hands it out page by page again, which cost a
    quarter of the time of an encoder on 4,096 tokens.
    """
    np.empty(2**25 - 2**16, dtype=np.uint8)


@cache
def _digest() -> str:
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:8]


def run_tasks(kernel: Callable[..., None], shares: Sequence[np.ndarray], arguments: Sequence[Any]) -> None:
    """Call ``kernel(share, *arguments)``, every share of the tasks in a thread of its own."""
    if not shares:
        return
    waiting = [_pool(os.getpid(), len(shares)).submit(kernel, share, *arguments) for share in shares[1:]]
    kernel(shares[0], *arguments)
    for each in waiting:
        each.result()


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Threads of one process: those of a parent do not live on in a forked DataLoader worker."""
    return ThreadPoolExecutor(threads, thread_name_prefix=f"scan-{process}")

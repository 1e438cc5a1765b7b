"""Work on all cores, in order, with bounded memory; a worker that dies costs one task."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from cxreport.errors import UserError

Task = TypeVar("Task")
Result = TypeVar("Result")

AHEAD = 4
"""So many tasks per worker are under way or wait for their turn to be handed on."""


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pool_of(workers: int) -> ProcessPoolExecutor:
    """A pool of fresh processes that leave Ctrl-C to their parent and end with it, however it ends."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, context, initializer=_start, initargs=(os.getpid(),))


def in_order(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    workers: int,
    died: Callable[[Task], Result],
) -> Generator[Result, None, None]:
    """``map(function, tasks)`` in `workers` processes; with 0 workers in this one.

    Results come in the order of `tasks`, of which only a few (:data:`AHEAD` per worker) are held at a
    time. When a worker is killed or crashes, every task that was under way runs again, alone in a process
    of its own; the one that kills that too gets ``died(task)`` as its result. Raises UserError where no
    process can start, as in a program that is read from stdin.
    """
    if workers == 0:
        yield from map(function, tasks)
        return
    queue: deque[tuple[Task, Future[Result]]] = deque()
    pool = pool_of(workers)
    upcoming = iter(tasks)
    try:
        while True:
            while len(queue) < AHEAD * workers:
                try:
                    task = next(upcoming)
                except StopIteration:
                    break
                queue.append((task, _submitted(pool, function, task)))
            if not queue:
                return
            task, future = queue[0]
            try:
                result = future.result()
            except BrokenProcessPool:
                pool.shutdown(wait=True, cancel_futures=True)
                suspects = [one for one, _ in queue]
                queue = deque(_one_by_one(function, suspects, died))
                pool = pool_of(workers)
                continue
            queue.popleft()
            yield result
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _submitted(pool: ProcessPoolExecutor, function: Callable[[Task], Result], task: Task) -> Future[Result]:
    """The future of `task`; a pool that has broken meanwhile gives one that says so."""
    try:
        return pool.submit(function, task)
    except BrokenProcessPool as error:
        future: Future[Result] = Future()
        future.set_exception(error)
        return future


def _one_by_one(
    function: Callable[[Task], Result], tasks: list[Task], died: Callable[[Task], Result]
) -> list[tuple[Task, Future[Result]]]:
    """Finished futures of `tasks`, each run with no other beside it."""
    done: list[tuple[Task, Future[Result]]] = []
    pool = pool_of(1)
    try:
        _check_start(pool)
        for task in tasks:
            future = _submitted(pool, function, task)
            try:
                future.result()
            except BrokenProcessPool:
                future = Future()
                future.set_result(died(task))
                pool.shutdown(wait=True)
                pool = pool_of(1)
            except Exception as error:
                future = Future()
                future.set_exception(error)
            done.append((task, future))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return done


def _check_start(pool: ProcessPoolExecutor) -> None:
    """Let `pool` do next to nothing: where even that fails no task is to blame."""
    try:
        pool.submit(os.getpid).result()
    except BrokenProcessPool:
        raise UserError(
            'Worker processes cannot start; put the call under if __name__ == "__main__" in a script file, '
            "or use workers=0."
        ) from None


def _start(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process when `parent` has ended: a killed parent cannot tell its workers to stop."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)

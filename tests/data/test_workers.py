"""Work in other processes: order, bounds, and workers that die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from cxreport.data.workers import AHEAD, in_order


def square(number: int) -> int:
    return number * number


def fragile(number: int) -> int:
    if number in (3, 11, 12):
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 7:
        raise ValueError("seven")
    return number * number


def lost(number: int) -> int:
    return -number


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_results_come_in_order(workers):
    assert list(in_order(square, range(50), workers, lost)) == [number * number for number in range(50)]


def test_few_tasks_are_held():
    taken = []

    def tasks() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = in_order(square, tasks(), 2, lost)
    assert [next(results) for _ in range(5)] == [0, 1, 4, 9, 16]
    assert len(taken) <= 5 + 2 * AHEAD
    results.close()


def test_a_worker_that_dies_costs_its_task():
    found = list(in_order(fragile, [number for number in range(20) if number != 7], 2, lost))
    assert found == [-n if n in (3, 11, 12) else n * n for n in range(20) if n != 7]


def test_an_exception_of_a_task_is_raised():
    with pytest.raises(ValueError, match="seven"):
        list(in_order(fragile, [1, 7], 2, lost))
    with pytest.raises(ValueError, match="seven"):
        list(in_order(fragile, [1, 3, 7], 2, lost))


SCRIPT = """
import os, sys
from cxreport.data.workers import in_order
def pid(_):
    return os.getpid()
if __name__ == "__main__":
    results = in_order(pid, range(100), 2, pid)
    print(next(results), flush=True)
    os.kill(os.getpid(), 9)
"""


def test_workers_end_with_a_killed_parent(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, str(tmp_path / "script.py")], capture_output=True, timeout=60)
    # The workers share the pipe of stdout: run() would wait for one that lives on.
    assert done.returncode == -signal.SIGKILL
    assert int(done.stdout) > 0


def test_processes_that_cannot_start_are_told_and_not_tried_again_for_every_task():
    """A spawned process reads the program's file again; a program on stdin has none."""
    program = (
        "from cxreport.data.workers import in_order\n"
        "print(list(in_order(abs, range(1000), 2, lambda task: None)))\n"
    )
    done = subprocess.run([sys.executable, "-"], input=program, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "UserError: Worker processes cannot start" in done.stderr
    assert done.stdout == ""

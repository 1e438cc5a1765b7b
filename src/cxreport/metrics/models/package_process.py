"""A metric's package in a process of its own, because its libraries may not fit beside ours.

radgraph 0.1 needs transformers 4; RaTEScore and radeval need medspacy, which on Python 3.11 needs numpy 1.
Make one environment for them and name its Python in ``CXREPORT_METRICS_PYTHON``; without it the running
Python is used. The process gets texts as JSON and answers with numbers as JSON; the hub is switched off.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from cxreport.errors import UserError
from cxreport.metrics.unavailable import MetricUnavailable

PYTHON_VARIABLE = "CXREPORT_METRICS_PYTHON"
_PROGRAM = Path(__file__).with_name("package_program.py")
_LINES_KEPT = 5


def run_package(job: str, package: str, request: dict[str, Any]) -> Any:
    """The answer of `job`, a function of ``package_program.py``, to `request`.

    Args:
        job: its name, such as ``radgraph``.
        package: what to install when it cannot be imported, as pip spells it.
        request: JSON-like arguments of the job.

    Raises:
        MetricUnavailable: the package, or another that it imports, is not installed in that Python.
        UserError: the package failed; the last lines of what it printed are quoted.
    """
    python = os.environ.get(PYTHON_VARIABLE, sys.executable)
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    try:
        done = subprocess.run(
            [python, str(_PROGRAM), job],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            encoding="utf-8",
            env=os.environ | offline,
            check=False,
        )
    except OSError as error:
        raise UserError(f"Cannot start {python} ({PYTHON_VARIABLE}): {error.strerror}.") from None
    answer = _answer(done.stdout)
    if "missing" in answer:
        raise MetricUnavailable(
            f"{job} needs the package {answer['missing']}; `pip install {package}` into an environment and"
            f" name its Python in {PYTHON_VARIABLE}."
        )
    if "result" not in answer:
        said = " ".join(done.stderr.strip().splitlines()[-_LINES_KEPT:]) or f"status {done.returncode}"
        raise UserError(f"The package of {job} failed in {python}: {answer.get('error', said)}")
    return answer["result"]


def _answer(printed: str) -> dict[str, Any]:
    try:
        answer = json.loads(printed)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}

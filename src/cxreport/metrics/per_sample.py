"""The scores of every pair alone, one JSON object a line."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cxreport.metrics.evaluate import Evaluation

_OF_ONE_STUDY = ".example.uncertain0."
"""In the names of those label scores that mean something for one study."""


def sample_rows(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """For every study its ``study_id`` and every score by name; None where one study has no such score.

    Scores of single studies do not average to a corpus score where that sums counts first (BLEU, METEOR).
    """
    columns: dict[str, list[float]] = {}
    for tally in evaluation.measured.tallies:
        names = [name for name in tally.names if not name.startswith("chexpert") or _OF_ONE_STUDY in name]
        if names:
            columns |= dict(zip(names, tally.only(names).per_sample().T.tolist(), strict=True))
    for place, study_id in enumerate(evaluation.test_set.study_ids):
        yield {"study_id": study_id} | {name: _number(values[place]) for name, values in columns.items()}


def write_sample_rows(evaluation: Evaluation, path: Path) -> None:
    """Write :func:`sample_rows` to `path`."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in sample_rows(evaluation):
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None

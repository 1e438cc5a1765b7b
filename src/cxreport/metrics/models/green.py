"""GREEN (Ostmeier et al., EMNLP Findings 2024), errors counted by a language model, through ``radeval``."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence

import numpy as np

from cxreport.metrics.models.folders import model_folder
from cxreport.metrics.models.package_process import run_package
from cxreport.metrics.statistics import Tally


def green(hypotheses: Sequence[str], references: Sequence[str]) -> Tally:
    """Mean GREEN over studies, and the share of answers of the model that could not be read.

    GREEN of a pair is matched findings over matched findings plus clinically significant errors. A blank
    draft or reference scores 0. An answer that could not be read scores 0 and is counted in
    ``green_unread``. Raises MetricUnavailable when the package or its weights (14 GB) are absent.
    """
    folder = str(model_folder("green"))
    pairs = list(zip(hypotheses, references, strict=True))
    written = [place for place, pair in enumerate(pairs) if all(text.strip() for text in pair)]
    scores: list[float | None] = []
    if written:
        with tempfile.TemporaryDirectory() as scratch:
            request = {
                "folder": folder,
                "scratch": scratch,
                "hypotheses": [pairs[place][0] for place in written],
                "references": [pairs[place][1] for place in written],
            }
            scores = run_package("green", "radeval", request)
    statistics = np.zeros((len(pairs), 3))
    statistics[:, 2] = 1
    statistics[written, 0] = [0.0 if score is None else score for score in scores]
    statistics[written, 1] = [float(score is None) for score in scores]
    return Tally(("green", "green_unread"), statistics, lambda sums: sums[..., :2] / sums[..., 2:])

"""RaTEScore (Zhao et al., EMNLP 2024) through the package ``RaTEScore``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cxreport.metrics.models.folders import model_folder
from cxreport.metrics.models.package_process import run_package
from cxreport.metrics.statistics import Tally, mean_tally


def ratescore(hypotheses: Sequence[str], references: Sequence[str]) -> Tally:
    """Mean RaTEScore over studies, with the package's affinity matrix ``long``.

    A pair in which either text is blank scores 0; the package fails on a blank text, and gives 0.5 to one
    without entities. Raises MetricUnavailable when the package or its weights are absent.
    """
    folders = {"ner": str(model_folder("ratescore-ner")), "synonyms": str(model_folder("ratescore-synonyms"))}
    pairs = list(zip(hypotheses, references, strict=True))
    written = [place for place, pair in enumerate(pairs) if all(text.strip() for text in pair)]
    texts = {
        "hypotheses": [pairs[place][0] for place in written],
        "references": [pairs[place][1] for place in written],
    }
    values = np.zeros(len(pairs))
    values[written] = run_package("ratescore", "RaTEScore", folders | texts) if written else []
    return mean_tally("ratescore", values)

from __future__ import annotations

import pytest

from cxreport.data.labels import NIH_LABELS, NIH_WORDS, chexpert_labels, nih_labels
from cxreport.study import LABELS


@pytest.mark.parametrize(
    ("cell", "value"),
    [("1.0", 1), ("0.0", 0), ("-1.0", -1), (1, 1), (0, 0), (-1, -1), ("1", 1), (True, 1)],
)
def test_cells_that_are_labels(cell, value):
    assert chexpert_labels({"Edema": cell, "other": 1}) == {"Edema": value}


@pytest.mark.parametrize("cell", ["", None, "nan", "2", "x", float("nan"), 0.5, []])
def test_cells_that_mention_nothing(cell):
    assert chexpert_labels({"Edema": cell}) == {}


def test_words_of_chestxray14():
    assert len(NIH_WORDS) == 14
    assert set(NIH_LABELS.values()) < set(LABELS)
    labels = nih_labels(["Mass", "Infiltration"])
    assert labels["Lung Lesion"] == 1
    assert sum(labels.values()) == 1
    assert "Lung Opacity" not in labels
    assert nih_labels(["No Finding"])["No Finding"] == 1

"""The scores of a classifier of labels as rows of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cxreport.metrics.tables import Table, with_interval


def classifier_tables(scores: Mapping[str, Any]) -> Iterator[Table]:
    """A row per label and the macro averages; calibration; the pointing game where there are boxes."""
    macro = scores["macro"]
    counted = set(macro["labels"])
    rows = [
        [
            name + ("*" if name in counted else ""),
            str(row["positives"]),
            *(with_interval(row[score]) for score in ("auroc", "auprc", "f1")),
            "-" if row["threshold"] is None else f"{row['threshold']:.3f}",
        ]
        for name, row in scores["labels"].items()
    ]
    mean = [with_interval(macro[score]) for score in ("auroc", "auprc")]
    rows.append([f"mean of the {len(counted)} with *", "", *mean, "", ""])
    yield ["label", "positives", "AUROC", "AUPRC", "F1", "threshold"], rows
    calibration = scores["calibration"]
    cells = [with_interval(calibration["ece"][when]) for when in ("before", "after")]
    header = ["calibration", "temperature", "ECE before", "ECE after"]
    yield header, [["all labels", f"{calibration['temperature']:.3f}", *cells]]
    if "pointing" in scores:
        header = ["pointing game", "maps", "in a box", "at most 15 of 224 px beside", "by chance"]
        yield (
            header,
            [
                [
                    name,
                    str(row["hit"]["n"]),
                    *(with_interval(row[key]) for key in ("hit", "near", "chance")),
                ]
                for name, row in scores["pointing"].items()
            ],
        )

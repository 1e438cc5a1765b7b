"""Baselines that look at no image, written for a test set: what a score costs without vision."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cxreport.errors import UserError
from cxreport.generators.baselines import most_frequent, random_train
from cxreport.metrics.clinical import POSITIVE, rule_labels
from cxreport.metrics.outside import table_rows
from cxreport.metrics.predictions import read_json, read_reports, readable
from cxreport.metrics.protocols import Protocol

ALL_NORMAL = (
    "The heart is normal in size. The mediastinal contours are normal. The lungs are clear."
    " There is no focal consolidation, pleural effusion or pneumothorax. The bony structures are intact."
)
"""One normal report in common words, not fitted to any data."""

ALL_NORMAL_CHINESE = (
    "两肺纹理清晰，未见明显实质性病变。心影大小形态正常。纵隔未见增宽。两膈面光整，肋膈角锐利。"
)


def image_free(
    references: Sequence[str], protocol: Protocol, train_reports: Sequence[str] | None, seed: int
) -> dict[str, list[str]]:
    """The drafts of every baseline for prepared `references`, prepared in the same way.

    ``all_normal`` needs nothing; with `train_reports` (prepared, without empty ones) there are also
    ``most_frequent``, ``random_train`` and ``oracle_neighbour``.
    """
    language = protocol.language
    normal = protocol.prepared(ALL_NORMAL_CHINESE if language == "zh" else ALL_NORMAL)
    drafts = {"all_normal": [normal] * len(references)}
    if train_reports is not None:
        drafts["most_frequent"] = [most_frequent(train_reports)] * len(references)
        drafts["random_train"] = random_train(train_reports, len(references), seed)
        labels, train_labels = (
            rule_labels(protocol.whole(texts), language) == POSITIVE for texts in (references, train_reports)
        )
        drafts["oracle_neighbour"] = oracle_neighbour(labels, train_labels, train_reports, seed)
    return drafts


def oracle_neighbour(
    labels: np.ndarray, train_labels: np.ndarray, train_reports: Sequence[str], seed: int
) -> list[str]:
    """For each of M studies a train report whose positive labels differ least from the study's own.

    `labels` is (M, L) bool, `train_labels` (N, L) bool. What a reference denies is not used: no image tells
    what its reader cared to deny. It is an oracle: the labels are read from the reference, so this is what
    a perfect classifier of them with retrieval would write. Of train reports that differ equally little,
    one is drawn by `seed`.
    """
    generator = np.random.default_rng(seed)
    place_of = {codes: place for place, codes in enumerate(dict.fromkeys(map(bytes, train_labels)))}
    distinct = np.array([np.frombuffer(codes, dtype=train_labels.dtype) for codes in place_of])
    members: list[list[int]] = [[] for _ in place_of]
    for row, codes in enumerate(map(bytes, train_labels)):
        members[place_of[codes]].append(row)
    drafts = []
    for codes in labels:
        differing = (distinct != codes).sum(axis=1)
        nearest = [
            row for place in np.flatnonzero(differing == differing.min()).tolist() for row in members[place]
        ]
        drafts.append(train_reports[nearest[int(generator.integers(len(nearest)))]])
    return drafts


def read_train_reports(path: Path, protocol: Protocol) -> list[str]:
    """Raw train reports of the protocol's section, without empty ones.

    From a text file (one report a line), a CSV file (column ``report``), an annotation file in R2Gen's
    layout (its ``train`` list) or a dataset folder (its train split). Raises UserError for anything else,
    and when no report has text.
    """
    if path.is_dir():
        reports = _of_dataset(path, protocol)
    elif path.suffix.lower() == ".csv":
        reports = [row["report"] for _, row in table_rows(path, ("report",))]
    elif path.suffix.lower() == ".json":
        reports = _of_annotation(path)
    else:
        reports = read_reports(path)
    written = [report for report in reports if report.strip()]
    if not written:
        raise UserError(f"--train-reports: {path} holds no report with text.")
    return written


def _of_dataset(path: Path, protocol: Protocol) -> list[str]:
    from dataclasses import asdict

    from cxreport.data.store import PreparedDataset

    dataset = PreparedDataset.open(path)
    if "train" not in dataset.splits:
        raise UserError(f"--train-reports: {path} has no train split.")
    return [protocol.text_of(asdict(report)) for report in dataset.split("train").reports]


def _of_annotation(path: Path) -> list[str]:
    with readable(path):
        text = path.read_text(encoding="utf-8-sig")
    tree = read_json(text, f"--train-reports: {path}")
    train = tree.get("train") if isinstance(tree, dict) else None
    if not isinstance(train, list) or not all(
        isinstance(study, dict) and isinstance(study.get("report"), str) for study in train
    ):
        raise UserError(
            f'--train-reports: {path} needs a list "train" of studies with a text "report", as R2Gen\'s'
            " annotation.json."
        )
    return [study["report"] for study in train]

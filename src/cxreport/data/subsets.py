"""Stratified subsets of a split, for training on little data: files of ids that carry their SHA-256."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cxreport.data.shards import write_json
from cxreport.data.splits import sha256_of_ids, stratified_places
from cxreport.data.store import PreparedDataset, Studies
from cxreport.errors import UserError
from cxreport.options import DataOptions

FORMAT = "cxreport.ids/1"


def stratified_subset(labels: Mapping[str, Sequence[str]], fraction: float, seed: int) -> list[str]:
    """A `fraction` of the study ids in `labels`, with that fraction of every label, in their order.

    Args:
        labels: study id -> names of what it shows.
        fraction: above 0, at most 1; at least one study is taken.
        seed: with the same seed, a smaller fraction is a part of every larger one.
    """
    if not 0 < fraction <= 1:
        raise UserError(f"--fraction must lie above 0 and be at most 1, not {fraction:g}.")
    places = stratified_places(labels, seed)
    ranked = sorted(labels, key=lambda study: (places[study], study))
    taken = set(ranked[: max(1, round(fraction * len(ranked)))])
    return [study for study in labels if study in taken]


def train_part(dataset: PreparedDataset, options: DataOptions) -> Studies:
    """The studies of the train split that a recipe learns from: all, or its :func:`stratified_subset`."""
    studies = dataset.split("train")
    if options.train_share == 1:
        return studies
    taken = set(stratified_subset(_shown(studies), options.train_share, options.train_share_seed))
    return studies.select(place for place, study in enumerate(studies.study_ids) if study in taken)


def write_subset(
    dataset: PreparedDataset, out: Path, *, fraction: float, seed: int, split: str = "train"
) -> dict[str, Any]:
    """Write a :func:`stratified_subset` of a split as an id file; returns what the file holds."""
    shown = _shown(dataset.split(split))
    ids = stratified_subset(shown, fraction, seed)
    tree = {
        "format": FORMAT,
        "dataset_sha256": dataset.sha256,
        "split": split,
        "fraction": fraction,
        "seed": seed,
        "stratified_by": "labels" if any(shown.values()) else None,
        "count": len(ids),
        "sha256": sha256_of_ids(ids),
        "ids": ids,
    }
    write_json(out, tree)
    return tree


def _shown(studies: Studies) -> dict[str, tuple[str, ...]]:
    """Study id -> names of the labels that are present."""
    labels = [tuple(name for name, value in own.items() if value == 1) for own in studies.labels]
    return dict(zip(studies.study_ids, labels, strict=True))


def read_ids(path: Path) -> list[str]:
    """The study ids in an id file.

    Raises UserError when it is absent, no id file, or its ids are not those that its SHA-256 was made of.
    """
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"Cannot read the id file {path}: {error.strerror}.") from None
    except ValueError:
        raise UserError(
            f"{path} is not an id file (not JSON); make one with `cxreport data subset`."
        ) from None
    if not isinstance(tree, dict) or tree.get("format") != FORMAT or not isinstance(tree.get("ids"), list):
        raise UserError(f"{path} is not an id file ({FORMAT}); make one with `cxreport data subset`.")
    ids = [str(study) for study in tree["ids"]]
    if sha256_of_ids(ids) != tree.get("sha256") or len(set(ids)) != len(ids):
        raise UserError(f"The ids in {path} are not those that its sha256 was made of; make it again.")
    return ids

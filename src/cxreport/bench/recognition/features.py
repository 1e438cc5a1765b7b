"""Features of frozen encoders, computed once and kept on disk; and those of a model that sees no image."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from cxreport.bench.recognition.studies import LabelledSplit
from cxreport.data.batch import Batch, loader
from cxreport.data.splits import sha256_of_ids
from cxreport.encoders import Encoder
from cxreport.objectives.images import images_of
from cxreport.options import DataOptions, EncoderOptions
from cxreport.training.files import replaced
from cxreport.weights.folder import weights_sha256

Features = dict[str, np.ndarray]
"""Split to features (N, D) float32."""

POOLING = "mean of the patches"
"""The one way in which tokens become a feature: a class token is not trained by every objective."""
_BATCH = 32


def frozen_features(
    encoder: Encoder,
    made_of: EncoderOptions,
    splits: Mapping[str, LabelledSplit],
    options: DataOptions,
    cache: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Features:
    """Features of every split, from the folder `cache` where the same weights have read the same images.

    `made_of` are the options that built `encoder`.
    """
    identity = {
        "weights": weights_sha256(encoder),
        "encoder": made_of.untrained().model_dump(mode="json"),
        "pooling": POOLING,
        "images": options.model_dump(mode="json", include={"image_size", "views", "max_views"}),
        "studies": {name: sha256_of_ids(split.ids) for name, split in splits.items()},
    }
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    path = cache / f"{key[:32]}.safetensors"
    kept = _kept(path, key)
    if kept is not None:
        return kept
    device = "cuda" if torch.cuda.is_available() else "cpu"
    encoder.to(device).eval()
    found: dict[str, Tensor] = {}
    total, done = sum(map(len, splits.values())), 0
    for name, split in splits.items():
        rows = []
        for batch in loader(split.studies, options, batch_size=_BATCH, train=False, seed=0):
            rows.append(study_means(encoder, batch.to(device)).float().cpu())
            done += len(rows[-1])
            progress(done, total)
        found[name] = torch.cat(rows)
    cache.mkdir(parents=True, exist_ok=True)
    with replaced(path) as part:
        save_file(found, part, metadata={"key": key, "identity": json.dumps(identity)})
    return {name: rows.numpy() for name, rows in found.items()}


@torch.no_grad()
def study_means(encoder: Encoder, batch: Batch) -> Tensor:
    """The mean patch of every study (B, D), over its views."""
    rows = encoder(images_of(batch)).patches.mean(dim=1)
    studies = batch.view_mask.nonzero()[:, 0]
    sums = rows.new_zeros(len(batch), rows.shape[1]).index_add_(0, studies, rows)
    return sums / batch.view_mask.sum(dim=1, keepdim=True)


def _kept(path: Path, key: str) -> Features | None:
    """What a file of the cache holds; None where it is absent, damaged or of something else."""
    try:
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("key") != key:
                return None
            return {name: file.get_tensor(name).numpy() for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None


def blind_features(splits: Mapping[str, LabelledSplit]) -> Features | None:
    """Age, sex and view of every study as numbers; None where the source tells none of them.

    An absent age is the mean of the train split and has a flag of its own.
    """
    rows = {name: split.metadata for name, split in splits.items()}
    columns = [
        (field, value)
        for field in ("sex", "view")
        for value in sorted({str(row[field]) for row in rows["train"] if row.get(field)})
    ]
    ages = [row["age"] for row in rows["train"] if row.get("age") is not None]
    if not ages and not columns:
        return None
    mean = float(np.mean(ages)) if ages else 0.0

    def row_of(facts: Mapping[str, Any]) -> list[float]:
        age = facts.get("age")
        shown = [float(str(facts.get(field)) == value) for field, value in columns]
        return [(mean if age is None else float(age)), float(age is None), *shown]

    return {name: np.array([row_of(facts) for facts in own], dtype=np.float32) for name, own in rows.items()}

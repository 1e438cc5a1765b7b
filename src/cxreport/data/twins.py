"""A split by patient must not show one picture on two sides, although a release gives it two patients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cxreport.data.exclusions import Excluded
from cxreport.data.hashing import SIDE, detail, same_pictures
from cxreport.data.images import decode
from cxreport.data.shards import read_row, read_rows
from cxreport.data.shardstore import Progress, ShardStore, Written
from cxreport.study import SPLITS, View

REASON = "same picture as in another split"

Place = tuple[int, int, int]
"""Number of the shard, of the study in it, of the view."""


def drop_twins(
    store: ShardStore, written: Sequence[Written], progress: Progress | None = None
) -> list[Written]:
    """Leave out every study with a view that is near-identical to one of a later split.

    Test keeps all its studies, val those that test does not show, train the rest. A shard that loses a
    study is written anew.
    """
    shards = store.plan.shards

    def detail_of(place: Place) -> NDArray[np.float32]:
        shard, study, view = place
        image = read_row(store.arrow(shards[shard]), study)["views"][view]["image"]
        return detail(decode(View(image, SIDE, SIDE), SIDE))

    groups: dict[str, list[tuple[Place, bytes]]] = {split: [] for split in SPLITS}
    for number, (shard, one) in enumerate(zip(shards, written, strict=True)):
        for study, hashes in enumerate(one.hashes):
            for view, digest in enumerate(hashes):
                groups[shard.split].append(((number, study, view), bytes.fromhex(digest)))
    dropped: list[dict[int, str]] = [{} for _ in shards]
    for (shard_number, study, _), (other_number, other, _) in same_pictures(groups, detail_of, progress):
        split, where = shards[shard_number].split, shards[other_number].split
        own_id, other_id = written[shard_number].ids[study], written[other_number].ids[other]
        sentence = f"{own_id} shows the same picture as {other_id} of {where}; it is left out of {split}."
        dropped[shard_number].setdefault(study, sentence)
    return [
        _without(store, number, one, dropped[number]) if dropped[number] else one
        for number, one in enumerate(written)
    ]


def _without(store: ShardStore, number: int, one: Written, dropped: dict[int, str]) -> Written:
    shard = store.plan.shards[number]
    kept = [study for study in range(len(one.ids)) if study not in dropped]
    rows = (row for study, row in enumerate(read_rows(store.arrow(shard))) if study not in dropped)
    left_out = [Excluded(*item) for item in one.exclusions]
    left_out += [Excluded(one.ids[study], REASON, text) for study, text in sorted(dropped.items())]
    return store.replace(shard, rows, left_out, one.warnings, [one.hashes[study] for study in kept])

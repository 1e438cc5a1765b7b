"""The protocol: every cell that is asked for and not there yet, then the table."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from cxreport.bench.recognition.arms import Arm
from cxreport.bench.recognition.cells import Cell, Place, read_cell
from cxreport.bench.recognition.features import Features, blind_features, frozen_features
from cxreport.bench.recognition.fine_tuning import cell_recipe, fine_tune
from cxreport.bench.recognition.options import RecognitionRecipe, ShareOptions
from cxreport.bench.recognition.probe import probe
from cxreport.bench.recognition.studies import labelled_splits, subset_facts, subset_places
from cxreport.bench.recognition.table import markdown, table_of
from cxreport.data.store import PreparedDataset
from cxreport.errors import UserError
from cxreport.metrics.classification import auroc, best_threshold
from cxreport.training.files import remove, write_text, writing
from cxreport.training.provenance import dataset_facts, git_commit, versions
from cxreport.weights.folder import weights_sha256

BLIND = "image-blind"
CELLS, FEATURES, WORK, TABLE, PAGE = "cells", "features", "work", "recognition.json", "recognition.md"
Progress = Callable[[str, int, int], None]

logger = logging.getLogger(__name__)


def run_recognition(
    recipe: RecognitionRecipe,
    arms: Sequence[Arm],
    dataset: PreparedDataset,
    out: Path,
    progress: Progress = lambda step, done, total: None,
) -> dict[str, Any]:
    """Fill the table in `out` and return it; a cell that is finished is not made again.

    Writes ``cells/`` (a file each), ``features/`` (a cache), ``recognition.json`` and ``recognition.md``,
    the last two also after every round of seeds. Raises UserError for arms of one name, a dataset without
    both classes in every split, and cells that were made from something else.
    """
    names = [arm.name for arm in arms]
    if len(set(names)) < len(names) or BLIND in names:
        raise UserError(f"--arm: every arm needs a name of its own, and not {BLIND}; got {', '.join(names)}.")
    for name in dict.fromkeys(name for pair in recipe.pairs for name in pair):
        if name not in names:
            raise UserError(f"pairs: {name} is no --arm; those are {', '.join(names)}.")
    return _Protocol(recipe, arms, dataset, out, progress).run()


class _Protocol:
    """One table that is being made."""

    def __init__(
        self,
        recipe: RecognitionRecipe,
        arms: Sequence[Arm],
        dataset: PreparedDataset,
        out: Path,
        progress: Progress,
    ) -> None:
        self.recipe, self.arms, self.dataset, self.out, self.progress = recipe, arms, dataset, out, progress
        self.splits = labelled_splits(dataset, recipe.target)
        for name, split in self.splits.items():
            if split.left_out:
                logger.warning(
                    "%s split: %d of %d studies do not say whether there is %s and are left out.",
                    *(name, split.left_out, len(split) + split.left_out, recipe.target),
                )
        self.cells: dict[Place, Cell] = {}
        self.facts = {arm.name: arm.facts() for arm in arms}

    def run(self) -> dict[str, Any]:
        probe_seeds, tuning_seeds = self.recipe.probe.seeds, self.recipe.fine_tuning.seeds
        total = (probe_seeds + tuning_seeds) * len(self.recipe.shares) * len(self.arms)
        self.blind()
        done = 0
        for number in range(probe_seeds):
            for arm in self.arms:
                self.progress("cells", done, total)
                self.probes(arm, self.recipe.seed + number)
                done += len(self.recipe.shares)
        tree = self.write()
        for number in range(tuning_seeds):
            for share in self.recipe.shares:
                for arm in self.arms:
                    self.progress("cells", done, total)
                    self.fine_tuning(arm, share, self.recipe.seed + number)
                    done += 1
            tree = self.write()
        self.progress("cells", total, total)
        return tree

    def blind(self) -> None:
        """Cells of the model that sees no image, with the probe's seeds and subsets."""
        features = blind_features(self.splits)
        if features is None:
            logger.warning("The dataset tells no age, sex or view; there is no image-blind model.")
            return
        for number in range(self.recipe.probe.seeds):
            self.logistic(BLIND, "image-blind", self.recipe.seed + number, lambda: (features, {}))

    def probes(self, arm: Arm, seed: int) -> None:
        """The cells of one arm and seed; the encoder is built only where one is not there."""

        def features() -> tuple[Features, dict[str, Any]]:
            encoder = arm.build(seed)
            found = frozen_features(
                encoder,
                arm.options,
                self.splits,
                self.recipe.data,
                self.out / FEATURES,
                lambda done, total: self.progress(f"features of {arm.name}", done, total),
            )
            return found, {"encoder_sha256": weights_sha256(encoder)}

        self.logistic(arm.name, "probe", seed, features)

    def logistic(
        self, arm: str, mode: Any, seed: int, features_of: Callable[[], tuple[Features, dict[str, Any]]]
    ) -> None:
        """Cells of logistic regression, one a share."""
        made: tuple[Features, dict[str, Any]] | None = None
        for share in self.recipe.shares:
            place = Place(arm, mode, share.share, seed)
            identity = self.identity(arm, self.recipe.probe.model_dump(mode="json", exclude={"seeds"}))
            if self.known(place, identity):
                continue
            made = made or features_of()
            features, more = made
            places = self.places(share, seed)
            found = probe(
                features,
                places,
                self.splits["train"].truth,
                self.splits["val"].truth,
                self.recipe.probe.strengths,
            )
            self.add(place, identity, places, {"strength": found.strength}, found.val, found.test, more)

    def fine_tuning(self, arm: Arm, share: ShareOptions, seed: int) -> None:
        """One cell of fine-tuning."""
        place = Place(arm.name, "fine-tuning", share.share, seed)
        how = {"share": share, "training": self.recipe.training, "data": self.recipe.data}
        identity = self.identity(arm.name, {name: each.model_dump(mode="json") for name, each in how.items()})
        if self.known(place, identity):
            return
        began = time.monotonic()
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        places, work = self.places(share, seed), self.out / WORK / f"{place.name}.{digest[:8]}"
        with _quiet():
            own, data = cell_recipe(arm, self.recipe, share, seed), dataset_facts(self.dataset)
            found = fine_tune(arm, own, self.splits, places, share.epoch_images, data, work)
        more = {
            "encoder_sha256": found.start,
            "log": found.log,
            "seconds": round(time.monotonic() - began, 1),
        }
        cell = self.add(place, identity, places, {"epoch": found.epoch}, found.val, found.test, more)
        remove(work)
        logger.info(
            "%s, %s, %g %%, seed %d: epoch %d, AUROC on val %.3f, %.0f s",
            *(arm.name, place.mode, 100 * share.share, seed, found.epoch),
            *(cell.chosen["val_auroc"], more["seconds"]),
        )

    def places(self, share: ShareOptions, seed: int) -> list[int]:
        return subset_places(self.dataset, self.splits["train"], self.recipe, share.share, seed)

    def identity(self, arm: str, how: dict[str, Any]) -> dict[str, Any]:
        """What a cell must have been made from to count as finished."""
        images = self.recipe.data.model_dump(mode="json", include={"image_size", "views", "max_views"})
        return {
            "protocol": {"target": self.recipe.target, "images": images, **how},
            "dataset": self.dataset.sha256,
            "encoder": self.facts.get(arm, {"encoder": None, "weights": None}),
        }

    def known(self, place: Place, identity: dict[str, Any]) -> bool:
        cell = read_cell(self.out / CELLS, place, identity)
        if cell is not None:
            self.cells[place] = cell
        return cell is not None

    def add(
        self,
        place: Place,
        identity: dict[str, Any],
        places: Sequence[int],
        chosen: dict[str, float],
        val: np.ndarray,
        test: np.ndarray,
        more: dict[str, Any],
    ) -> Cell:
        """Choose the threshold on val and write the cell."""
        truth = self.splits["val"].truth
        chosen = {**chosen, "val_auroc": float(auroc(val, truth)), "threshold": best_threshold(val, truth)}
        learnt = subset_facts(self.splits["train"], places)
        cell = Cell(place, identity, learnt, chosen, test, more)
        with writing(self.out):
            cell.write(self.out / CELLS)
        self.cells[place] = cell
        return cell

    def write(self) -> dict[str, Any]:
        """The table of all cells so far, as JSON and as Markdown."""
        test = self.splits["test"]
        tree = table_of(self.cells, self.arms, self.recipe, test.truth, test.patients)
        tree["dataset"] = {
            **dataset_facts(self.dataset),
            "studies": {name: len(split) for name, split in self.splits.items()},
            "left_out": {name: split.left_out for name, split in self.splits.items()},
        }
        tree["arms"] = self.facts
        tree["recipe"] = self.recipe.model_dump(mode="json")
        tree["versions"], tree["git_commit"] = versions(), git_commit()
        with writing(self.out):
            self.out.mkdir(parents=True, exist_ok=True)
            write_text(self.out / TABLE, json.dumps(tree, indent=1) + "\n")
            write_text(self.out / PAGE, markdown(tree))
        return tree


@contextmanager
def _quiet() -> Iterator[None]:
    """Mute what a run of training tells of its epochs and, when it is stopped, of its own ``--resume``."""
    loops = logging.getLogger("cxreport.training")
    level = loops.level
    loops.setLevel(logging.ERROR)
    try:
        yield
    finally:
        loops.setLevel(level)

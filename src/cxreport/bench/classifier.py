"""A trained classifier of diseases on a split: predictions, scores, and what its val split decided.

Temperature and thresholds come from a val split and are kept in ``calibration.json`` of the run, with the
weights that they belong to.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cxreport.data.store import PreparedDataset
from cxreport.errors import UserError
from cxreport.metrics.label_scores import Calibration, calibrate, label_scores
from cxreport.metrics.statistics import group_numbers, mean_tally, scores_of
from cxreport.objectives.disease import DiseaseClassification
from cxreport.objectives.folder import WEIGHTS as HEADS
from cxreport.objectives.folder import data_options, load_objective
from cxreport.objectives.map_sheet import map_sheet
from cxreport.objectives.predicting import (
    TOLERANCE,
    LabelPredictions,
    MapKind,
    Pointing,
    cells,
    point,
    predict,
)
from cxreport.options import DataOptions
from cxreport.recipe import model_inside
from cxreport.weights.folder import WEIGHTS, digest_of

CALIBRATION = "calibration.json"
FORMAT = "cxreport-calibration-1"
Bar = Callable[[str, int, int], None]
"""Name of a step, how much of it is done, how much there is."""
SHOWN = 24
"""Studies on a sheet of maps."""


@dataclass(frozen=True)
class TrainedClassifier:
    """A classifier of a run, how its images are prepared, and where its calibration lies."""

    model: DiseaseClassification
    data: DataOptions
    weights: tuple[str, str]
    """SHA-256 of the encoder's weights and of the rest."""
    home: Path

    @classmethod
    def load(cls, folder: Path) -> TrainedClassifier:
        """Of a run or model folder; UserError where it is none of a classifier."""
        inner = model_inside(folder)
        model = load_objective(inner)
        if not isinstance(model, DiseaseClassification):
            raise UserError(f"{folder} holds no classifier; give a run of `cxreport pretrain disease`.")
        weights = (digest_of(inner / WEIGHTS), digest_of(inner / HEADS))
        return cls(model, data_options(inner), weights, folder)

    def predict(self, dataset: PreparedDataset, split: str, bar: Bar) -> LabelPredictions:
        """What it says of a split."""
        dataset.need_images()
        studies = dataset.split(split)
        return predict(
            self.model, studies, self.data, progress=lambda done, total: bar(f"Reading {split}", done, total)
        )

    def calibration(self) -> Calibration | None:
        """What was calibrated earlier; None where nothing was. UserError for a file of other weights."""
        path = self.home / CALIBRATION
        if not path.is_file():
            return None
        try:
            tree = json.loads(path.read_text(encoding="utf-8"))
            known = tree["format"] == FORMAT and set(tree["thresholds"]) == set(self.model.names)
            if not known or tree["weights_sha256"] != list(self.weights):
                raise UserError(f"{path} belongs to other weights; calibrate again with --calibrate DATA.")
            return Calibration(float(tree["temperature"]), dict(tree["thresholds"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{path} cannot be read ({error}); calibrate again with --calibrate DATA."
            ) from None

    def calibrate(self, dataset: PreparedDataset, bar: Bar) -> Calibration:
        """Decide temperature and thresholds on the val split of `dataset` and keep them.

        Raises UserError where there is no val split or none of its labels is known.
        """
        if "val" not in dataset.splits:
            raise UserError(
                f"{dataset.path} has no val split, which decides temperature and thresholds; name a dataset "
                "that has one with --calibrate."
            )
        said = self.predict(dataset, "val", bar)
        if not said.labelled:
            raise UserError(
                f"The val split of {dataset.path} has no labels, which decide temperature and thresholds; "
                "name a dataset that has them with --calibrate."
            )
        found = calibrate(said.names, said.logits, said.truth)
        tree = {
            "format": FORMAT,
            **dataclasses.asdict(found),
            "dataset_sha256": dataset.sha256,
            "studies": len(said.study_ids),
            "weights_sha256": list(self.weights),
        }
        (self.home / CALIBRATION).write_text(json.dumps(tree, indent=2) + "\n", encoding="utf-8")
        return found

    def scores(
        self,
        dataset: PreparedDataset,
        split: str,
        said: LabelPredictions,
        calibration: Calibration,
        bar: Bar,
        *,
        seed: int,
        min_positives: int,
    ) -> dict[str, Any]:
        """The tree of ``scores.json``; UserError where no label of the split is known."""
        if not said.labelled:
            raise UserError(f"The {split} split of {dataset.path} has no labels to score against.")
        tree: dict[str, Any] = {
            "protocol": f"labels.{split}",
            "dataset_sha256": dataset.sha256,
            "weights_sha256": list(self.weights),
            "seed": seed,
            "studies": len(said.study_ids),
        }
        tree |= label_scores(
            said.names,
            said.logits,
            said.truth,
            said.patient_ids,
            calibration,
            seed=seed,
            min_positives=min_positives,
        )
        kinds: list[MapKind] = ["saliency", "grad-cam"]
        kinds += ["attention"] if self.model.queries is not None else []
        pointing = {kind: self._points(dataset, split, bar, seed, kind) for kind in kinds}
        if all(pointing.values()):
            tree["pointing"] = pointing
        return tree

    def _points(
        self, dataset: PreparedDataset, split: str, bar: Bar, seed: int, kind: MapKind
    ) -> dict[str, Any] | None:
        """The pointing game's scores; None where nothing has a box."""
        played = point(
            self.model,
            dataset.split(split),
            self.data,
            kind,
            progress=lambda done, total: bar(f"Pointing by {kind}", done, total),
        )
        return pointing_scores(played, seed) if played else None

    def write_maps(self, dataset: PreparedDataset, split: str, kind: MapKind, out: Path) -> int:
        """A sheet of maps with true boxes; returns how many, 0 where nothing has a box.

        UserError for the attention of a classifier without queries.
        """
        shown = cells(self.model, dataset.split(split), self.data, kind, SHOWN)
        return map_sheet(shown, out) if shown else 0


def pointing_scores(played: Sequence[Pointing], seed: int) -> dict[str, Any]:
    """Hits, hits with the published tolerance and chance, all together and by name; patients are drawn."""
    groups = group_numbers([each.patient_id for each in played])
    fields = {
        name: np.array([float(getattr(each, name)) for each in played]) for name in ("hit", "near", "chance")
    }
    tallies = [mean_tally(name, values) for name, values in fields.items()]
    names = np.array([each.name for each in played])
    by_name = {
        name: {"hit": float(fields["hit"][names == name].mean()), "n": int((names == name).sum())}
        for name in dict.fromkeys(names.tolist())
    }
    return scores_of(tallies, seed=seed, groups=groups) | {"tolerance": TOLERANCE, "by_name": by_name}


def records(said: LabelPredictions, calibration: Calibration, split: str) -> Iterator[dict[str, Any]]:
    """A line of ``predictions.jsonl`` for every study: probabilities, what is said, what is true."""
    chances, present = calibration.probabilities(said.logits), calibration.present(said.names, said.logits)
    for row, study_id in enumerate(said.study_ids):
        truth = {
            name: int(value)
            for name, value in zip(said.names, said.truth[row], strict=True)
            if value == value
        }
        yield {
            "study_id": study_id,
            "split": split,
            "probabilities": dict(zip(said.names, chances[row].round(6).tolist(), strict=True)),
            "present": [name for name, there in zip(said.names, present[row], strict=True) if there],
            "truth": truth,
        }

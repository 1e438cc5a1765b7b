"""How well images and reports of a split meet in a contrastive model: retrieval, and labels by sentences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cxreport.data.batch import loader, usable
from cxreport.data.store import PreparedDataset
from cxreport.errors import UserError
from cxreport.metrics.retrieval import retrieval_scores
from cxreport.metrics.zero_shot import zero_shot_aurocs
from cxreport.objectives.contrastive import ContrastivePretraining
from cxreport.objectives.folder import data_options, load_objective
from cxreport.objectives.targets import Targets
from cxreport.objectives.zero_shot import zero_shot_scores
from cxreport.options import DataOptions
from cxreport.pretraining import DiseaseOptions
from cxreport.recipe import model_inside
from cxreport.weights.folder import WEIGHTS, digest_of

SIZE = 64
Progress = Callable[[str, int, int], None]


def alignment_scores(
    run: Path,
    dataset: PreparedDataset,
    split: str,
    *,
    seed: int = 9223,
    min_positives: int = 20,
    progress: Progress = lambda step, done, total: None,
) -> dict[str, Any]:
    """Scores of the contrastive model in `run` (a run or a model folder) on the studies with a report.

    ``retrieval`` has both directions, once with every identical report as a right answer (``identical``) and
    once with the study's own alone (``own``). ``zero_shot`` has phantom findings by side and CheXpert labels,
    where the dataset knows them. Raises UserError for a model of another kind and a split without reports.
    """
    folder = model_inside(run)
    model = load_objective(folder)
    if not isinstance(model, ContrastivePretraining):
        raise UserError(f"{run} is no contrastive model; make one with `cxreport pretrain contrastive`.")
    if torch.cuda.is_available():
        model.to("cuda")
    options = data_options(folder)
    dataset.need_images()
    studies = dataset.split(split)
    kept, exclusions = usable(studies, options)
    if not kept:
        raise UserError(f"No study of the {split} split of {dataset.path} has a text to retrieve.")
    read = _Read(model, studies.select(kept), options, lambda done, total: progress("Studies", done, total))
    similarities = (read.images @ read.texts.T).double().cpu().numpy()
    same = np.array(read.reports)[:, None] == np.array(read.reports)[None]
    scores: dict[str, Any] = {
        "protocol": f"alignment.{options.section}.{options.cleaner}",
        "dataset_sha256": dataset.sha256,
        "weights_sha256": digest_of(folder / WEIGHTS),
        "split": split,
        "seed": seed,
        "studies": len(kept),
        "without_report": len(exclusions),
        "distinct_reports": len(set(read.reports)),
        "retrieval": {},
        "zero_shot": {},
    }
    for name, relevant in (("identical", same), ("own", np.eye(len(kept), dtype=bool))):
        scores["retrieval"][name] = {
            "image_to_report": retrieval_scores(similarities, relevant, read.patients, seed=seed),
            "report_to_image": retrieval_scores(similarities.T, relevant, read.patients, seed=seed),
        }
    for kind in ("findings", "labels"):
        targets = Targets(DiseaseOptions(targets=kind))
        truth = targets.truth(read.labels, read.findings).double().numpy()
        if not np.isnan(truth).all():
            ranks = zero_shot_scores(model, read.images, targets.names)
            scores["zero_shot"][kind] = zero_shot_aurocs(
                targets.names, ranks, truth, read.patients, seed=seed, min_positives=min_positives
            )
    return scores


class _Read:
    """The vectors of studies, and what is known about them."""

    @torch.no_grad()
    def __init__(
        self,
        model: ContrastivePretraining,
        studies: Any,
        options: DataOptions,
        progress: Callable[[int, int], None],
    ) -> None:
        device = next(model.parameters()).device
        images, texts = [], []
        self.reports: list[str] = []
        self.patients: list[str] = []
        self.labels: list[dict[str, int]] = []
        self.findings: list[Any] = []
        for batch in loader(studies, options, batch_size=SIZE, train=False, seed=0):
            images.append(model.image_vectors(batch.images.to(device), batch.view_mask.to(device)))
            texts.append(model.text_vectors(batch.reports))
            self.reports += batch.reports
            self.patients += batch.patient_ids
            self.labels += batch.labels
            self.findings += batch.findings
            progress(len(self.reports), len(studies))
        self.images, self.texts = torch.cat(images), torch.cat(texts)

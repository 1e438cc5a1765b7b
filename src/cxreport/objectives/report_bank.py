"""AM-MRG's report bank: vectors of train reports by a language model of any kind.

Source: AM-MRG (Wang et al., IEEE TMI 2025), published ``report_memory_generation.py``, which reads the test
split; this reads the train split.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from cxreport.data.store import PreparedDataset
from cxreport.data.subsets import train_part
from cxreport.data.text import target_text
from cxreport.errors import UserError
from cxreport.memories.bank import Bank
from cxreport.memories.making import Progress, free_folder, origin_of, study_entries
from cxreport.objectives.text_encoder import TextEncoder
from cxreport.options import DataOptions

REPORTS = "reports"
"""The name of the bank in its folder."""
KIND = "report"
"""Kind of its entries."""


def make_report_bank(
    dataset: PreparedDataset,
    texts: TextEncoder,
    encoder: Mapping[str, str],
    data: DataOptions,
    out: Path,
    *,
    most: int = 6000,
    seed: int = 9223,
    batch_size: int = 32,
    progress: Progress | None = None,
) -> Bank:
    """Write the bank of the target texts of the train split into `out`, one entry a study.

    From more than `most` studies that many are drawn by `seed`, the same share of every label; those without
    a text are left out. `encoder` names the weights of `texts` by their ``sha256``.

    Raises UserError for a folder that is not empty and a train split without texts.
    """
    free_folder(out)
    share = min(1.0, most / max(len(dataset.split("train")), 1))
    data = data.model_copy(update={"train_share": share, "train_share_seed": seed})
    train = train_part(dataset, data)
    written = [target_text(report, data) for report in train.reports]
    places = [place for place, text in enumerate(written) if text]
    if not places:
        raise UserError(f"No train study of {dataset.path} has a text in its section {data.section}.")
    reports, studies = [written[place] for place in places], train.select(places)
    vectors = []
    for start in range(0, len(reports), batch_size):
        with torch.no_grad():
            vectors.append(texts(reports[start : start + batch_size]).float().cpu())
        if progress is not None:
            progress("vectors", min(start + batch_size, len(reports)), len(reports))
    entries = [replace(entry, kind=KIND) for entry in study_entries(studies, reports, progress)]
    made = f"cxreport bank make --kind report, pooling {texts.options.pooling}"
    bank = Bank(torch.cat(vectors), entries, origin_of(dataset, encoder, data, made))
    out.mkdir(parents=True, exist_ok=True)
    bank.save(out, REPORTS)
    return bank

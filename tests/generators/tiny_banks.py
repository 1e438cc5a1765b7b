"""Banks of a few vectors, as ``cxreport bank make`` writes them for AM-MRG."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from tiny_language import ROOT

from cxreport.memories.bank import Bank, Entry, Origin

ORIGIN = Origin({"source": "tiny", "sha256": "0" * 64}, {"name": "tiny", "sha256": "1" * 64}, made="by hand")


def bank_of(count: int, width: int, seed: int = 0, origin: Origin = ORIGIN) -> Bank:
    """Random vectors; entry n is of the tiny train study n and its patient."""
    vectors = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    return Bank(vectors, [Entry(f"s{number}", f"p{number}", "Edema") for number in range(count)], origin)


@cache
def visual_folder() -> Path:
    """Five disease tokens of width 12 and seven patches of width 32."""
    folder = ROOT / "visual-bank"
    folder.mkdir()
    bank_of(5, 12, seed=1).save(folder, "disease")
    bank_of(7, 32, seed=2).save(folder, "patches")
    return folder


@cache
def report_folder() -> Path:
    """Six reports of width 10."""
    folder = ROOT / "report-bank"
    folder.mkdir()
    bank_of(6, 10, seed=3).save(folder, "reports")
    return folder

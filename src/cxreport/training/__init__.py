"""Training: recipe and prepared dataset in, run folder out; Lightning does the loop."""

from __future__ import annotations

from cxreport.training.mixture import Weighted
from cxreport.training.objectives import pretrain
from cxreport.training.run import fit

__all__ = ["Weighted", "fit", "pretrain"]

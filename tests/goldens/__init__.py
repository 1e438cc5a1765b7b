"""Golden numbers: what an item of the published code's numbers holds. One file here per family of items."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

SHARED = Path(os.environ.get("CXREPORT_SHARED", Path(__file__).resolve().parents[3] / "shared"))
"""Real reports, which an item of texts may need."""


@dataclass(frozen=True)
class Item:
    """A file of golden numbers; the tensors are empty for an item of texts."""

    path: Path
    json: dict[str, Any]
    weights: dict[str, torch.Tensor]
    inputs: dict[str, torch.Tensor]
    outputs: dict[str, torch.Tensor]


class CannotCompareError(Exception):
    """The file is missing, damaged or of an unknown item."""


Values = Mapping[str, Any]
"""Outputs by name; an item gives ours and the published ones."""

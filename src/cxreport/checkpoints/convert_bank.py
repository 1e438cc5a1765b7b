"""AM-MRG's banks (``CAM.pkl``, ``Report_Memory.pkl``): vectors by label, from a pickle to a folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cxreport import __version__
from cxreport.checkpoints.kinds import BANK_KIND
from cxreport.errors import UserError
from cxreport.weights.array_file import read_arrays_file
from cxreport.weights.folder import WEIGHTS, Format, digest_of, read_folder, read_tensors, write_folder

PUBLISHED_BANK = Format("cxreport-published-bank-1", "folder of a published bank", "convert again")
WARNING = (
    "Nothing in the file says from which studies its vectors were made, and the published code makes the bank"
    " of reports from the test split: drafts that look things up in it cannot be scored on the dataset that"
    " it comes from."
)


def convert_bank(path: Path, folder: Path) -> dict[str, int]:
    """Write a folder from a pickle of NumPy vectors by label; the number of vectors of every label.

    Raises UserError, and writes nothing, where the file asks for anything but arrays, lists and text, or is
    no mapping of labels to finite vectors of one width.
    """
    bank = _by_label(read_arrays_file(path), path)
    holder = nn.Module()
    for label, vectors in bank.items():
        holder.register_buffer(label, vectors)
    counts = {label: len(vectors) for label, vectors in bank.items()}
    origin = {"file": path.name, "bytes": path.stat().st_size, "sha256": digest_of(path), "kind": BANK_KIND}
    facts = {"converted_from": origin, "warning": WARNING, "versions": {"cxreport": __version__}}
    write_folder(folder, PUBLISHED_BANK, {"vectors": counts}, holder, facts)
    return counts


def read_published_bank(folder: Path) -> dict[str, Tensor]:
    """Vectors (N, D) float32 of every label, from a folder of :func:`convert_bank`, verified."""
    read_folder(folder, PUBLISHED_BANK)
    return read_tensors(folder / WEIGHTS)


def _by_label(tree: Any, path: Path) -> dict[str, Tensor]:
    if not isinstance(tree, dict) or not tree:
        raise UserError(f"{path} is no bank: it holds no mapping of labels to vectors.")
    bank: dict[str, Tensor] = {}
    for label, found in tree.items():
        if not re.fullmatch(r"[A-Za-z0-9_ -]{1,80}", str(label)):
            raise UserError(f"{path} is no bank: {str(label)[:80]!r} is no label.")
        rows = list(_rows(found, f"{path}: {label}"))
        if not rows:
            continue
        bank[str(label)] = torch.from_numpy(np.concatenate(rows))
        if not bank[str(label)].isfinite().all():
            raise UserError(f"{path}: {label} has vectors that are not finite.")
    widths = {vectors.shape[1] for vectors in bank.values()}
    if len(widths) != 1:
        raise UserError(f"{path} is no bank: its vectors have {len(widths)} widths ({sorted(widths)}).")
    return bank


def _rows(found: Any, where: str) -> list[np.ndarray]:
    """Every vector as rows (n, D) of float32: one array, or a list of arrays of (D,), (1, D) or (n, D)."""
    if isinstance(found, list):
        return [rows for each in found for rows in _rows(each, where)]
    if not isinstance(found, np.ndarray) or found.ndim == 0 or not found.shape[-1]:
        raise UserError(f"{where} holds a {type(found).__name__} where a vector must be.")
    return [found.reshape(-1, found.shape[-1]).astype(np.float32)]

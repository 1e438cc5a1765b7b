"""AM-MRG's banks from pickles to folders."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from cxreport.checkpoints.convert_bank import convert_bank, read_published_bank
from cxreport.cli import app
from cxreport.errors import UserError

ROWS = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)


def save(path: Path, tree: Any) -> Path:
    path.write_bytes(pickle.dumps(tree))
    return path


@pytest.mark.parametrize(
    "edema",
    [
        ROWS[:2],
        list(ROWS[:2]),
        [ROWS[:1], ROWS[1:2]],
        [[row] for row in ROWS[:2]],
        ROWS[:2].astype(np.float64),
    ],
    ids=["one array", "a list", "rows", "a list of lists", "doubles"],
)
def test_vectors_by_label(edema: Any, tmp_path: Path) -> None:
    """However the vectors of a label are packed, they come out as rows; a label without any is left out."""
    tree = {"Edema": edema, "Pleural Effusion": ROWS[2:], "Fracture": []}
    counts = convert_bank(save(tmp_path / "CAM.pkl", tree), tmp_path / "cam")
    assert counts == {"Edema": 2, "Pleural Effusion": 3}
    bank = read_published_bank(tmp_path / "cam")
    assert bank.keys() == counts.keys()
    assert torch.equal(bank["Edema"], torch.from_numpy(ROWS[:2]))
    assert torch.equal(bank["Pleural Effusion"], torch.from_numpy(ROWS[2:]))


def test_the_command_says_where_it_comes_from_and_warns(tmp_path: Path) -> None:
    file = save(tmp_path / "Report_Memory.pkl", {"Edema": ROWS})
    words = ["convert", str(file), "--kind", "ammrg-bank", "--out", str(tmp_path / "bank")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "5 vectors of 1 label" in result.stdout
    assert "made the bank of reports from the test split" in " ".join(
        result.output.replace("makes", "made").split()
    )
    provenance = json.loads((tmp_path / "bank" / "provenance.json").read_text())
    assert provenance["converted_from"]["file"] == "Report_Memory.pkl"
    assert "test split" in provenance["warning"]


def test_a_folder_that_was_altered(tmp_path: Path) -> None:
    convert_bank(save(tmp_path / "CAM.pkl", {"Edema": ROWS}), tmp_path / "cam")
    path = tmp_path / "cam" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    with pytest.raises(UserError, match="damaged or was altered"):
        read_published_bank(tmp_path / "cam")


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ([ROWS], "no mapping of labels"),
        ({}, "no mapping of labels"),
        ({"Edema": "text"}, "Edema holds a str"),
        ({"Edema": np.float32(3)}, "Edema holds a float"),
        ({"Edema": ROWS, "Fracture": ROWS[:, :3]}, r"2 widths \(\[3, 6\]\)"),
        ({"Edema": ROWS * np.inf}, "Edema has vectors that are not finite"),
        ({"../Edema": ROWS}, "is no label"),
        ({"Edema": []}, "0 widths"),
    ],
    ids=str,
)
def test_what_is_no_bank(tree: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        convert_bank(save(tmp_path / "CAM.pkl", tree), tmp_path / "cam")
    assert not (tmp_path / "cam").exists()

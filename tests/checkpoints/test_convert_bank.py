"""AM-MRG's banks from pickles to folders."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from cxreport.checkpoints.convert_bank import convert_bank, read_published_bank
from cxreport.cli import app
from cxreport.data.store import write_dataset
from cxreport.errors import UserError
from cxreport.memories.bank import Bank
from cxreport.memories.leaks import refuse_leaks
from cxreport.study import LABELS, Report, Split, Study, View

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


def study(number: int, split: Split = "train") -> Study:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 256, (32, 32), dtype=np.uint8)).save(
        file, "PNG"
    )
    view = View(file.getvalue(), 32, 32, "frontal")
    return Study(f"s{number}", f"p{number}", (view,), Report("clear ."), split)


class TestAsABank:
    def test_drawn_by_label_behind_the_tokens(self, tmp_path: Path) -> None:
        rows = np.random.default_rng(1).normal(size=(30, 6)).astype(np.float32)
        file = save(tmp_path / "CAM.pkl", {"Edema": rows[:20], "Fracture": rows[20:]})
        tokens = torch.randn(1, 14, 6, generator=torch.Generator().manual_seed(1))
        torch.save(
            {"model": {"disease_tokens": tokens, "head.weight": torch.ones(2)}}, tmp_path / "stage1.pth"
        )
        convert_bank(file, tmp_path / "cam", tokens=tmp_path / "stage1.pth", most_of_label=4)
        bank = Bank.load(tmp_path / "cam")
        assert [entry.kind for entry in bank.entries] == [*LABELS, *["Edema"] * 4, *["Fracture"] * 4]
        assert torch.equal(bank.vectors[:14], tokens[0])
        for vector, entry in zip(bank.vectors[14:], bank.entries[14:], strict=True):
            place = int(entry.study_id.split()[-1]) + (20 if entry.kind == "Fracture" else 0)
            assert entry.study_id.startswith(f"CAM.pkl: {entry.kind} ")
            assert torch.equal(vector, torch.from_numpy(rows[place]))
        convert_bank(file, tmp_path / "reports", most=15)
        kinds = [entry.kind for entry in Bank.load(tmp_path / "reports").entries]
        assert (kinds.count("Edema"), kinds.count("Fracture")) == (10, 5)
        torch.save({"model": {"head.weight": torch.ones(2)}}, tmp_path / "other.pth")
        with pytest.raises(UserError, match="no checkpoint with 14 disease tokens"):
            convert_bank(file, tmp_path / "none", tokens=tmp_path / "other.pth")

    def test_its_studies_are_unknown_and_that_is_told(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        convert_bank(save(tmp_path / "Report_Memory.pkl", {"Edema": ROWS}), tmp_path / "bank")
        bank = Bank.load(tmp_path / "bank")
        assert bank.facts()["split"] == "unknown"
        studies = [study(2), study(3, "test")]
        data = write_dataset(studies, tmp_path / "data", source="tiny", source_version="1", options={})
        refuse_leaks([bank], data)
        assert "not checked for leaks" in caplog.text
        assert "from the test split" in caplog.text

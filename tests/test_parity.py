"""The published code's numbers, and the comparison itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import parity
import pytest
import torch
from safetensors.torch import load_file, save_file

ITEMS = {
    "arm_finetune": "arm_finetune.safetensors",
    "arm_pretrain": "arm_pretrain.safetensors",
    "r2gen": "r2gen.safetensors",
    "r2gencmn": "r2gencmn.safetensors",
    "report_cleaners": "report_cleaners.json",
    "vmamba_ss2d": "vmamba_ss2d.safetensors",
    "mae_hd": "mae_hd.safetensors",
    "qformer": "qformer.safetensors",
    "hopfield": "hopfield.safetensors",
    "prefix_lm_batch": "prefix_lm_batch.safetensors",
    "prefix_csr": "prefix_csr.safetensors",
    "prefix_ammrg": "prefix_ammrg.safetensors",
    "word_tokenizer": "word_tokenizer.json",
    "nlg_metrics": "nlg_metrics.json",
}
SCRIPT = Path(parity.__file__)


def test_every_registered_item_has_a_file() -> None:
    assert ITEMS.keys() <= parity.PARITY.keys()


@pytest.mark.parametrize("item", sorted(ITEMS))
def test_published_numbers(item: str, shared: Path) -> None:
    path = shared / "golden" / ITEMS[item]
    if not path.is_file():
        pytest.skip(f"golden numbers are absent: no file {path}")
    differences = parity.compare(path)
    assert {each.output for each in differences if not each.within} == set()


def golden_copy(shared: Path, folder: Path) -> dict[str, torch.Tensor]:
    path = shared / "golden" / "r2gen.safetensors"
    if not path.is_file():
        pytest.skip(f"golden numbers are absent: no file {path}")
    (folder / "r2gen.json").write_text(path.with_suffix(".json").read_text())
    return load_file(path)


def test_a_changed_weight_is_above_the_tolerance(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = golden_copy(shared, tmp_path)
    tensors["weights.model.rm.mlp.0.bias"] += 0.1
    save_file(tensors, tmp_path / "r2gen.safetensors")
    assert parity.main([str(tmp_path / "r2gen.safetensors")]) == 1
    above = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.endswith("ABOVE")]
    assert "relational_memory" in above
    assert "encoder_out" not in above


def test_a_missing_weight_cannot_be_compared(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = golden_copy(shared, tmp_path)
    del tensors["weights.model.rm.W.bias"]
    save_file(tensors, tmp_path / "r2gen.safetensors")
    assert parity.main([str(tmp_path / "r2gen.safetensors")]) == 2
    assert "model.rm.W.bias" in capsys.readouterr().err


def test_an_output_that_nobody_computes_is_no_success(shared: Path, tmp_path: Path) -> None:
    tensors = golden_copy(shared, tmp_path)
    tensors["outputs.more"] = torch.zeros(1)
    save_file(tensors, tmp_path / "r2gen.safetensors")
    assert parity.main([str(tmp_path / "r2gen.safetensors")]) == 2


@pytest.mark.parametrize("text", ["{}", '{"item": "astrology"}', "[]", "not json"])
def test_unknown_and_broken(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "odd.json").write_text(text)
    assert parity.main([str(tmp_path / "odd.json")]) == 2
    assert "odd.json" in capsys.readouterr().err
    assert parity.main([str(tmp_path / "absent.safetensors")]) == 2


def test_as_a_script(tmp_path: Path) -> None:
    (tmp_path / "odd.json").write_text(json.dumps({"item": "astrology"}))
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), str(tmp_path / "odd.json")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 2
    assert "astrology" in done.stderr

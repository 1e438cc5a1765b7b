"""Averaged weights: a hand computation, what is validated and saved, and a resumed run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from test_pretraining import dataset, kill_in_epoch, log_of, recipe, tensors  # noqa: F401

from cxreport.data.store import PreparedDataset
from cxreport.training import Weighted, pretrain
from cxreport.training.averages import AveragedWeights
from cxreport.training.state import load_state


def test_the_average_of_three_steps_by_hand() -> None:
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(layer.weight, 1.0)
    averages = AveragedWeights(layer, 0.25)
    trainer: Any = SimpleNamespace(global_step=0)
    averages.on_fit_start(trainer, None)  # type: ignore[arg-type]
    expected = 1.0
    for step, value in enumerate((2.0, 4.0, 8.0), start=1):
        torch.nn.init.constant_(layer.weight, value)
        averages.on_train_batch_end(trainer, None, None, None, 0)  # type: ignore[arg-type]
        trainer.global_step = step
        averages.on_train_batch_end(trainer, None, None, None, 0)  # type: ignore[arg-type]
        decay = min(0.25, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    with averages.in_place():
        assert layer.weight.item() == pytest.approx(expected)
    assert layer.weight.item() == 8.0


def test_a_run_validates_and_saves_the_average_and_resumes_with_it(
    dataset: PreparedDataset,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    averaged, plain = recipe(ema=0.9), recipe()
    pretrain(plain, [Weighted(dataset)], tmp_path / "plain")
    pretrain(averaged, [Weighted(dataset)], tmp_path / "whole")
    kill_in_epoch(3, averaged, dataset, tmp_path / "run", monkeypatch)
    state = load_state(tmp_path / "run" / "last.safetensors")
    kept = state["callbacks"]["AveragedWeights"]
    assert kept["steps"] == 6
    saved = load_file(tmp_path / "run" / "model" / "objective.safetensors")
    assert any(torch.equal(saved["mask_token"], average) for average in kept["averages"])
    assert not torch.equal(saved["mask_token"], state["state_dict"]["system.mask_token"])
    pretrain(averaged, [Weighted(dataset)], tmp_path / "run", resume=True)
    whole = tensors(tmp_path / "whole")
    assert all(torch.equal(value, whole[name]) for name, value in tensors(tmp_path / "run").items())
    assert log_of(tmp_path / "run") == log_of(tmp_path / "whole")
    rows = zip(log_of(tmp_path / "plain"), log_of(tmp_path / "whole"), strict=True)
    for one, other in rows:
        assert one["train_loss"] == other["train_loss"]
        assert one["val_loss"] != other["val_loss"]

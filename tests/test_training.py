"""Training: resuming to the same weights, what a run folder holds, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from cxreport import generators
from cxreport.checkpoints import load_model
from cxreport.data.batch import Batch
from cxreport.data.store import PreparedDataset, write_dataset
from cxreport.errors import UserError
from cxreport.generators.base import Generator, TrainStudies
from cxreport.options import TrainingOptions
from cxreport.recipe import Recipe
from cxreport.study import Draft, Report, Study, View
from cxreport.training import fit
from cxreport.training.files import mend
from cxreport.training.optimizers import rate_factor
from cxreport.training.run import _trainer
from cxreport.training.state import load_state, save_state

WORDS = ("clear", "effusion", "nodule")


class Mean(Generator):
    """Guesses the number of words of a report from its mean brightness; dropout makes it need the seeds."""

    blow_up_after: int | None = None
    interrupt_after: int | None = None

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0
        self.encoder = nn.Linear(1, 8)
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(8, 1))

    @classmethod
    def build(cls, options: Any, train: TrainStudies) -> Mean:
        return cls()

    def loss(self, batch: Batch) -> dict[str, torch.Tensor]:
        self.steps += self.training
        if self.interrupt_after is not None and self.steps > self.interrupt_after:
            os.kill(os.getpid(), self.interrupt_signal)
        lengths = torch.tensor([float(len(report.split())) for report in batch.reports])
        guess = self.head(torch.relu(self.encoder(self.features(batch)))).squeeze(1)
        loss = nn.functional.mse_loss(guess, lengths)
        if self.blow_up_after is not None and self.steps > self.blow_up_after:
            loss = loss * float("nan")
        return {"loss": loss}

    interrupt_signal = signal.SIGINT

    def generate(self, batch: Batch, decoding: Any) -> list[Draft]:
        return [Draft("clear .") for _ in batch.reports]

    def features(self, batch: Batch) -> torch.Tensor:
        return batch.images.mean((1, 2, 3, 4))[:, None]

    def encoder_parameters(self) -> Iterable[nn.Parameter]:
        return self.encoder.parameters()

    def truncated(self, reports: Iterable[str]) -> int:
        return sum(len(report.split()) > 4 for report in reports)

    def save_assets(self, folder: Path) -> None:
        (folder / "words.json").write_text(json.dumps(WORDS))

    @classmethod
    def load_assets(cls, options: Any, folder: Path) -> Mean:
        return cls()


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny generator stands where R2Gen does, so that recipes need no new name."""
    monkeypatch.setitem(generators.GENERATORS, "r2gen", f"{__name__}:Mean")
    monkeypatch.setattr(Mean, "blow_up_after", None)
    monkeypatch.setattr(Mean, "interrupt_after", None)


def make_dataset(folder: Path, seed: int = 0) -> PreparedDataset:
    """23 train studies, one of them without a report, and 6 val studies; 32 pixels of noise each."""
    rng = np.random.default_rng(seed)
    studies = []
    for number in range(29):
        png = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (32, 32), dtype=np.uint8)).save(png, "PNG")
        words = rng.choice(WORDS, size=1 + number % 5)
        text = "" if number == 3 else f"{' '.join(words)}."
        split = "train" if number < 23 else "val"
        view = View(png.getvalue(), 32, 32, "frontal")
        studies.append(Study(f"s{number}", f"p{number}", (view,), Report(findings=text), split=split))
    return write_dataset(studies, folder, source="noise", source_version="1", options={"seed": seed})


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return make_dataset(tmp_path_factory.mktemp("noise") / "data")


def recipe(**training: Any) -> Recipe:
    options = {"epochs": 4, "batch_size": 8, "learning_rate": 0.05, **training}
    tree = {"name": "tiny", "data": {"image_size": 32}, "model": {"generator": "r2gen"}, "training": options}
    return Recipe.parse(tree)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


def log_of(run: Path) -> list[dict[str, str]]:
    with (run / "log.csv").open(newline="") as file:
        return [{name: row[name] for name in row if name != "seconds"} for row in csv.DictReader(file)]


def assert_same_run(run: Path, unbroken: Path) -> None:
    expected = weights(unbroken)
    assert expected.keys() == weights(run).keys()
    for name, tensor in weights(run).items():
        assert torch.equal(tensor, expected[name]), name
    assert log_of(run) == log_of(unbroken)


@pytest.fixture(scope="module")
def unbroken(dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four epochs in one go, the last one kept."""
    run = tmp_path_factory.mktemp("unbroken") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(generators.GENERATORS, "r2gen", f"{__name__}:Mean")
        fit(recipe(keep="last"), dataset, run)
    return run


def test_a_run_folder_holds_recipe_log_facts_and_model(dataset: PreparedDataset, unbroken: Path) -> None:
    assert Recipe.load(unbroken / "recipe.yaml") == recipe(keep="last")
    rows = log_of(unbroken)
    assert [(row["epoch"], row["step"]) for row in rows] == [("1", "3"), ("2", "6"), ("3", "9"), ("4", "12")]
    facts = json.loads((unbroken / "run.json").read_text())
    assert facts["status"] == "finished"
    assert facts["kept_epoch"] == 4
    assert facts["dataset"]["sha256"] == dataset.sha256
    assert facts["studies"] == {
        "train": 22, "train_without_report": 1, "val": 6, "val_without_report": 0, "train_truncated": 7,
    }  # fmt: skip
    assert facts["parameters"] == facts["parameters_trained"] == 8 + 8 + 8 + 1
    assert str(dataset.path) not in (unbroken / "run.json").read_text()
    provenance = json.loads((unbroken / "model" / "provenance.json").read_text())
    assert provenance["epoch"] == 4
    assert provenance["dataset"]["sha256"] == dataset.sha256
    assert sorted(path.name for path in unbroken.iterdir()) == ["log.csv", "model", "recipe.yaml", "run.json"]


def test_resume_after_an_error_in_the_third_epoch_ends_in_the_same_weights(
    dataset: PreparedDataset, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    monkeypatch.setattr(Mean, "blow_up_after", 7)
    with pytest.raises(UserError, match=r"NaN or infinite in epoch 3; lower training\.learning_rate"):
        fit(recipe(keep="last"), dataset, run)
    assert len(log_of(run)) == 2
    monkeypatch.setattr(Mean, "blow_up_after", None)
    torch.rand(5)
    fit(recipe(keep="last"), dataset, run, resume=True)
    assert_same_run(run, unbroken)


def test_resume_after_sigkill_ends_in_the_same_weights(
    dataset: PreparedDataset, unbroken: Path, tmp_path: Path
) -> None:
    program = f"""
import signal, torch, test_training as tests
from pathlib import Path
from cxreport.data.store import PreparedDataset
torch.set_num_threads(1)
tests.generators.GENERATORS["r2gen"] = "test_training:Mean"
tests.Mean.interrupt_after = 7
tests.Mean.interrupt_signal = signal.SIGKILL
data, run = {str(dataset.path)!r}, {str(tmp_path / "run")!r}
tests.fit(tests.recipe(keep="last"), PreparedDataset.open(data), Path(run))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parent, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert len(log_of(tmp_path / "run")) == 2
    fit(recipe(keep="last"), dataset, tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", unbroken)


def test_ctrl_c_leaves_a_run_that_loads_and_resumes(
    dataset: PreparedDataset,
    unbroken: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = tmp_path / "run"
    monkeypatch.setattr(Mean, "interrupt_after", 4)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(recipe(keep="last"), dataset, run)
    assert signal.getsignal(signal.SIGINT) is handler
    assert "Stopped in epoch 2 of 4" in caplog.text
    assert "--resume" in caplog.text
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
    generator, _ = load_model(run / "model")
    assert not generator.training
    monkeypatch.setattr(Mean, "interrupt_after", None)
    fit(recipe(keep="last"), dataset, run, resume=True)
    assert_same_run(run, unbroken)


def test_ctrl_c_in_the_first_epoch_leaves_a_run_that_starts_again(
    dataset: PreparedDataset, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Mean, "interrupt_after", 1)
    with pytest.raises(KeyboardInterrupt):
        fit(recipe(keep="last"), dataset, tmp_path)
    monkeypatch.setattr(Mean, "interrupt_after", None)
    fit(recipe(keep="last"), dataset, tmp_path, resume=True)
    assert_same_run(tmp_path, unbroken)


def test_the_kept_epoch_is_the_one_with_the_lowest_validation_loss(
    dataset: PreparedDataset, tmp_path: Path
) -> None:
    fit(recipe(epochs=5, learning_rate=1.0, schedule="constant"), dataset, tmp_path / "run")
    losses = [float(row["val_loss"]) for row in log_of(tmp_path / "run")]
    best = losses.index(min(losses)) + 1
    assert best < 5, "the learning rate is so high that an early epoch must win"
    assert json.loads((tmp_path / "run" / "model" / "provenance.json").read_text())["epoch"] == best


def test_a_finished_run_is_left_as_it_is(
    dataset: PreparedDataset, unbroken: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = {path: path.read_bytes() for path in unbroken.rglob("*") if path.is_file()}
    with caplog.at_level(logging.INFO, "cxreport"):
        assert fit(recipe(keep="last"), dataset, unbroken, resume=True) == unbroken / "model"
    assert "is finished (epoch 4 is kept)" in caplog.text
    assert {path: path.read_bytes() for path in unbroken.rglob("*") if path.is_file()} == before


def test_resume_refuses_another_recipe_dataset_or_folder(
    dataset: PreparedDataset, unbroken: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"training\.epochs is 4 there and 8 here"):
        fit(recipe(keep="last", epochs=8), dataset, unbroken, resume=True)
    with pytest.raises(UserError, match="another dataset"):
        fit(recipe(keep="last"), make_dataset(tmp_path / "other", seed=1), unbroken, resume=True)
    with pytest.raises(UserError, match="no run to resume"):
        fit(recipe(), dataset, tmp_path / "absent", resume=True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"not a run folder .*run\.json"):
        fit(recipe(), dataset, tmp_path / "full", resume=True)
    with pytest.raises(UserError, match="not empty"):
        fit(recipe(), dataset, tmp_path / "full")


def test_minutes_stop_a_run_and_count_across_resumes(
    dataset: PreparedDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = iter(range(0, 10**6, 30))
    slow = SimpleNamespace(monotonic=lambda: float(next(clock)))
    monkeypatch.setattr("cxreport.training.keeper.time", slow)
    options = recipe(epochs=50, max_minutes=1.4)
    monkeypatch.setattr(Mean, "interrupt_after", 4)
    with pytest.raises(KeyboardInterrupt):
        fit(options, dataset, tmp_path)
    monkeypatch.setattr(Mean, "interrupt_after", None)
    with caplog.at_level(logging.INFO, "cxreport"):
        fit(options, dataset, tmp_path, resume=True)
    assert [row["epoch"] for row in log_of(tmp_path)] == ["1", "2", "3"]
    assert "Stopped after 1.5 minutes" in caplog.text


def test_the_first_line_counts_epochs_as_people_do(
    dataset: PreparedDataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "cxreport"):
        fit(recipe(epochs=1), dataset, tmp_path / "run")
    assert caplog.messages[-2].startswith(
        "tiny: 25 parameters, 1 epoch of 22 studies, 8 studies a step on 1 "
    )


def test_a_full_disk_is_told_in_a_sentence(
    dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("cxreport.training.state.save_file", full)
    with pytest.raises(
        UserError, match=r"Cannot write to the run folder .*No space left on device .*make room"
    ):
        fit(recipe(), dataset, tmp_path / "run")
    assert load_model(tmp_path / "run" / "model")
    assert not list((tmp_path / "run").glob("*.part"))


def test_a_kill_while_the_model_was_replaced_is_mended(tmp_path: Path) -> None:
    for name in (".model.abc", ".model.old.def", "model.part"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(name)
    mend(tmp_path / "model")
    assert (tmp_path / "model" / "config.json").read_text() == ".model.old.def"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "model.part"]
    (tmp_path / ".model.old.ghi").mkdir()
    mend(tmp_path / "model")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "model.part"]


def test_an_out_that_is_a_file_is_told_in_a_sentence(dataset: PreparedDataset, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(UserError, match="not a run folder"):
        fit(recipe(), dataset, tmp_path / "run")
    with pytest.raises(UserError, match="Cannot write to the run folder"):
        fit(recipe(), dataset, tmp_path / "run" / "below")


def test_reports_left_out_or_cut_are_counted(
    dataset: PreparedDataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fit(recipe(epochs=1), dataset, tmp_path / "run")
    assert "train split, 23 studies: 1 left out" in caplog.text
    assert "7 of 22 training reports are longer than model.max_length" in caplog.text


def test_lightning_is_silent_and_leaves_no_folder_behind(
    dataset: PreparedDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    fit(recipe(epochs=1), dataset, tmp_path / "run")
    output = capfd.readouterr()
    assert output.out == ""
    assert "lightning" not in output.err.lower()
    assert "GPU" not in output.err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_mixed_precision_ends_near_the_weights_of_full_precision(
    dataset: PreparedDataset, unbroken: Path, tmp_path: Path
) -> None:
    fit(recipe(keep="last", precision="bf16"), dataset, tmp_path / "run")
    for name, tensor in weights(tmp_path / "run").items():
        torch.testing.assert_close(tensor, weights(unbroken)[name], atol=0.05, rtol=0.05)


def test_half_precision_needs_a_gpu(
    dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"training\.precision: 16 needs a GPU"):
        fit(recipe(precision="16"), dataset, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_one_cycle_rises_in_a_line_and_falls_as_a_cosine() -> None:
    options = TrainingOptions(epochs=10, warmup=0.2)
    factors = [rate_factor(options, step, 5) for step in range(50)]
    np.testing.assert_allclose(factors[:10], np.arange(1, 11) / 10)
    np.testing.assert_allclose(factors[30], 0.5)
    np.testing.assert_allclose(factors[49], 0.5 * (1 + np.cos(np.pi * 39 / 40)))


def test_step_schedule_is_that_of_torch() -> None:
    options = TrainingOptions(epochs=9, schedule="step", step_size=2, step_gamma=0.5)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
    for epoch in range(9):
        assert rate_factor(options, epoch * 3 + 2, 3) == pytest.approx(reference.get_last_lr()[0])
        optimizer.step()
        reference.step()


def test_the_encoder_has_its_own_rate_and_the_log_has_the_general_one(
    dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def on_end(self: Any, trainer: lightning.Trainer, module: Any) -> None:
        seen.append(
            [
                (type(o).__name__, g["lr"], len(g["params"]))
                for o in trainer.optimizers
                for g in o.param_groups
            ]
        )

    monkeypatch.setattr("cxreport.training.progress.TrainingProgress.on_train_end", on_end)
    options = {
        "schedule": "constant",
        "optimizer": "adam-amsgrad",
        "encoder_learning_rate": 0.01,
        "epochs": 1,
    }
    fit(recipe(**options), dataset, tmp_path / "run")
    assert seen == [[("Adam", 0.01, 2), ("Adam", 0.05, 2)]]
    assert log_of(tmp_path / "run")[0]["learning_rate"] == "0.05"


def test_state_comes_back_as_it_was(tmp_path: Path) -> None:
    state = {
        "weights": {"a": torch.arange(6.0).reshape(2, 3).T, "half": torch.ones(2, dtype=torch.bfloat16)},
        "optimizer": [{"state": {0: {"step": torch.tensor(3.0)}}, "betas": (0.9, 0.999), "none": None}],
        "mask": torch.tensor([True, False]),
        "kernel": torch.arange(16.0).reshape(1, 4, 2, 2).to(memory_format=torch.channels_last),
        "empty": torch.zeros(0),
        "number": 0.1,
    }
    save_state(state, tmp_path / "state.safetensors")
    back = load_state(tmp_path / "state.safetensors")
    assert torch.equal(back["weights"]["a"], state["weights"]["a"])
    assert back["weights"]["half"].dtype == torch.bfloat16
    assert back["optimizer"][0]["state"][0]["step"].shape == ()
    assert back["optimizer"][0]["betas"] == (0.9, 0.999)
    assert back["mask"].tolist() == [True, False]
    assert torch.equal(back["kernel"], state["kernel"])
    assert back["kernel"].stride() == state["kernel"].stride()
    assert back["number"] == 0.1
    assert [path.name for path in tmp_path.iterdir()] == ["state.safetensors"]


def test_a_damaged_state_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save_state({"weights": torch.arange(100.0)}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(UserError, match="sha256 differs"):
        load_state(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="absent or damaged"):
        load_state(path)
    path.write_bytes(b"")
    with pytest.raises(UserError, match="absent or damaged"):
        load_state(path)
    with pytest.raises(TypeError, match="cannot hold set"):
        save_state({"what": {1, 2}}, path)


@pytest.mark.parametrize(("devices", "searched"), [(1, None), (2, True)])
def test_several_devices_allow_what_a_loss_does_not_use(devices: int, searched: bool | None) -> None:
    """VMamba's last norm is for its pooled vector, which R2Gen's loss does not need."""
    strategy = _trainer(recipe(), devices, []).strategy
    assert getattr(strategy, "_ddp_kwargs", {}).get("find_unused_parameters") is searched

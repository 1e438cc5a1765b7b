"""Keeps the run folder up to date after every epoch: kept model, log, facts, state to resume from."""

from __future__ import annotations

import copy
import csv
import io
import json
import logging
import math
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from torch import nn

from cxreport.recipe import RecipeFile
from cxreport.training.averages import AveragedWeights
from cxreport.training.files import write_text, writing
from cxreport.training.optimizers import rate_factor, rate_scale
from cxreport.training.sharding import Sharded, whole_weights
from cxreport.training.subject import Built
from cxreport.training.task import Task

MODEL = "model"
LOG = "log.csv"
STATE = "last.safetensors"
RUN = "run.json"
COLUMNS = ("epoch", "step", "train_loss", "val_loss", "learning_rate", "seconds")

logger = logging.getLogger(__name__)


class RunKeeper(Callback):
    """Writes ``model/``, ``log.csv``, ``run.json``, ``last.safetensors``, in this order, at an epoch's end.

    Each is replaced in one step, and the state comes last: after a kill at any moment the run resumes from
    the last epoch whose state is complete and repeats what came after it. `facts` go into ``run.json`` and
    into the model's provenance; with `averages` they are the weights that are kept.
    """

    def __init__(
        self,
        out: Path,
        recipe: RecipeFile,
        built: Built,
        facts: dict[str, Any],
        averages: AveragedWeights | None = None,
    ) -> None:
        self.out = out
        self.recipe = recipe
        self.built = built
        self.measured: dict[str, Any] = {}
        self.facts = facts
        self.averages = averages
        self.rows: list[dict[str, Any]] = []
        self._began = 0.0
        self._whole: nn.Module | None = None

    @property
    def epochs(self) -> int:
        """Finished epochs."""
        return len(self.rows)

    @property
    def minutes(self) -> float:
        """Minutes that the finished epochs took, those before a resume included."""
        return sum(row["seconds"] for row in self.rows) / 60

    @property
    def complete(self) -> bool:
        """True when no epoch is left to train, by number or by ``max_minutes``."""
        limit = self.recipe.training.max_minutes
        return self.epochs >= self.recipe.training.epochs or (limit is not None and self.minutes >= limit)

    @property
    def kept(self) -> dict[str, Any] | None:
        """Row of the epoch that is (or becomes) ``model/``; None before the first."""
        if not self.rows or self.recipe.training.keep == "last":
            return self.rows[-1] if self.rows else None
        return min(self.rows, key=lambda row: row["val_loss"])

    def state_dict(self) -> dict[str, Any]:
        """The log so far, for the state file."""
        return {"rows": self.rows, "measured": self.measured, "remembered": self.built.remembered()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the log of a state file."""
        self.rows = list(state_dict["rows"])
        self.measured = state_dict["measured"]
        self.built.recall(state_dict["remembered"])

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Leave out Lightning's own counters: a run resumes at the start of an epoch, by its number."""
        del checkpoint["loops"]

    def setup(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str | None = None
    ) -> None:
        """Keep a copy of a model that is to be sharded, to save it whole."""
        if isinstance(trainer.strategy, Sharded) and trainer.is_global_zero:
            self._whole = copy.deepcopy(self.built.system)

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start the epoch's clock."""
        self._began = time.monotonic()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Log the epoch, keep its model where it is the one to keep, and save the state."""
        assert isinstance(pl_module, Task)
        self._add_row(trainer, pl_module)
        self.measured = self.built.measured()
        self._gather(trainer)
        if trainer.is_global_zero:
            with writing(self.out):
                if self.kept is self.rows[-1]:
                    self._save_model()
                self.write_log()
                self.write_facts("running")
            self._tell()
        trainer.save_checkpoint(self.out / STATE)
        trainer.should_stop = bool(trainer.strategy.broadcast(self.complete))

    def write_log(self) -> None:
        """Replace ``log.csv``; losses and rates with 9 significant digits."""
        text = io.StringIO()
        table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        table.writeheader()
        for row in self.rows:
            table.writerow(
                {name: f"{value:.9g}" if isinstance(value, float) else value for name, value in row.items()}
            )
        write_text(self.out / LOG, text.getvalue())

    def write_facts(self, status: str) -> None:
        """Replace ``run.json``; `status` is running, interrupted or finished."""
        kept = self.kept
        progress = {
            "status": status,
            "epochs": self.epochs,
            "minutes": round(self.minutes, 3),
            "kept_epoch": kept and kept["epoch"],
            "kept_val_loss": kept and kept["val_loss"],
        }
        write_text(self.out / RUN, json.dumps({**progress, **self.measured, **self.facts}, indent=2) + "\n")

    def save_as_built(self) -> None:
        """Write the model folder of what has nothing to train."""
        self.built.save(self.built.system, self.out / MODEL, self._provenance())

    def _add_row(self, trainer: lightning.Trainer, task: Task) -> None:
        options = self.recipe.training
        epoch, steps = trainer.current_epoch + 1, math.ceil(trainer.num_training_batches / options.accumulate)
        train_loss, val_loss = task.mean_losses()
        peak = options.learning_rate * rate_scale(options, trainer.world_size)
        self.rows.append(
            {
                "epoch": epoch,
                "step": epoch * steps,
                "train_loss": train_loss,
                "val_loss": val_loss,
                "learning_rate": peak * rate_factor(options, epoch * steps - 1, steps),
                "seconds": round(time.monotonic() - self._began, 3),
            }
        )

    def _gather(self, trainer: lightning.Trainer) -> None:
        """Bring the parts of a sharded model together in the first process, where it is to be kept."""
        if isinstance(trainer.strategy, Sharded) and self.kept is self.rows[-1]:
            weights = whole_weights(self.built.system)
            if self._whole is not None:
                self._whole.load_state_dict(weights)

    def _save_model(self) -> None:
        row = self.rows[-1]
        provenance = {
            **self._provenance(),
            "epoch": row["epoch"],
            "train_loss": row["train_loss"],
            "val_loss": row["val_loss"],
            "minutes": round(self.minutes, 3),
        }
        with self.averages.in_place() if self.averages else nullcontext():
            self.built.save(self._whole or self.built.system, self.out / MODEL, provenance)

    def _provenance(self) -> dict[str, Any]:
        return {name: value for name, value in self.facts.items() if name not in ("format", "options")}

    def _tell(self) -> None:
        row = self.rows[-1]
        logger.info(
            "epoch %d/%d: train loss %.4f, validation loss %.4f%s, %.1f s",
            row["epoch"],
            self.recipe.training.epochs,
            row["train_loss"],
            row["val_loss"],
            " (kept)" if self.kept is row else "",
            row["seconds"],
        )

"""The progress bar of training: epoch, steps, loss and time left, on stderr when that is a terminal."""

from __future__ import annotations

from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from cxreport.training.task import CHECK_EVERY, Task


class TrainingProgress(Callback):
    """One bar over all steps of all epochs; a resumed run starts where it stopped."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps, {task.fields[loss]}"),
            TimeElapsedColumn(),
            TextColumn("gone,"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._bar = self._progress.add_task("training", total=None, loss="loss -")

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Show the epoch."""
        if not trainer.is_global_zero:
            return
        steps = int(trainer.num_training_batches)
        self._progress.start()
        self._progress.update(
            self._bar,
            description=f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}",
            total=steps * (trainer.max_epochs or 0),
            completed=steps * trainer.current_epoch,
        )

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """One step more; the loss is looked at now and then because that waits for the accelerator."""
        self._progress.advance(self._bar)
        if not self._progress.disable and batch_idx % CHECK_EVERY == 0 and isinstance(pl_module, Task):
            self._progress.update(self._bar, loss=f"loss {pl_module.running_loss.item():.4f}")

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Take the bar away."""
        self._progress.stop()

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Take the bar away before anything is printed about `exception`."""
        self._progress.stop()

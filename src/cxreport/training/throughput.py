"""How fast an epoch was: images and operations of the model per second."""

from __future__ import annotations

import logging
import time
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from cxreport.encoders.profile import operations_of

logger = logging.getLogger(__name__)


def operations_of_image(system: nn.Module, batch: Any) -> float:
    """Operations of a training step per image of `batch`: a forward pass three times, as is usual.

    Neither random numbers nor weights change.
    """
    device = batch.images.device
    training = system.training
    system.eval()
    with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.no_grad():
        forward = operations_of(lambda: system.loss(batch))  # type: ignore[operator]
    system.train(training)
    return 3 * forward / int(batch.view_mask.sum())


class Throughput(Callback):
    """Logs images/s and FLOP/s of the training steps of each epoch, over all devices."""

    def __init__(self) -> None:
        self._began = self._seconds = 0.0
        self._images = 0
        self._operations: float | None = None

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start the clock."""
        self._images, self._began = 0, time.monotonic()

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Count the operations once, with the clock stopped."""
        if self._operations is None:
            start = time.monotonic()
            self._operations = operations_of_image(pl_module.system, batch)  # type: ignore[arg-type]
            self._began += time.monotonic() - start

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Count the images; validation comes after the last batch."""
        self._images += int(batch.view_mask.sum())
        self._seconds = time.monotonic() - self._began

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Tell; devices may have had different numbers of views."""
        images = torch.tensor(float(self._images), device=pl_module.device)
        if trainer.world_size > 1:
            images = trainer.strategy.reduce(images, reduce_op="sum")
        if trainer.is_global_zero:
            rate = images.item() / max(self._seconds, 1e-9)
            flops = rate * (self._operations or 0) / 1e9
            logger.info("  %.1f images/s, %.2f GFLOP/s of the model", rate, flops)

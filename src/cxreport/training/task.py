"""What Lightning trains: anything with ``loss(batch) -> dict``; optimiser, schedule and seeds."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor, nn

from cxreport.errors import UserError
from cxreport.options import TrainingOptions

CHECK_EVERY = 20
"""Steps between two looks at the loss for NaN (a look waits for the accelerator)."""


class Task(lightning.LightningModule):
    """Wraps a `system` whose ``loss(batch)`` returns a dict with a scalar ``"loss"``.

    `encoder_parameters` get the encoder's learning rate, all others the general one. Losses of an epoch are
    means weighted by the ``"tokens"`` that each batch says it averaged over, else by its studies.
    """

    def __init__(
        self,
        system: nn.Module,
        options: TrainingOptions,
        seed: int,
        encoder_parameters: Iterable[nn.Parameter] = (),
    ) -> None:
        super().__init__()
        self.system = system
        self.options = options
        self.seed = seed
        self._encoder_ids = {id(parameter) for parameter in encoder_parameters}
        self._sums: dict[str, Tensor] = {}
        self._recent: list[tuple[list[str], Tensor]] = []

    def on_train_epoch_start(self) -> None:
        """Seeds from (seed, epoch, rank): what an epoch draws does not depend on how it was reached."""
        seed_everything(self.seed, self.current_epoch + 1, self.global_rank)
        self._sums = {
            name: torch.zeros(
                2, dtype=torch.float64 if self.device.type == "cpu" else torch.float32, device=self.device
            )
            for name in ("train", "val")
        }

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Batches move themselves."""
        return batch.to(device)

    def training_step(self, batch: Any, batch_index: int) -> Tensor:
        """The loss of one batch."""
        parts = self.system.loss(batch)  # type: ignore[operator]
        self._recent.append((batch.study_ids, parts["loss"].detach()))
        self._add("train", parts, batch)
        if batch_index % CHECK_EVERY == 0:
            self._refuse_nan()
        return parts["loss"]

    def validation_step(self, batch: Any, batch_index: int) -> None:
        """Adds to the validation loss."""
        self._add("val", self.system.loss(batch), batch)  # type: ignore[operator]

    def on_validation_epoch_start(self) -> None:
        """A NaN of the last steps is told before validation."""
        self._refuse_nan()

    def mean_losses(self) -> tuple[float, float]:
        """Mean training and validation loss of this epoch, over all devices."""
        sums = torch.stack([self._sums["train"], self._sums["val"]])
        if self.trainer.world_size > 1:
            sums = self.trainer.strategy.reduce(sums, reduce_op="sum")
        train, val = (sums[:, 0] / sums[:, 1]).tolist()
        return train, val

    @property
    def running_loss(self) -> Tensor:
        """Mean training loss of this epoch so far on this device, a scalar."""
        return self._sums["train"][0] / self._sums["train"][1]

    def _add(self, name: str, parts: dict[str, Tensor], batch: Any) -> None:
        weight = parts.get("tokens", len(batch))
        sums = self._sums[name]
        sums[0] += parts["loss"].detach() * weight
        sums[1] += weight

    def _refuse_nan(self) -> None:
        if not torch.isfinite(self._sums["train"][0]):
            first = next((ids for ids, loss in self._recent if not torch.isfinite(loss)), [])
            more = f" and {len(first) - 8} more" if len(first) > 8 else ""
            named = f" The first such batch holds the studies {', '.join(first[:8])}{more}." if first else ""
            raise UserError(
                f"The training loss became NaN or infinite in epoch {self.current_epoch + 1}; lower "
                "training.learning_rate, set training.gradient_clip, or use training.precision=32." + named
            )
        self._recent.clear()

    def configure_optimizers(self) -> Any:
        """Optimiser with the encoder's parameters in a first group, and a schedule per step."""
        options = self.options
        trained = [parameter for parameter in self.system.parameters() if parameter.requires_grad]
        encoder = [parameter for parameter in trained if id(parameter) in self._encoder_ids]
        others = [parameter for parameter in trained if id(parameter) not in self._encoder_ids]
        encoder_rate = options.encoder_learning_rate or options.learning_rate
        groups = [{"params": encoder, "lr": encoder_rate}, {"params": others, "lr": options.learning_rate}]
        if not options.decay_vectors:
            groups = [part for group in groups for part in _without_decay_of_vectors(group)]
        groups = [group for group in groups if group["params"]]
        optimizer: torch.optim.Optimizer
        if options.optimizer == "adamw":
            optimizer = torch.optim.AdamW(groups, weight_decay=options.weight_decay)
        else:
            optimizer = torch.optim.Adam(groups, weight_decay=options.weight_decay, amsgrad=True)
        steps_per_epoch = int(self.trainer.estimated_stepping_batches) // options.epochs
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: rate_factor(options, step, steps_per_epoch)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _without_decay_of_vectors(group: dict[str, Any]) -> list[dict[str, Any]]:
    """A group of parameters as two: those of two dimensions and more, and the others without decay."""
    matrices = [parameter for parameter in group["params"] if parameter.ndim > 1]
    vectors = [parameter for parameter in group["params"] if parameter.ndim <= 1]
    return [group | {"params": matrices}, group | {"params": vectors, "weight_decay": 0.0}]


def rate_factor(options: TrainingOptions, step: int, steps_per_epoch: int) -> float:
    """What the peak learning rate is multiplied with at `step` (from 0): a function of the step alone.

    ``one-cycle`` rises linearly over the first ``warmup`` share of all steps, then falls as a half cosine to
    zero; ``step`` is StepLR counted in epochs (R2Gen's ``main_train.py``: step 50, gamma 0.1).
    """
    if options.schedule == "constant":
        return 1.0
    if options.schedule == "step":
        return options.step_gamma ** (step // steps_per_epoch // options.step_size)
    total = options.epochs * steps_per_epoch
    warm = int(options.warmup * total)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))


def seed_everything(*parts: int) -> None:
    """Seed random, numpy and torch from `parts`, as :class:`numpy.random.SeedSequence` mixes them."""
    first, second, third = (int(word) for word in np.random.SeedSequence(parts).generate_state(3))
    random.seed(first)
    np.random.seed(second)
    torch.manual_seed(third)

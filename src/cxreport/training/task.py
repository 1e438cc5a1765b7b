"""What Lightning trains: anything with ``loss(batch) -> dict``; losses, and seeds."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor, nn

from cxreport.errors import UserError
from cxreport.options import TrainingOptions
from cxreport.training.optimizers import build_optimizer
from cxreport.training.sharding import Sharded, shard

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
        self._encoder_parameters = list(encoder_parameters)
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
        self._add("train", parts, batch)
        if batch_index % CHECK_EVERY == 0:
            self._refuse_nan("train")
        return parts["loss"]

    def validation_step(self, batch: Any, batch_index: int) -> None:
        """Adds to the validation loss."""
        self._add("val", self.system.loss(batch), batch)  # type: ignore[operator]

    def on_validation_epoch_start(self) -> None:
        """A NaN of the last steps is told before validation."""
        self._refuse_nan("train")

    def on_validation_epoch_end(self) -> None:
        """A NaN of validation is told before the epoch is kept."""
        self._refuse_nan("val")

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
        self._recent.append((batch.study_ids, parts["loss"].detach()))

    def _refuse_nan(self, name: str) -> None:
        """UserError, on every device, where the loss of one is not finite."""
        bad = not bool(torch.isfinite(self._sums[name][0]))
        first = next((ids for ids, loss in self._recent if not torch.isfinite(loss)), []) if bad else []
        self._recent.clear()
        if self.trainer.world_size > 1:
            everywhere: list[Any] = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(everywhere, (bad, first))
            bad = any(each[0] for each in everywhere)
            first = next((each[1] for each in everywhere if each[1]), [])
        if bad:
            more = f" and {len(first) - 8} more" if len(first) > 8 else ""
            named = f" The first such batch holds the studies {', '.join(first[:8])}{more}." if first else ""
            kind = "training" if name == "train" else "validation"
            raise UserError(
                f"The {kind} loss became NaN or infinite in epoch {self.current_epoch + 1}; lower "
                "training.learning_rate, set training.gradient_clip, or use training.precision=32." + named
            )

    def configure_model(self) -> None:
        """Share the system among devices where the strategy says so; that makes new parameters."""
        if isinstance(self.trainer.strategy, Sharded):
            ids = {id(parameter) for parameter in self._encoder_parameters}
            names = [name for name, parameter in self.system.named_parameters() if id(parameter) in ids]
            shard(self.system, self.trainer.strategy.device_mesh["data_parallel"])
            self._encoder_parameters = [self.system.get_parameter(name) for name in names]

    def configure_optimizers(self) -> Any:
        """See :func:`cxreport.training.optimizers.build_optimizer`; the schedule goes on every step."""
        optimizer, schedule = build_optimizer(
            self.system.parameters(),
            self._encoder_parameters,
            self.options,
            int(self.trainer.estimated_stepping_batches) // self.options.epochs,
            self.trainer.world_size,
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def seed_everything(*parts: int) -> None:
    """Seed random, numpy and torch from `parts`, as :class:`numpy.random.SeedSequence` mixes them."""
    first, second, third = (int(word) for word in np.random.SeedSequence(parts).generate_state(3))
    random.seed(first)
    np.random.seed(second)
    torch.manual_seed(third)

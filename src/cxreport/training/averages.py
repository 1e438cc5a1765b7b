"""An exponential moving average of the weights, which is validated and saved in their place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn


class AveragedWeights(Callback):
    """After every step n (from 1) the average moves towards the weights by ``1 - min(decay, (1+n)/(10+n))``.

    Averaged are the parameters of `system` that are trained; the rest, running statistics included, is what
    it is. The average is part of the state that a run resumes from.
    """

    def __init__(self, system: nn.Module, decay: float) -> None:
        self._parameters = [parameter for parameter in system.parameters() if parameter.requires_grad]
        self._averages = [parameter.detach().clone() for parameter in self._parameters]
        self._decay = decay
        self._steps = 0
        self._seen = 0
        self._swapped = False

    def state_dict(self) -> dict[str, Any]:
        """The average, and after how many steps."""
        return {"steps": self._steps, "averages": self._averages}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the average of a state file."""
        self._steps = state_dict["steps"]
        for average, saved in zip(self._averages, state_dict["averages"], strict=True):
            average.copy_(saved)

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Follow the weights to their device; Lightning's count of steps begins anew where a run resumes."""
        self._seen = trainer.global_step
        self._averages = [
            average.to(parameter.device)
            for average, parameter in zip(self._averages, self._parameters, strict=True)
        ]

    @torch.no_grad()
    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Move the average, where the batch ended a step."""
        if trainer.global_step == self._seen:
            return
        self._seen = trainer.global_step
        self._steps += 1
        weight = 1 - min(self._decay, (1 + self._steps) / (10 + self._steps))
        torch._foreach_lerp_(self._averages, [each.detach() for each in self._parameters], weight)

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Validate the average."""
        self._swap()

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Go on with the weights."""
        self._swap()

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Leave the weights in their place."""
        if self._swapped:
            self._swap()

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The average in the place of the weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        self._swapped = not self._swapped
        kept: list[Tensor] = [parameter.detach().clone() for parameter in self._parameters]
        torch._foreach_copy_([each.detach() for each in self._parameters], self._averages)
        torch._foreach_copy_(self._averages, kept)

"""The optimiser of a run and how its learning rates and weight decay go: functions of the step alone."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from cxreport.options import TrainingOptions


def build_optimizer(
    parameters: Iterable[nn.Parameter],
    encoder_parameters: Iterable[nn.Parameter],
    options: TrainingOptions,
    steps_per_epoch: int,
    devices: int = 1,
) -> tuple[torch.optim.Optimizer, Schedule]:
    """Optimiser of the trained `parameters`, those of the encoder in a first group, and its schedule."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    encoder_ids = {id(parameter) for parameter in encoder_parameters}
    encoder = [parameter for parameter in trained if id(parameter) in encoder_ids]
    others = [parameter for parameter in trained if id(parameter) not in encoder_ids]
    scale = rate_scale(options, devices)
    encoder_rate = options.encoder_learning_rate or options.learning_rate
    groups = [
        {"params": encoder, "lr": encoder_rate * scale},
        {"params": others, "lr": options.learning_rate * scale},
    ]
    if not options.decay_vectors:
        groups = [part for group in groups for part in _without_decay_of_vectors(group)]
    groups = [group for group in groups if group["params"]]
    optimizer: torch.optim.Optimizer
    if options.optimizer == "adamw":
        optimizer = torch.optim.AdamW(groups, betas=options.betas, weight_decay=options.weight_decay)
    else:
        optimizer = torch.optim.Adam(
            groups, betas=options.betas, weight_decay=options.weight_decay, amsgrad=True
        )
    return optimizer, Schedule(optimizer, options, steps_per_epoch)


class Schedule(torch.optim.lr_scheduler.LambdaLR):
    """Sets the learning rate of every group, and its weight decay where that is to change."""

    def __init__(
        self, optimizer: torch.optim.Optimizer, options: TrainingOptions, steps_per_epoch: int
    ) -> None:
        self._options, self._steps_per_epoch = options, steps_per_epoch
        super().__init__(optimizer, lambda step: rate_factor(options, step, steps_per_epoch))

    def step(self, epoch: int | None = None) -> None:
        """Go to the next step."""
        super().step(epoch)
        decay = weight_decay_at(self._options, self.last_epoch, self._steps_per_epoch)
        for group in self.optimizer.param_groups:
            if group["weight_decay"]:
                group["weight_decay"] = decay

    def state_dict(self) -> dict[str, Any]:
        """What differs between two moments of a run."""
        own = ("_options", "_steps_per_epoch")
        return {name: value for name, value in super().state_dict().items() if name not in own}


def rate_scale(options: TrainingOptions, devices: int) -> float:
    """Studies of a step on so many devices over ``reference_batch``; 1 where there is none."""
    if options.reference_batch is None:
        return 1.0
    return options.batch_size * options.accumulate * devices / options.reference_batch


def rate_factor(options: TrainingOptions, step: int, steps_per_epoch: int) -> float:
    """What the peak learning rate is multiplied with at `step` (from 0).

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


def weight_decay_at(options: TrainingOptions, step: int, steps_per_epoch: int) -> float:
    """Weight decay at `step` (from 0): constant, or along a half cosine to ``weight_decay_end``.

    The end is reached at the last step (DINO's schedule, Caron et al., ICCV 2021, which HD-MAE takes over).
    """
    start, end = options.weight_decay, options.weight_decay_end
    if end is None:
        return start
    share = min(1.0, step / max(1, options.epochs * steps_per_epoch - 1))
    return end + 0.5 * (start - end) * (1 + math.cos(math.pi * share))


def _without_decay_of_vectors(group: dict[str, Any]) -> list[dict[str, Any]]:
    """A group of parameters as two: those of two dimensions and more, and the others without decay."""
    matrices = [parameter for parameter in group["params"] if parameter.ndim > 1]
    vectors = [parameter for parameter in group["params"] if parameter.ndim <= 1]
    return [group | {"params": matrices}, group | {"params": vectors, "weight_decay": 0.0}]

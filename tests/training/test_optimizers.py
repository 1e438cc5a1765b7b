"""Learning rates, weight decay and betas of a run, against hand computation."""

from __future__ import annotations

import math

import pytest
import torch

from cxreport.options import TrainingOptions
from cxreport.training.optimizers import build_optimizer, rate_scale, weight_decay_at


def test_weight_decay_follows_a_cosine_and_leaves_vectors_alone() -> None:
    options = TrainingOptions(
        epochs=2, weight_decay=0.04, weight_decay_end=0.4, decay_vectors=False, warmup=0, betas=(0.9, 0.95)
    )
    layer = torch.nn.Linear(3, 2)
    optimizer, schedule = build_optimizer(layer.parameters(), [], options, steps_per_epoch=5)
    seen = []
    for _ in range(10):
        seen.append([group["weight_decay"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    expected = [0.4 - 0.18 * (1 + math.cos(math.pi * step / 9)) for step in range(10)]
    assert [pair[0] for pair in seen] == pytest.approx(expected)
    assert expected[0] == pytest.approx(0.04)
    assert expected[-1] == pytest.approx(0.4)
    assert [pair[1] for pair in seen] == [0.0] * 10
    assert all(group["betas"] == (0.9, 0.95) for group in optimizer.param_groups)
    assert weight_decay_at(TrainingOptions(weight_decay=0.3), 7, 5) == 0.3


def test_a_schedule_that_is_taken_up_goes_on_as_it_would_have() -> None:
    options = TrainingOptions(epochs=2, weight_decay=0.04, weight_decay_end=0.4)

    def built() -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
        torch.manual_seed(0)
        return build_optimizer(torch.nn.Linear(3, 2).parameters(), [], options, 5)

    whole, broken = built(), built()
    for pair in (whole, broken):
        for _ in range(4):
            pair[0].step()
            pair[1].step()
    later = built()
    later[0].load_state_dict(broken[0].state_dict())
    later[1].load_state_dict(broken[1].state_dict())
    for pair in (whole, later):
        pair[0].step()
        pair[1].step()
    for name in ("lr", "weight_decay"):
        assert later[0].param_groups[0][name] == whole[0].param_groups[0][name]


def test_rates_grow_with_the_studies_of_a_step() -> None:
    options = TrainingOptions(
        batch_size=12, accumulate=2, reference_batch=256, learning_rate=1.5e-4, encoder_learning_rate=1e-5,
        schedule="constant",
    )  # fmt: skip
    encoder, rest = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    parameters = [*encoder.parameters(), *rest.parameters()]
    optimizer, _ = build_optimizer(parameters, encoder.parameters(), options, 5, devices=4)
    assert rate_scale(options, 4) == 96 / 256
    rates = [group["lr"] for group in optimizer.param_groups]
    assert rates == pytest.approx([1e-5 * 96 / 256, 1.5e-4 * 96 / 256])
    assert rate_scale(TrainingOptions(batch_size=512), 8) == 1.0

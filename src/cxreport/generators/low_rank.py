"""Low-rank updates (LoRA, Hu et al. 2021) of an encoder's weights, on its attention's query and value."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from cxreport.errors import UserError
from cxreport.model_options import LoraOptions

JOINT = ("qkv", "query_key_value")
"""Layers that make query, key and value at once; query and value are updated."""


class LowRank(nn.Module):
    """A weight W (O, I) as W + alpha / r * B A on the rows that it names; B starts at zero.

    It changes the weight and not the layer, because some layers (torchvision's windows of attention) read
    their weight without being called.
    """

    def __init__(self, rows: list[slice], inputs: int, options: LoraOptions) -> None:
        super().__init__()
        self.rows = rows
        self.scale = options.alpha / options.rank
        self.down = nn.ParameterList(nn.Parameter(torch.empty(options.rank, inputs)) for _ in rows)
        self.up = nn.ParameterList(
            nn.Parameter(torch.zeros(row.stop - row.start, options.rank)) for row in rows
        )
        for matrix in self.down:
            nn.init.kaiming_uniform_(matrix, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """The updated weight (O, I)."""
        updated = weight.clone()
        for row, down, up in zip(self.rows, self.down, self.up, strict=True):
            updated[row] = weight[row] + self.scale * up @ down
        return updated


def add_low_rank(module: nn.Module, options: LoraOptions) -> int:
    """Freeze `module` and give the linear layers that ``options.targets`` name low-rank updates, in place.

    Returns how many layers were given some; UserError where that is none.
    """
    if options.dropout:
        raise UserError("model.encoder_lora.dropout must be 0: weights are updated, not what enters them.")
    module.requires_grad_(False)
    linear = {name: part for name, part in module.named_modules() if isinstance(part, nn.Linear)}
    chosen = {name: part for name, part in linear.items() if name.split(".")[-1] in options.targets}
    if not chosen:
        known = sorted({name.split(".")[-1] for name in linear if not name.split(".")[-1].isdigit()})
        has = f"its linear layers are {', '.join(known)}" if known else "it has no linear layers by name"
        raise UserError(
            f"model.encoder_lora.targets: this encoder has no layer {', '.join(options.targets)}; {has}."
        )
    for name, part in chosen.items():
        size = part.out_features
        third = size // 3
        joint = name.split(".")[-1] in JOINT
        rows = [slice(0, third), slice(2 * third, size)] if joint else [slice(0, size)]
        parametrize.register_parametrization(part, "weight", LowRank(rows, part.in_features, options))
    return len(chosen)

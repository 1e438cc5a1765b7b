"""VMamba (Liu et al., NeurIPS 2024), the encoder of R2GenCSR: selective scans of a map in four directions.

Written from the paper and the facts of ``MzeroMiko/VMamba``, forward type ``v3noz`` of ``vssm1``: state size
1, no gate, a 3 x 3 depth-wise convolution without bias. Maps are channels-last, (B, H, W, C).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import StochasticDepth

from cxreport.encoders import Encoder, Tokens
from cxreport.encoders.layers import drop_path_rates, initialise_linear
from cxreport.encoders.scan import selective_scan
from cxreport.errors import UserError
from cxreport.options import EncoderOptions

DIRECTIONS = 4
_SHORTEST_STEP, _LONGEST_STEP = 1e-3, 1e-1


@dataclass(frozen=True, slots=True)
class Shape:
    """``width`` channels in the first stage, doubled in each following one; ``depths`` blocks per stage."""

    width: int
    depths: tuple[int, ...]
    state_size: int = 1
    expansion: float = 2.0
    drop_path: float = 0.0


SHAPES = {
    "vmamba_mini": Shape(40, (2, 2, 5, 2)),
    "vmamba_tiny": Shape(96, (2, 2, 5, 2)),
    "vmamba_small": Shape(96, (2, 2, 15, 2)),
    "vmamba_base": Shape(128, (2, 2, 15, 2)),
}
"""``vssm1`` at 224 px; ``vmamba_mini`` is ours, for CPUs."""


class CrossScan(nn.Module):
    """SS2D: every place of a map reads all others, along rows and columns, forwards and backwards.

    The directions are rows, columns, reversed rows, reversed columns. Each has its own input-dependent step,
    input and output matrices (paper: delta, B, C), decay A and skip D; their outputs are added up.
    """

    def __init__(self, width: int, state_size: int, expansion: float) -> None:
        super().__init__()
        inner, rank = int(expansion * width), math.ceil(width / 16)
        self.rank, self.state_size = rank, state_size
        self.in_projection = nn.Linear(width, inner, bias=False)
        self.convolution = nn.Conv2d(inner, inner, kernel_size=3, padding=1, groups=inner, bias=False)
        self.activation = nn.SiLU()
        self.scan_projection = nn.Parameter(torch.empty(DIRECTIONS, rank + 2 * state_size, inner))
        self.step_weight = nn.Parameter(torch.empty(DIRECTIONS, inner, rank))
        self.step_bias = nn.Parameter(torch.empty(DIRECTIONS, inner))
        self.log_decay = nn.Parameter(torch.empty(DIRECTIONS * inner, state_size))
        self.skip = nn.Parameter(torch.empty(DIRECTIONS * inner))
        self.norm = nn.LayerNorm(inner)
        self.out_projection = nn.Linear(inner, width, bias=False)
        self._initialise()

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, H, W, C) to maps of the same shape."""
        x = self.in_projection(maps).permute(0, 3, 1, 2)
        x = self.activation(self.convolution(x)).permute(0, 2, 3, 1)
        return self.out_projection(self.norm(self._scanned(x)))

    def _scanned(self, x: Tensor) -> Tensor:
        """Maps (B, H, W, E) to the sum of their four scans."""
        places = x.flatten(1, 2)
        projected = functional.linear(places, self.scan_projection.flatten(0, 1)).unflatten(
            2, (DIRECTIONS, -1)
        )
        ranks, b, c = projected.split([self.rank, self.state_size, self.state_size], dim=3)
        steps = torch.einsum("blgr,ger->blge", ranks, self.step_weight)
        scanned = selective_scan(
            places.transpose(1, 2).unsqueeze(1).expand(-1, DIRECTIONS, -1, -1),
            steps.permute(0, 2, 3, 1),
            -torch.exp(self.log_decay.float()),
            b.permute(0, 2, 3, 1),
            c.permute(0, 2, 3, 1),
            D=self.skip.float(),
            delta_bias=self.step_bias.float().flatten(),
            delta_softplus=True,
            order=scan_orders(x.shape[1], x.shape[2], x.device),
            merge=True,
        )
        return scanned.transpose(1, 2).reshape(x.shape)

    def _initialise(self) -> None:
        """Mamba's initial values: steps between 0.001 and 0.1, decays 1 to N, skips 1."""
        inner = self.step_weight.shape[1]
        for weight in self.scan_projection:
            nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
        nn.init.uniform_(self.step_weight, -(self.rank**-0.5), self.rank**-0.5)
        with torch.no_grad():
            span = math.log(_LONGEST_STEP) - math.log(_SHORTEST_STEP)
            step = torch.exp(torch.rand(DIRECTIONS, inner) * span + math.log(_SHORTEST_STEP))
            self.step_bias.copy_(step + torch.log(-torch.expm1(-step)))
            self.log_decay.copy_(torch.arange(1, self.state_size + 1).float().log().expand_as(self.log_decay))
            self.skip.fill_(1.0)


def scan_orders(height: int, width: int, device: torch.device) -> Tensor:
    """(4, H * W): which place of a map, counted row by row, each direction reads at each step."""
    rows = torch.arange(height * width, device=device)
    columns = rows.view(height, width).T.flatten()
    return torch.stack([rows, columns, rows.flip(0), columns.flip(0)])


class Block(nn.Module):
    """x + CrossScan(LN(x)), then x + MLP(LN(x)) with four times the width."""

    def __init__(self, width: int, shape: Shape, drop_path: float) -> None:
        super().__init__()
        self.scan_norm = nn.LayerNorm(width)
        self.scan = CrossScan(width, shape.state_size, shape.expansion)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.drop_path = StochasticDepth(drop_path, mode="row")

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, H, W, C) to maps of the same shape."""
        maps = maps + self.drop_path(self.scan(self.scan_norm(maps)))
        return maps + self.drop_path(self.mlp(self.mlp_norm(maps)))


class Halving(nn.Module):
    """A 3 x 3 convolution of stride 2 and a LayerNorm over the channels."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(width_in, width, kernel_size=3, stride=2, padding=1)
        self.norm = nn.LayerNorm(width)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, H, W, C) to (B, H / 2, W / 2, C')."""
        return self.norm(self.convolution(maps.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


class VMamba(Encoder):
    """Stages at strides 4, 8, 16, 32; tokens are the last map before the final norm.

    ``pooled`` is the mean of the normalised tokens, as R2GenCSR takes them.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        widths = [shape.width * 2**stage for stage in range(len(shape.depths))]
        self.width = widths[-1]
        self.smallest = self.multiple = 4 * 2 ** (len(widths) - 1)
        self.shift = (self.multiple - 1) / 2
        self.stem = nn.Sequential(
            Halving(3, shape.width // 2), nn.GELU(), Halving(shape.width // 2, shape.width)
        )
        rates = iter(drop_path_rates(shape.drop_path, sum(shape.depths)))
        self.stages = nn.ModuleList(
            nn.Sequential(*(Block(width, shape, next(rates)) for _ in range(depth)))
            for width, depth in zip(widths, shape.depths, strict=True)
        )
        self.halvings = nn.ModuleList(Halving(width, 2 * width) for width in widths[:-1])
        self.norm = nn.LayerNorm(self.width)
        self.apply(initialise_linear)

    def encode(self, images: Tensor) -> Tokens:
        """Images (B, 3, H, W) to tokens; with four stages the sides are multiples of 32."""
        maps = self.stem(images.permute(0, 2, 3, 1))
        for place, stage in enumerate(self.stages):
            maps = stage(maps)
            if place < len(self.halvings):
                maps = self.halvings[place](maps)
        patches = maps.flatten(1, 2)
        return Tokens(patches, self.norm(patches).mean(dim=1), (maps.shape[1], maps.shape[2]))


def vmamba(options: EncoderOptions) -> VMamba:
    """The VMamba of that name with the recipe's changes; UserError for an odd width."""
    shape = replace(SHAPES[options.name], **options.shape())
    if shape.width % 2:
        raise UserError(f"model.encoder.width must be even for {options.name}, not {shape.width}.")
    return VMamba(shape)

"""The Vision Mamba of ARM and MambaXray-VL: patches through blocks of a selective scan and a gated MLP.

Written from the facts of ``Event-AHU/Medical_Image_Analysis``, ``CXPMRG_Bench_MambaXray_VL`` (its encoder is
ARM's, Ren et al., ICLR 2025, on Vim's and Mamba's layers). It has two forms. The causal one is pre-trained to
predict the next cluster of patches: one scan, clusters row by row, no class token, fixed positions. The other
is fine-tuned: four scans (rows and columns, both ways) that are averaged, a class token in the middle of the
patches, learnt positions. :func:`four_scans_from_one` turns weights of the first into the second.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, reduce, wraps

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import StochasticDepth

from cxreport.encoders import Encoder, Tokens, check_images, with_channels
from cxreport.encoders.causal_conv import causal_conv
from cxreport.encoders.layers import drop_path_rates, initialise_linear
from cxreport.encoders.positions import resampled, sin_cos_table
from cxreport.encoders.scan import selective_scan
from cxreport.errors import UserError
from cxreport.options import EncoderOptions

CLUSTER = 4
"""Patches along the side of a cluster, the unit that pre-training predicts."""
TAPS = 4
"""Hidden states that the decoder of pre-training reads."""
CONV_TAPS = 4
"""Steps that the convolution before a scan sees."""

BIG = 2**20
"""Values from which inference goes piece by piece: larger tensors leave the caches, and the system hands out
their memory page by page every time."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A Vision Mamba; ``scans`` is 4, or 1 for the causal form."""

    width: int
    depths: tuple[int, ...]
    scans: int = 4
    patch: int = 16
    image_size: int = 224
    state_size: int = 16
    expansion: float = 1.0
    drop_path: float = 0.0


SHAPES = {
    "vision_mamba_tiny": Shape(192, (12,)),
    "vision_mamba_base": Shape(768, (12,)),
    "vision_mamba_large": Shape(1024, (24,)),
}
"""Base and large are published; tiny is for CPUs. ``NAME_causal`` is the causal form, for 192 px."""
SHAPES |= {f"{name}_causal": replace(shape, scans=1, image_size=192) for name, shape in SHAPES.items()}


class Mixer(nn.Module):
    """Mamba's mixer with a gate, and with one or several scans over the same tokens.

    Every scan has its own convolution, selection, step sizes, decays and skip, here one after another along
    the first axis. The published code gates every scan before it averages them; the gate is the same, so
    gating the average is the same, and the scan adds up after a quarter of C and of the skip.
    """

    def __init__(self, width: int, scans: int, state_size: int, expansion: float) -> None:
        super().__init__()
        inner, self.scans, self.state_size = round(expansion * width), scans, state_size
        self.rank = math.ceil(width / 16)
        self.in_projection = nn.Linear(width, 2 * inner, bias=False)
        self.conv_weight = nn.Parameter(torch.empty(scans * inner, 1, CONV_TAPS))
        self.conv_bias = nn.Parameter(torch.empty(scans * inner))
        self.selection = nn.Parameter(torch.empty(scans * (self.rank + 2 * state_size), inner))
        self.step_weight = nn.Parameter(torch.empty(scans * inner, self.rank))
        self.step_bias = nn.Parameter(torch.empty(scans * inner))
        self.decay_log = nn.Parameter(torch.empty(scans * inner, state_size))
        self.skip = nn.Parameter(torch.ones(scans * inner))
        self.out_projection = nn.Linear(inner, width, bias=False)
        self._initialise(inner)

    def forward(self, tokens: Tensor, order: Tensor | None = None) -> Tensor:
        """Tokens (B, L, D) to tokens of the same shape; `order` (scans, L): what each scan visits in turn."""
        x, gate = self.in_projection(tokens).chunk(2, dim=-1)
        apart = not torch.is_grad_enabled() and self.scans * x.numel() > BIG
        scans = [slice(scan, scan + 1) for scan in range(self.scans)] if apart else [slice(None)]
        y = reduce(torch.add, (self._scanned(x, each, order) for each in scans))
        return self.out_projection(y * functional.silu(gate))

    def _scanned(self, x: Tensor, scans: slice, order: Tensor | None) -> Tensor:
        """What these scans of x (B, L, E) add to the average."""

        def own(parameter: Tensor) -> Tensor:
            return parameter.unflatten(0, (self.scans, -1))[scans].flatten(0, 1)

        order = None if order is None else order[scans]
        u = causal_conv(x, own(self.conv_weight).squeeze(1), own(self.conv_bias), order)
        u = u.unflatten(2, (-1, x.shape[2])).transpose(1, 2)
        selected = _per_scan(u, own(self.selection))
        low, B, C = selected.split([self.rank, self.state_size, self.state_size], dim=-1)
        delta = _per_scan(low, own(self.step_weight))
        y = selective_scan(
            u.transpose(2, 3),
            delta.transpose(2, 3),
            -torch.exp(own(self.decay_log).float()),
            B.transpose(2, 3),
            C.transpose(2, 3) / self.scans,
            own(self.skip) / self.scans,
            delta_bias=own(self.step_bias),
            delta_softplus=True,
            order=order,
            merge=True,
        )
        return y.transpose(1, 2)

    @torch.no_grad()
    def _initialise(self, inner: int) -> None:
        """As Mamba: step sizes of 0.001 to 0.1 (log-uniform), decays of 1 to N; all scans start equal."""
        bound = 1 / math.sqrt(CONV_TAPS)
        steps = torch.exp(torch.empty(inner).uniform_(math.log(1e-3), math.log(1e-1)))
        starts = {
            "conv_weight": torch.empty(inner, 1, CONV_TAPS).uniform_(-bound, bound),
            "conv_bias": torch.empty(inner).uniform_(-bound, bound),
            "selection": nn.init.trunc_normal_(
                torch.empty_like(self.selection.chunk(self.scans)[0]), std=0.02
            ),
            "step_weight": torch.empty(inner, self.rank).uniform_(-1, 1) / math.sqrt(self.rank),
            "step_bias": steps + torch.log(-torch.expm1(-steps)),
            "decay_log": torch.log(torch.arange(1.0, self.state_size + 1)).repeat(inner, 1),
        }
        for name, start in starts.items():
            getattr(self, name).copy_(start.repeat(self.scans, *(1,) * (start.ndim - 1)))


def _per_scan(tokens: Tensor, weights: Tensor) -> Tensor:
    """Tokens (B, S, L, D) of S scans times each one's weights; `weights` (S K, D), result (B, S, L, K)."""
    scans = tokens.shape[1]
    found = tokens.transpose(0, 1).flatten(1, 2) @ weights.unflatten(0, (scans, -1)).transpose(1, 2)
    return found.unflatten(1, (len(tokens), -1)).transpose(0, 1)


class GatedMLP(nn.Module):
    """W3 (silu(W1 x) * W2 x), SwiGLU with two thirds of four times the width inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = width * 8 // 3
        self.gate, self.value = nn.Linear(width, self.inner), nn.Linear(width, self.inner)
        self.output = nn.Linear(self.inner, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, L, D) to tokens of the same shape."""
        if torch.is_grad_enabled() or tokens.shape[:-1].numel() * self.inner <= BIG:
            return self.output(functional.silu(self.gate(tokens)) * self.value(tokens))
        length = max(BIG // (len(tokens) * self.inner), 1)
        return torch.cat([self(part) for part in tokens.split(length, dim=1)], dim=1)


class Block(nn.Module):
    """x + Mixer(LN(x)), then x + MLP(LN(x))."""

    def __init__(self, shape: Shape, drop_path: float) -> None:
        super().__init__()
        self.mixer_norm = nn.LayerNorm(shape.width)
        self.mixer = Mixer(shape.width, shape.scans, shape.state_size, shape.expansion)
        self.mlp_norm = nn.LayerNorm(shape.width)
        self.mlp = GatedMLP(shape.width)
        self.drop_path = StochasticDepth(drop_path, mode="row")

    def forward(self, tokens: Tensor, order: Tensor | None) -> Tensor:
        """Tokens (B, L, D) to tokens of the same shape."""
        tokens = tokens + self.drop_path(self.mixer(self.mixer_norm(tokens), order))
        return tokens + self.drop_path(self.mlp(self.mlp_norm(tokens)))


class VisionMamba(Encoder):
    """Patches, with four scans also a class token at place N // 2, through blocks.

    ``positions`` are learnt with four scans, (1, N + 1, D) with the class token's at its place; the causal
    form has fixed sines and cosines (1, N, D). ``Tokens.sequence`` holds what the published systems read, the
    class token included, and ``pooled`` is its mean (of the causal form: the mean of the patches).
    """

    positions: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape, self.width = shape, shape.width
        self.smallest = self.multiple = shape.patch
        self.patch_embedding = nn.Conv2d(3, shape.width, kernel_size=shape.patch, stride=shape.patch)
        self.native = (shape.image_size // shape.patch, shape.image_size // shape.patch)
        if shape.scans == 1:
            self.register_buffer("positions", sin_cos_table(*self.native, shape.width).unsqueeze(0))
        else:
            self.class_token = nn.Parameter(torch.empty(1, 1, shape.width))
            self.positions = nn.Parameter(torch.empty(1, math.prod(self.native) + 1, shape.width))
            nn.init.trunc_normal_(self.class_token, std=0.02)
            nn.init.trunc_normal_(self.positions, std=0.02)
        rates = drop_path_rates(shape.drop_path, shape.depths[0])
        self.blocks = nn.ModuleList(Block(shape, rate) for rate in rates)
        self.norm = nn.LayerNorm(shape.width)
        self.apply(initialise_linear)

    def encode(self, images: Tensor) -> Tokens:
        """Images (B, 3, H, W) to tokens after the final norm; the sides are multiples of the patch."""
        patches, grid = self._embed(images)
        if self.shape.scans == 1:
            order = cluster_order(grid).to(images.device)
            tokens = self.norm(self._hidden(patches[:, order], None, [len(self.blocks)])[0])
            patches = tokens[:, order.argsort()]
            return Tokens(patches, patches.mean(dim=1), grid)
        middle = patches.shape[1] // 2
        tokens = with_class_token(patches, self.class_token.expand(len(patches), -1, -1))
        tokens = tokens + resampled_positions(self.positions, grid)
        order = four_orders(grid).to(images.device)
        tokens = self.norm(self._hidden(tokens, order, [len(self.blocks)])[0])
        patches = torch.cat([tokens[:, :middle], tokens[:, middle + 1 :]], dim=1)
        return Tokens(patches, tokens.mean(dim=1), grid, tokens, middle)

    def taps(self, images: Tensor, layers: Sequence[int] = (), last_cluster: bool = False) -> list[Tensor]:
        """What the decoder of pre-training reads: a causal encoder's hidden states, before any norm.

        There is one after each of `layers`, which count from 1; the default is half the depth and three even
        steps more, as published. Each is (B, N, D), cluster by cluster as :func:`cluster_order` lists the
        patches, without the last cluster unless asked. ``norm`` belongs to the last tap; the norms of the
        others belong to the objective. Raises ImageError as ``forward``, and ValueError for an encoder that
        is not causal.
        """
        if self.shape.scans != 1:
            raise ValueError("taps are defined for a causal encoder (scans: 1) only")
        check_images(images, self.smallest, self.multiple)
        patches, grid = self._embed(with_channels(images, self.channels))
        order = cluster_order(grid).to(images.device)
        if not last_cluster:
            order = order[: -len(last_cluster_places(grid))]
        return self._hidden(patches[:, order], None, layers or tap_layers(len(self.blocks)))

    def adapt(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Fit weights made for another image size, and those of a causal encoder to four scans."""
        table = weights.get("positions")
        if table is None:
            return weights
        if self.shape.scans > 1 and "class_token" not in weights:
            return four_scans_from_one(weights, self)
        if table.shape == self.positions.shape:
            return weights
        fixed = self.shape.scans == 1
        return weights | {"positions": self.positions if fixed else resampled_positions(table, self.native)}

    def _embed(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Patches (B, N, D), row by row and of the causal form with positions, and their grid."""
        maps = self.patch_embedding(images)
        patches, grid = maps.flatten(2).transpose(1, 2), (maps.shape[2], maps.shape[3])
        if self.shape.scans == 1:
            fixed = self.positions if grid == self.native else sin_cos_table(*grid, self.width)
            patches = patches + fixed.to(patches)
        return patches, grid

    def _hidden(self, tokens: Tensor, order: Tensor | None, layers: Sequence[int]) -> list[Tensor]:
        """Hidden states after these blocks, counted from 1; a block may be asked for twice."""
        states: dict[int, Tensor] = {}
        for number, block in enumerate(self.blocks, start=1):
            tokens = block(tokens, order)
            states |= {number: tokens} if number in layers else {}
        return [states[layer] for layer in layers]


def tap_layers(depth: int) -> tuple[int, ...]:
    """The published layers, counted from 1: 6, 8, 10, 12 of 12 and 12, 16, 20, 24 of 24."""
    return tuple(depth * (TAPS - 1 + tap) // (2 * (TAPS - 1)) for tap in range(TAPS))


def with_class_token(patches: Tensor, token: Tensor) -> Tensor:
    """Patches (B, N, D) with the token (B, 1, D) at place N // 2."""
    middle = patches.shape[1] // 2
    return torch.cat([patches[:, :middle], token, patches[:, middle:]], dim=1)


def resampled_positions(table: Tensor, grid: tuple[int, int]) -> Tensor:
    """Positions (1, N + 1, D) of a square grid with the class token's in the middle, for another grid."""
    middle = (table.shape[1] - 1) // 2
    patches = torch.cat([table[:, :middle], table[:, middle + 1 :]], dim=1)
    return with_class_token(resampled(patches, grid), table[:, middle : middle + 1])


def _remembered(table: Callable[[tuple[int, int]], Tensor]) -> Callable[[tuple[int, int]], Tensor]:
    """Keep the tables of the last 32 grids; training may use what drafting made first."""

    @lru_cache(maxsize=32)
    @wraps(table)
    def of_grid(grid: tuple[int, int]) -> Tensor:
        with torch.inference_mode(False):
            return table(grid)

    return of_grid


@_remembered
def four_orders(grid: tuple[int, int]) -> Tensor:
    """The places that four scans visit in turn (4, N + 1): rows, rows backwards, columns, columns backwards.

    The class token keeps its place N // 2 among the patches in either reading direction. (The published code
    takes (N + 1) // 2 for it, which moves a patch instead when N is odd.)
    """
    count = grid[0] * grid[1]
    middle = count // 2
    places = torch.arange(count)
    places = places + (places >= middle)
    columns = places.view(grid).t().reshape(-1)
    columns = torch.cat([columns[:middle], torch.tensor([middle]), columns[middle:]])
    rows = torch.arange(count + 1)
    return torch.stack([rows, rows.flip(0), columns, columns.flip(0)])


@_remembered
def cluster_order(grid: tuple[int, int]) -> Tensor:
    """Patches (N) as pre-training reads them: clusters of 4 x 4 row by row, and row by row inside a cluster.

    Clusters at the right and lower edge are smaller where 4 does not divide the grid.
    """
    return torch.cat(_clusters(grid))


@_remembered
def cluster_numbers(grid: tuple[int, int]) -> Tensor:
    """The cluster, counted from 0, of every patch (N) in the order of :func:`cluster_order`."""
    return torch.cat([torch.full(part.shape, number) for number, part in enumerate(_clusters(grid))])


def last_cluster_places(grid: tuple[int, int]) -> Tensor:
    """The patches of the last cluster."""
    return _clusters(grid)[-1]


def _clusters(grid: tuple[int, int]) -> list[Tensor]:
    places = torch.arange(grid[0] * grid[1]).view(grid)
    return [part.reshape(-1) for rows in places.split(CLUSTER) for part in rows.split(CLUSTER, dim=1)]


PER_SCAN = ("conv_weight", "conv_bias", "selection", "step_weight", "step_bias", "decay_log", "skip")
"""Parameters of a mixer that every scan has for itself."""


def four_scans_from_one(weights: dict[str, Tensor], encoder: VisionMamba) -> dict[str, Tensor]:
    """The weights of a causal encoder for `encoder` with four scans, as published.

    All four scans start from the one scan; the positions are those of pre-training, resampled, and zero for
    the class token. The class token and the final norm start fresh: they stay as `encoder` has them.
    """
    own, table = encoder.state_dict(), weights["positions"]
    places = with_class_token(resampled(table, encoder.native), table.new_zeros(1, 1, table.shape[2]))
    found = {name: own[name] for name in ("class_token", "norm.weight", "norm.bias")} | {"positions": places}
    for name, value in weights.items():
        if name.rpartition(".")[2] in PER_SCAN:
            value = value.repeat(encoder.shape.scans, *(1,) * (value.ndim - 1))
        found.setdefault(name, value)
    return found


def vision_mamba(options: EncoderOptions) -> VisionMamba:
    """The encoder of that name with the recipe's changes; UserError for a shape that does not work."""
    shape = replace(SHAPES[options.name], **options.shape())
    if len(shape.depths) != 1:
        raise UserError(f"model.encoder.depths must be one number in a list for {options.name}.")
    if shape.scans == 1 and shape.width % 4:
        raise UserError(f"model.encoder.width must be a multiple of 4 for {options.name}, not {shape.width}.")
    if shape.image_size % shape.patch:
        raise UserError(
            f"model.encoder.image_size ({shape.image_size}) must be a multiple of the patch ({shape.patch})."
        )
    return VisionMamba(shape)

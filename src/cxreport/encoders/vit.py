"""Vision transformers (Dosovitskiy et al., ICLR 2021): plain ones, and the encoder of the HD X-ray MAE.

The HD encoder reads 1280 px grey images in patches of 64 px, which three convolutions embed, has fixed
positions, and can read a part of the patches, as a masked autoencoder needs. Written from the facts of
``Event-AHU/Medical_Image_Analysis``, ``HD_Xray_Pretrain_MAE``; its blocks are MAE's (He et al., CVPR 2022).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import StochasticDepth

from cxreport.encoders import Encoder, Tokens, check_images, with_channels
from cxreport.encoders.layers import drop_path_rates, initialise_linear
from cxreport.encoders.positions import resampled, sin_cos_table
from cxreport.errors import UserError
from cxreport.options import EncoderOptions

HD_PATCH = 64
"""Pixels of a patch of the three convolutions: 16 and 4 in turn."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A transformer; ``hd`` takes the three-convolution embedding of grey images and fixed positions."""

    width: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    patch: int = 16
    image_size: int = 224
    hd: bool = False
    drop_path: float = 0.0


def _hd(width: int, depth: int, heads: int) -> Shape:
    return Shape(width, (depth,), (heads,), patch=HD_PATCH, image_size=1280, hd=True)


SHAPES = {
    "vit_tiny": Shape(192, (12,), (3,)),
    "vit_base": Shape(768, (12,), (12,)),
    "vit_large": Shape(1024, (24,), (16,)),
    "vit_hd_tiny": _hd(192, 10, 3),
    "vit_hd_base": _hd(768, 12, 12),
    "vit_hd_large": _hd(1024, 24, 16),
    "vit_hd_huge": _hd(1280, 32, 16),
}
"""The tiny ones are for CPUs; ``vit_hd_large`` is the published encoder."""


class HDPatchEmbedding(nn.Sequential):
    """Grey patches of 64 px to channels: convolutions 16 x 16, 4 x 4 and 1 x 1 with ReLU between them."""

    def __init__(self, width: int) -> None:
        super().__init__(
            nn.Conv2d(1, width, kernel_size=16, stride=16),
            nn.ReLU(),
            nn.Conv2d(width, width, kernel_size=4, stride=4),
            nn.ReLU(),
            nn.Conv2d(width, width, kernel_size=1),
        )


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, N, D) to tokens of the same shape."""
        parts = self.query_key_value(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(*parts.unbind())
        return self.output(attended.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """x + Attention(LN(x)), then x + MLP(LN(x)) with four times the width."""

    def __init__(self, width: int, heads: int, drop_path: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, eps=1e-6)
        self.attention = Attention(width, heads)
        self.mlp_norm = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.drop_path = StochasticDepth(drop_path, mode="row")

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, N, D) to tokens of the same shape."""
        tokens = tokens + self.drop_path(self.attention(self.attention_norm(tokens)))
        return tokens + self.drop_path(self.mlp(self.mlp_norm(tokens)))


class VisionTransformer(Encoder):
    """Patches and a class token through pre-norm blocks; ``positions`` (1, 1 + N, D) start with the latter.

    ``pooled`` is the class token of a plain transformer. The HD encoder's is the mean of its patches, since
    nothing teaches the class token of a masked autoencoder.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.width, self.fixed_positions = shape.width, shape.hd
        self.smallest = self.multiple = shape.patch
        self.channels = 1 if shape.hd else 3
        self.embedding = (
            HDPatchEmbedding(shape.width)
            if shape.hd
            else nn.Conv2d(3, shape.width, kernel_size=shape.patch, stride=shape.patch)
        )
        self.class_token = nn.Parameter(torch.empty(1, 1, shape.width))
        side = shape.image_size // shape.patch
        if shape.hd:
            table = sin_cos_table(side, side, shape.width)
            zero = torch.zeros(1, shape.width)
            self.register_buffer("positions", torch.cat([zero, table]).unsqueeze(0), persistent=False)
        else:
            self.positions = nn.Parameter(torch.empty(1, 1 + side * side, shape.width))
            nn.init.trunc_normal_(self.positions, std=0.02)
        nn.init.trunc_normal_(self.class_token, std=0.02)
        rates = drop_path_rates(shape.drop_path, shape.depths[0])
        self.blocks = nn.ModuleList(Block(shape.width, shape.heads[0], rate) for rate in rates)
        self.norm = nn.LayerNorm(shape.width, eps=1e-6)
        self.apply(initialise_linear)

    def encode(self, images: Tensor) -> Tokens:
        """Images (B, channels, H, W) to tokens after the final norm; the sides are multiples of the patch."""
        patches, grid = self.embed(images)
        tokens = self._read(patches + self.patch_positions(grid))
        patches = tokens[:, 1:]
        return Tokens(patches, patches.mean(dim=1) if self.fixed_positions else tokens[:, 0], grid)

    def encode_kept(self, images: Tensor, kept: Tensor) -> Tensor:
        """Read only the patches `kept` (B, K), indices row by row: the class token and they (B, 1 + K, D).

        Raises ImageError as ``forward`` does.
        """
        check_images(images, self.smallest, self.multiple)
        patches, grid = self.embed(with_channels(images, self.channels))
        patches = patches + self.patch_positions(grid)
        return self._read(patches.take_along_dim(kept.unsqueeze(2), dim=1))

    def embed(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Patches (B, N, D) without positions, and their grid."""
        maps = self.embedding(images)
        return maps.flatten(2).transpose(1, 2), (maps.shape[2], maps.shape[3])

    def patch_positions(self, grid: tuple[int, int]) -> Tensor:
        """Positions (1, h * w, D) of a grid (h, w), resampled where the table has another."""
        return resampled(self.positions[:, 1:], grid)

    def adapt(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Resample learnt positions that were made for another image size."""
        table = weights.get("positions")
        if table is None or table.shape == self.positions.shape:
            return weights
        side = round((self.positions.shape[1] - 1) ** 0.5)
        return weights | {
            "positions": torch.cat([table[:, :1], resampled(table[:, 1:], (side, side))], dim=1)
        }

    def _read(self, patches: Tensor) -> Tensor:
        """Patches (B, K, D) with positions to (B, 1 + K, D), the class token first."""
        first = (self.class_token + self.positions[:, :1]).expand(patches.shape[0], -1, -1)
        tokens = torch.cat([first, patches], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)


def vision_transformer(options: EncoderOptions) -> VisionTransformer:
    """The transformer of that name with the recipe's changes; UserError for a shape that does not work."""
    shape = replace(SHAPES[options.name], **options.shape())
    for name in ("depths", "heads"):
        if len(getattr(shape, name)) != 1:
            raise UserError(f"model.encoder.{name} must be one number in a list for {options.name}.")
    if shape.width % shape.heads[0]:
        raise UserError(f"model.encoder.heads ({shape.heads[0]}) must divide width ({shape.width}).")
    if shape.hd and shape.width % 4:
        raise UserError(f"model.encoder.width must be a multiple of 4 for {options.name}, not {shape.width}.")
    if shape.image_size % shape.patch:
        raise UserError(
            f"model.encoder.image_size ({shape.image_size}) must be a multiple of the patch ({shape.patch})."
        )
    return VisionTransformer(shape)

"""Autoregressive pre-training of a Vision Mamba (ARM, Ren et al., ICLR 2025; MambaXray-VL, stage 1).

The paper (CXPMRG-Bench, sec. 3.2): a causal Vision Mamba reads an X-ray of 192 px cluster by cluster, 4 x 4
patches each, and predicts the next cluster from those before it. In the code a decoder of four
cross-attention blocks asks, with one learnt token and the positions of the clusters to come, four hidden
states of the encoder, and sees of each only the clusters before its own; the loss is the squared error of
pixels, standardised in every patch, over all clusters but the first. Grids of any size work, with smaller
clusters at the edge.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxreport.data.batch import Batch
from cxreport.encoders import Encoder, with_channels
from cxreport.encoders.layers import initialise_linear
from cxreport.encoders.positions import sin_cos_table
from cxreport.encoders.vision_mamba import TAPS, VisionMamba, cluster_numbers, cluster_order, tap_layers
from cxreport.errors import UserError
from cxreport.objectives.base import Objective
from cxreport.objectives.images import images_of
from cxreport.objectives.pictures import RECONSTRUCTIONS, restored, write_rows
from cxreport.objectives.pixels import patchify, standardised, unpatchify
from cxreport.pretraining import AutoregressiveOptions

HEAD_WIDTH = 64
"""Channels of a decoder head, as published."""


class CrossAttentionBlock(nn.Module):
    """x + CrossAttention(LN(x), LN(memory)), then x + MLP(LN(x))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // HEAD_WIDTH
        self.query_norm, self.memory_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, tokens: Tensor, memory: Tensor, seen: Tensor) -> Tensor:
        """Tokens (B, Q, D) that read of memory (B, N, D) what `seen` (Q, N) bool allows."""
        queries = self.query(self.query_norm(tokens)).unflatten(2, (self.heads, -1)).transpose(1, 2)
        parts = self.key_value(self.memory_norm(memory)).unflatten(2, (2, self.heads, -1))
        keys, values = parts.permute(2, 0, 3, 1, 4).unbind()
        attended = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=seen)
        tokens = tokens + self.output(attended.transpose(1, 2).flatten(2))
        return tokens + self.mlp(self.mlp_norm(tokens))


class AutoregressivePretraining(Objective):
    """A causal encoder, and the decoder that predicts every cluster from those before it.

    Raises UserError for an encoder that is not causal or has no second cluster, and for a width of the
    decoder that heads do not divide.
    """

    encoder: VisionMamba

    def __init__(self, encoder: Encoder, options: AutoregressiveOptions) -> None:
        super().__init__()
        if not isinstance(encoder, VisionMamba) or encoder.shape.scans != 1:
            raise UserError(
                "Autoregressive pre-training needs a causal encoder, such as vision_mamba_tiny_causal."
            )
        width = options.decoder_width
        if width % HEAD_WIDTH:
            raise UserError(f"objective.decoder_width must be a multiple of {HEAD_WIDTH}, not {width}.")
        self.encoder = encoder
        self.layers = options.taps or tap_layers(len(encoder.blocks))
        self.tap_norms = nn.ModuleList(nn.LayerNorm(encoder.width) for _ in range(TAPS - 1))
        self.memories = nn.Linear(TAPS * encoder.width, TAPS * width)
        self.token = nn.Parameter(torch.empty(1, 1, width))
        self.blocks = nn.ModuleList(CrossAttentionBlock(width) for _ in range(TAPS))
        self.norm = nn.LayerNorm(width)
        self.prediction = nn.Linear(width, encoder.shape.patch**2 * encoder.channels)
        nn.init.normal_(self.token, std=0.02)
        for module in (self.memories, self.blocks, self.prediction):
            module.apply(initialise_linear)

    def normed_taps(self, images: Tensor) -> Tensor:
        """The tapped states of all clusters but the last, each with its norm: (B, N, 4 D)."""
        norms = [*self.tap_norms, self.encoder.norm]
        taps = self.encoder.taps(images, self.layers)
        return torch.cat([norm(tap) for norm, tap in zip(norms, taps, strict=True)], dim=2)

    def decoder_memories(self, taps: Tensor) -> Tensor:
        """What the blocks read (B, N, W, 4): memory i takes every fourth channel from i, as published."""
        return self.memories(taps).unflatten(2, (-1, TAPS))

    def forward(self, images: Tensor) -> Tensor:
        """Predicted standardised pixels (B, Q, patch * patch * C) of all clusters but the first."""
        grid = self.grid_of(images)
        memories = self.decoder_memories(self.normed_taps(images))
        numbers = cluster_numbers(grid).to(images.device)
        asked = numbers > 0
        positions = sin_cos_table(*grid, self.token.shape[2]).to(memories)[cluster_order(grid)][asked.cpu()]
        tokens = (self.token + positions).expand(len(images), -1, -1)
        seen = numbers[asked][:, None] > numbers[numbers < numbers[-1]]
        for block, memory in zip(self.blocks, memories.unbind(3), strict=True):
            tokens = block(tokens, memory, seen)
        predicted: Tensor = self.prediction(self.norm(tokens))
        return predicted

    def targets(self, images: Tensor) -> Tensor:
        """The standardised pixels (B, Q, patch * patch * C) that ``forward`` predicts, cluster by cluster."""
        grid = self.grid_of(images)
        patches = patchify(with_channels(images, self.encoder.channels), self.encoder.shape.patch)
        asked = cluster_order(grid)[cluster_numbers(grid) > 0].to(images.device)
        return standardised(patches[:, asked])

    def errors(self, images: Tensor) -> Tensor:
        """Mean squared error (B, Q) of every predicted patch; their mean is the loss."""
        return (self(images) - self.targets(images)).square().mean(dim=2)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """``loss``; ``tokens`` counts the images that it averages over. Every view is a sample."""
        images = images_of(batch)
        loss = self.errors(images).mean()
        return {"loss": loss, "tokens": loss.new_tensor(len(images))}

    @torch.no_grad()
    def show(self, batch: Batch, folder: Path) -> None:
        """Columns: the image, the clusters predicted each from those before it, the image."""
        images = images_of(batch)
        patch, grid = self.encoder.shape.patch, self.grid_of(images)
        pictures = with_channels(images, self.encoder.channels)
        true = patchify(pictures, patch)
        asked = cluster_order(grid)[cluster_numbers(grid) > 0].to(images.device)
        painted = torch.full_like(true, float(pictures.min()))
        painted[:, asked] = restored(self(images), true[:, asked])
        write_rows([pictures, unpatchify(painted, patch, grid), pictures], folder / RECONSTRUCTIONS)

    def grid_of(self, images: Tensor) -> tuple[int, int]:
        """Patches down and across; UserError where they make a single cluster."""
        patch = self.encoder.shape.patch
        grid = images.shape[2] // patch, images.shape[3] // patch
        if int(cluster_numbers(grid)[-1]) == 0:
            raise UserError(
                f"Images of {grid[0]} x {grid[1]} patches are one cluster; there is nothing to predict."
            )
        return grid

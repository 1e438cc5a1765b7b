"""Masked autoencoding of HD X-rays (Wang et al., "Pre-training on High Definition X-ray Images", 2024).

The paper (sec. 3): an X-ray of 1280 px is cut into patches of 64 px; most are hidden, more of them inside the
contour of the chest (95 %) than outside (85 %), because what a report speaks of is inside. A ViT-L reads the
rest; a decoder of 8 blocks of width 512 predicts the hidden patches, and the squared error of their pixels is
the loss. The published code hides a fixed rectangle instead of a contour; here it is the strategy ``box``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cxreport.data.batch import Batch
from cxreport.encoders import Encoder, with_channels
from cxreport.encoders.contour import published_box
from cxreport.encoders.layers import initialise_linear
from cxreport.encoders.positions import sin_cos_table
from cxreport.encoders.vit import Block, VisionTransformer
from cxreport.errors import UserError
from cxreport.objectives.base import Objective
from cxreport.objectives.chests import Chests
from cxreport.objectives.images import images_of, noise_of
from cxreport.objectives.masking import Choice, kept_count, total_of_box, two_regions, uniform
from cxreport.objectives.pictures import RECONSTRUCTIONS, restored, write_rows
from cxreport.objectives.pixels import patchify, standardised, unpatchify
from cxreport.pretraining import MaskedOptions

_EPSILON = 1e-6


class MaskedAutoencoder(Objective):
    """An encoder that reads a few patches and a decoder that paints the others."""

    encoder: VisionTransformer
    decoder_positions: Tensor

    def __init__(self, encoder: Encoder, options: MaskedOptions) -> None:
        super().__init__()
        if not isinstance(encoder, VisionTransformer):
            raise UserError("A masked autoencoder needs an encoder that reads a part of the patches: vit_*.")
        self.encoder, self.options = encoder, options
        side, patch = encoder.shape.image_size // encoder.shape.patch, encoder.shape.patch
        width = options.decoder_width
        self.chests = Chests(side, side, self._fits)
        if not 0 < self.kept < side * side:
            raise UserError(
                f"Of {side} x {side} patches {self.kept} stay to be read; give larger images or other ratios."
            )
        self.decoder_embedding = nn.Linear(encoder.width, width)
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        table = torch.cat([torch.zeros(1, width), sin_cos_table(side, side, width)])
        self.register_buffer("decoder_positions", table.unsqueeze(0), persistent=False)
        self.decoder_blocks = nn.ModuleList(
            Block(width, options.decoder_heads, 0.0) for _ in range(options.decoder_depth)
        )
        self.decoder_norm = nn.LayerNorm(width, eps=_EPSILON)
        self.prediction = nn.Linear(width, patch * patch * encoder.channels)
        nn.init.normal_(self.mask_token, std=0.02)
        for module in (self.decoder_embedding, self.decoder_blocks, self.prediction):
            module.apply(initialise_linear)

    @property
    def grid(self) -> tuple[int, int]:
        """Patches down and across."""
        side = self.encoder.shape.image_size // self.encoder.shape.patch
        return side, side

    @property
    def kept(self) -> int:
        """How many patches of an image are read."""
        rows, columns = self.grid
        if self.options.strategy == "random":
            return kept_count(rows * columns, self.options.ratio)
        return total_of_box(rows, columns, self.options.ratio_inside, self.options.ratio_outside)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """``loss``; ``tokens`` counts the images that it averages over. Every view is a sample."""
        images = images_of(batch)
        if images.shape[2] != self.encoder.shape.image_size:
            raise UserError(
                f"data.image_size ({images.shape[2]}) must be "
                f"encoder.image_size ({self.encoder.shape.image_size})."
            )
        choice = self.choice_of(batch, images)
        loss = masked_mean(self.errors(images, self(images, choice)), choice.masked)
        return {"loss": loss, "tokens": loss.new_tensor(len(images))}

    def choice_of(self, batch: Batch, images: Tensor) -> Choice:
        """The patches that are kept of the batch's `images`, the same for the same draws."""
        rows, columns = self.grid
        chest = self.chests.of(batch, images) if self.options.strategy == "contour" else None
        return self.choose(images, chest, noise_of(batch, rows * columns))

    def measured(self) -> dict[str, object]:
        """How many images had a contour sought, and how many got the published rectangle."""
        if self.options.strategy != "contour":
            return {}
        self.chests.share()
        return {"contours": self.chests.counts}

    def remembered(self) -> dict[str, Any]:
        """The chests that were found."""
        return self.chests.remembered()

    def recall(self, remembered: dict[str, Any]) -> None:
        """Take back the chests of an earlier part of the run."""
        self.chests.recall(remembered)

    @torch.no_grad()
    def show(self, batch: Batch, folder: Path) -> None:
        """Columns: the image, the patches that are read, the prediction of the others, the image."""
        images = images_of(batch)
        choice = self.choice_of(batch, images)
        pictures = with_channels(images, self.encoder.channels)
        patch, grid = self.encoder.shape.patch, self.grid
        true, predicted = patchify(pictures, patch), self(images, choice)
        if self.options.normalised_targets:
            predicted = restored(predicted, true)
        hidden = choice.masked.unsqueeze(2)
        seen = unpatchify(true.masked_fill(hidden, float(pictures.min())), patch, grid)
        painted = unpatchify(torch.where(hidden, predicted, true), patch, grid)
        write_rows([pictures, seen, painted, pictures], folder / RECONSTRUCTIONS)

    def _fits(self, size: int) -> bool:
        """Whether a chest of `size` patches leaves enough outside."""
        rows, columns = self.grid
        outside = self.kept - kept_count(size, self.options.ratio_inside)
        return size > 0 and 0 <= outside <= rows * columns - size

    def choose(self, images: Tensor, chest: Tensor | None = None, noise: Tensor | None = None) -> Choice:
        """Patches to keep of images (B, C, H, W); `chest` (B, N) bool is needed by ``contour``.

        `noise` (B, N) decides among the patches of a region, drawn from torch's generator where left out.
        """
        rows, columns = self.grid
        if noise is None:
            noise = torch.rand(len(images), rows * columns, device=images.device)
        options = self.options
        if options.strategy == "random":
            return uniform(noise, options.ratio)
        if options.strategy == "box":
            box = torch.from_numpy(published_box(rows, columns)).flatten().to(images.device)
            chest = box.expand(len(images), -1)
        if chest is None:
            raise ValueError("the strategy contour needs the chest of every image")
        return two_regions(noise, chest, options.ratio_inside, options.ratio_outside, self.kept)

    def forward(self, images: Tensor, choice: Choice) -> Tensor:
        """Predicted pixels (B, N, patch * patch * C) of images (B, C, H, W), of which `choice` is read."""
        tokens = self.decoder_embedding(self.encoder.encode_kept(images, choice.kept))
        hidden = choice.restore.shape[1] - choice.kept.shape[1]
        patches = torch.cat([tokens[:, 1:], self.mask_token.expand(len(tokens), hidden, -1)], dim=1)
        patches = patches.take_along_dim(choice.restore.unsqueeze(2), dim=1)
        tokens = torch.cat([tokens[:, :1], patches], dim=1) + self.decoder_positions
        for block in self.decoder_blocks:
            tokens = block(tokens)
        predicted: Tensor = self.prediction(self.decoder_norm(tokens)[:, 1:])
        return predicted

    def errors(self, images: Tensor, predicted: Tensor) -> Tensor:
        """Mean squared error (B, N) of every patch."""
        return (predicted - self.targets(images)).square().mean(dim=2)

    def targets(self, images: Tensor) -> Tensor:
        """Pixels (B, N, patch * patch * C) to predict, in the order row, column, channel."""
        pictures = with_channels(images, self.encoder.channels)
        patches = patchify(pictures, self.encoder.shape.patch)
        return standardised(patches) if self.options.normalised_targets else patches


def masked_mean(errors: Tensor, masked: Tensor) -> Tensor:
    """Mean of `errors` (B, N) over the hidden patches `masked` (B, N): the loss."""
    weights = masked.to(errors.dtype)
    return (errors * weights).sum() / weights.sum()

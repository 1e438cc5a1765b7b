"""Swin transformers (Liu et al., ICCV 2021): torchvision's blocks, which any size of image passes.

``swin_base`` (``microsoft/swin-base-patch4-window7-224``) is the encoder of R2GenGPT; ``swin_large``
is that of AM-MRG's first stage.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor, nn
from torchvision.models.swin_transformer import ShiftedWindowAttention, SwinTransformer

from cxreport.encoders import Encoder, Tokens
from cxreport.errors import UserError
from cxreport.options import EncoderOptions

PATCH = 4
WINDOW = 7
"""Patches along the side of a window of attention."""


@dataclass(frozen=True, slots=True)
class Shape:
    """``width`` channels in the first stage, doubled in each following one; blocks and heads per stage."""

    width: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    drop_path: float = 0.0


SHAPES = {
    "swin_mini": Shape(48, (2, 2, 2, 2), (2, 4, 8, 16)),
    "swin_tiny": Shape(96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "swin_small": Shape(96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "swin_base": Shape(128, (2, 2, 18, 2), (4, 8, 16, 32)),
    "swin_large": Shape(192, (2, 2, 18, 2), (6, 12, 24, 48)),
}
"""Patch 4, window 7; ``swin_mini`` is ours, for CPUs."""


class Swin(Encoder):
    """Stages at strides 4, 8, 16, 32; tokens are the last map after the final norm, ``pooled`` their mean.

    Windows are not shifted along an axis that one window spans. transformers then shifts along neither, so
    the two differ for images that are narrow in one direction only; they agree for square ones.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        network = SwinTransformer(
            patch_size=[PATCH, PATCH],
            embed_dim=shape.width,
            depths=list(shape.depths),
            num_heads=list(shape.heads),
            window_size=[WINDOW, WINDOW],
            stochastic_depth_prob=shape.drop_path,
            num_classes=1,
        )
        self.features: nn.Sequential = network.features
        self.norm: nn.LayerNorm = network.norm
        self.width = shape.width * 2 ** (len(shape.depths) - 1)
        self.smallest = self.multiple = PATCH * 2 ** (len(shape.depths) - 1)
        for module in self.modules():
            if isinstance(module, ShiftedWindowAttention):
                index = module.relative_position_index
                module.register_buffer("relative_position_index", index, persistent=False)

    def encode(self, images: Tensor) -> Tokens:
        """Images (B, 3, H, W) to tokens; with four stages the sides are multiples of 32."""
        maps = self.norm(self.features(images))
        patches = maps.flatten(1, 2)
        return Tokens(patches, patches.mean(dim=1), (maps.shape[1], maps.shape[2]))


def swin(options: EncoderOptions) -> Swin:
    """The Swin of that name with the recipe's changes; UserError for a shape that does not work."""
    shape = replace(SHAPES[options.name], **options.shape())
    if len(shape.depths) != len(shape.heads):
        raise UserError(
            f"model.encoder.depths and heads of {options.name} must be as many: one for every stage, not"
            f" {len(shape.depths)} and {len(shape.heads)}."
        )
    for stage, heads in enumerate(shape.heads):
        if shape.width * 2**stage % heads:
            raise UserError(
                f"model.encoder.heads: {heads} must divide the width {shape.width * 2**stage} of its stage."
            )
    return Swin(shape)

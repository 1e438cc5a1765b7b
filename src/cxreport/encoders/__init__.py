"""Image encoders: images to patch tokens. One registry names them all.

A new encoder is one file and one line in :data:`ENCODERS`; the shared tests enrol it by itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib import import_module

from torch import Tensor, nn

from cxreport.errors import UserError
from cxreport.recipe import EncoderOptions

ENCODERS = {
    "resnet101": "cxreport.encoders.resnet:resnet101",
    "resnet_small": "cxreport.encoders.resnet:resnet_small",
}
"""Name to ``module:function``; the function takes :class:`EncoderOptions` and returns an :class:`Encoder`."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What an encoder sees in a batch of images.

    ``patches`` (B, N, D) lists the grid row by row, N = h * w; ``pooled`` (B, D) describes the whole image;
    ``grid`` is (h, w).
    """

    patches: Tensor
    pooled: Tensor
    grid: tuple[int, int]


class Encoder(nn.Module, ABC):
    """Images to tokens; ``width`` is D, the channels of a token."""

    width: int

    @abstractmethod
    def forward(self, images: Tensor) -> Tokens:
        """Encode images (B, 3, H, W), float32, ImageNet-normalised."""


def build_encoder(options: EncoderOptions) -> Encoder:
    """The encoder that `options` name; UserError for an unknown name or missing published weights."""
    if options.name not in ENCODERS:
        known = ", ".join(sorted(ENCODERS))
        raise UserError(f"Unknown encoder {options.name!r} in model.encoder.name; choose {known}.")
    module, _, function = ENCODERS[options.name].partition(":")
    encoder: Encoder = getattr(import_module(module), function)(options)
    return encoder

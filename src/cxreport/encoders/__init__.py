"""Image encoders: images to patch tokens. One registry names them all.

A new encoder is one file and one entry of :data:`ENCODERS`; the shared tests enrol it by itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor, nn

from cxreport.data.batch import IMAGENET_MEAN, IMAGENET_STD
from cxreport.encoders.registry import ENCODERS, Entry
from cxreport.errors import UserError
from cxreport.options import EncoderOptions

__all__ = [
    "ENCODERS",
    "Encoder",
    "Entry",
    "ImageError",
    "Tokens",
    "build_encoder",
    "check_images",
    "entry_of",
    "sized",
]


class ImageError(UserError, ValueError):
    """Images that an encoder cannot take, told in one sentence."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What an encoder sees in a batch of images.

    ``patches`` (B, N, D) lists the grid row by row, N = h * w; ``pooled`` (B, D) describes the whole image;
    ``grid`` is (h, w). ``sequence`` (B, M, D) is given where the published system reads other tokens than the
    patches: a class token among them, at ``class_place``.
    """

    patches: Tensor
    pooled: Tensor
    grid: tuple[int, int]
    sequence: Tensor | None = None
    class_place: int | None = None


class Encoder(nn.Module, ABC):
    """Images to tokens.

    ``width`` is D, the channels of a token. ``channels`` is what the first layer takes: 3, or 1 for grey.
    ``smallest`` is the least side of an image in pixels, and every side is a multiple of ``multiple``. What a
    token sees lies around the middle of its cell of the grid, less ``shift`` pixels down and across: strided
    convolutions with padding look around the first pixel of a cell.
    """

    width: int
    channels: int = 3
    smallest: int = 1
    multiple: int = 1
    shift: float = 0.0

    def forward(self, images: Tensor) -> Tokens:
        """Encode images, float.

        They are (B, 3, H, W), ImageNet-normalised, or grey (B, 1, H, W), scaled to -1..1: the same picture
        gives the same tokens either way. Raises ImageError, see :func:`check_images`.
        """
        check_images(images, self.smallest, self.multiple)
        return self.encode(with_channels(images, self.channels))

    @abstractmethod
    def encode(self, images: Tensor) -> Tokens:
        """Encode checked images (B, ``channels``, H, W); ``forward`` without its checks."""

    def adapt(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights of the same encoder made for another image size, fitted to this one."""
        return weights


def check_images(images: Tensor, smallest: int = 1, multiple: int = 1) -> None:
    """Raise ImageError unless `images` are finite floats (B, 1 or 3, H, W) with B > 0 and legal sides.

    The values are read once, and not inside ``torch.compile`` (the check of a value would cut the graph).
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ImageError(
            f"Images must be (B, 3, H, W) or grey (B, 1, H, W), not of shape {tuple(images.shape)}."
        )
    if not images.is_floating_point():
        kind = str(images.dtype).removeprefix("torch.")
        raise ImageError(f"Images must be normalised floating-point numbers, not {kind}.")
    if images.shape[0] == 0:
        raise ImageError("The batch of images is empty; give at least one image.")
    height, width = images.shape[2:]
    if height < smallest or width < smallest:
        raise ImageError(
            f"Images of {height} x {width} px are smaller than the {smallest} x {smallest} px that this"
            " encoder needs; make them larger."
        )
    if height % multiple or width % multiple:
        raise ImageError(
            f"The sides of images must be multiples of {multiple} px for this encoder, not {height} x {width}"
            " px; resize or pad them."
        )
    if torch.compiler.is_compiling() or images.is_meta:
        return
    if not torch.isfinite(images).all():
        row = int((~torch.isfinite(images)).flatten(1).any(1).nonzero()[0])
        raise ImageError(f"Image {row} of the batch (counted from 0) holds NaN or infinite values.")


def with_channels(images: Tensor, channels: int) -> Tensor:
    """The pictures (B, 1 or 3, H, W) with the wanted number of channels and its scale; unchanged where equal.

    Three channels are ImageNet-normalised; grey is -1..1, and the mean of the three.
    """
    if images.shape[1] == channels:
        return images
    mean = images.new_tensor(IMAGENET_MEAN)[:, None, None]
    std = images.new_tensor(IMAGENET_STD)[:, None, None]
    if channels == 1:
        return 2 * (images * std + mean).mean(dim=1, keepdim=True) - 1
    return ((images + 1) / 2 - mean) / std


def entry_of(name: str) -> Entry:
    """The registry's entry; UserError for an unknown name."""
    if name not in ENCODERS:
        known = ", ".join(sorted(ENCODERS))
        raise UserError(f"Unknown encoder {name!r} in model.encoder.name; choose {known}.")
    return ENCODERS[name]


def sized(options: EncoderOptions, image_size: int) -> EncoderOptions:
    """The encoder for images of this side, where it is made for one and the options leave it out."""
    if options.image_size is None and "image_size" in entry_of(options.name).options:
        return options.model_copy(update={"image_size": image_size})
    return options


def build_encoder(options: EncoderOptions) -> Encoder:
    """The encoder that `options` name.

    UserError for an unknown name, a shape that the encoder does not have, and absent or unfitting weights.
    """
    entry = entry_of(options.name)
    for option in options.shape():
        if option not in entry.options:
            known = f"it takes {', '.join(entry.options)}" if entry.options else "it has no options"
            raise UserError(f"model.encoder.{option} does not apply to {options.name}; {known}.")
    if options.pretrained and not entry.pretrained:
        raise UserError(
            f"model.encoder.pretrained: {options.name} has no published weights in a local cache; convert the"
            " published file with `cxreport convert` and name its folder in model.encoder.init."
        )
    module, _, function = entry.build.partition(":")
    encoder: Encoder = getattr(import_module(module), function)(options)
    if options.init is not None:
        from cxreport.encoders.folder import load_weights

        load_weights(encoder, Path(options.init))
    return encoder

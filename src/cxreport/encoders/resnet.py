"""Residual networks: torchvision's (ResNet-101 is R2Gen's encoder), and a small one for training on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights
from torchvision.models.resnet import BasicBlock

from cxreport.encoders import Encoder, Tokens
from cxreport.errors import UserError
from cxreport.options import EncoderOptions
from cxreport.weights.folder import digest_of
from cxreport.weights.torch_file import read_weights_file


class ResNet(Encoder):
    """A residual network up to its last map; modules carry torchvision's names.

    Convolutions run channels-last, which is the faster layout on CPUs and tensor cores alike.
    """

    def __init__(
        self, conv1: nn.Conv2d, bn1: nn.BatchNorm2d, stages: Sequence[nn.Sequential], width: int, stride: int
    ) -> None:
        super().__init__()
        self.width = width
        self.smallest = stride
        self.shift = (stride - 1) / 2
        self.conv1 = conv1
        self.bn1 = bn1
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.to(memory_format=torch.channels_last)

    def encode(self, images: Tensor) -> Tokens:
        """Images (B, 3, H, W), at least a stride large, to tokens of the last map.

        ``pooled`` is their mean over the grid.
        """
        maps = images.contiguous(memory_format=torch.channels_last)
        maps = self.maxpool(self.relu(self.bn1(self.conv1(maps))))
        maps = self.layer4(self.layer3(self.layer2(self.layer1(maps))))
        patches = maps.flatten(2).transpose(1, 2)
        return Tokens(patches, patches.mean(dim=1), (maps.shape[2], maps.shape[3]))


def torchvision_resnet(options: EncoderOptions) -> ResNet:
    """torchvision's network of that name: stride 32, e.g. 7 x 7 patches at 224 px; ResNet-101 is R2Gen's.

    With ``pretrained`` the ImageNet weights (IMAGENET1K_V1, as published) are read from torchvision's cache
    and never downloaded; UserError when they are absent or damaged.
    """
    network = get_model(options.name, weights=None)
    if options.pretrained:
        network.load_state_dict(_cached_weights(get_model_weights(options.name)["IMAGENET1K_V1"].url))
    stages = (network.layer1, network.layer2, network.layer3, network.layer4)
    return ResNet(network.conv1, network.bn1, stages, width=network.fc.in_features, stride=32)


def resnet_small(options: EncoderOptions) -> ResNet:
    """ResNet-18 (He et al., CVPR 2016): stages of 1, 2, 4 and 8 times ``width`` (32) channels, stride 16.

    The last stage keeps its input's resolution: at 128 px an 8 x 8 grid costs 7 % more time than 4 x 4.
    """
    width = options.width or 32
    conv1 = nn.Conv2d(3, width, kernel_size=7, stride=2, padding=3, bias=False)
    stages = [_stage(width, width, stride=1)]
    stages += [_stage(width * 2**i, width * 2 ** (i + 1), stride=2 if i < 2 else 1) for i in range(3)]
    network = ResNet(conv1, nn.BatchNorm2d(width), stages, width=8 * width, stride=16)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


def _stage(width_in: int, width: int, stride: int) -> nn.Sequential:
    shortcut = None
    if stride != 1 or width_in != width:
        shortcut = nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))
    return nn.Sequential(BasicBlock(width_in, width, stride, shortcut), BasicBlock(width, width))


def _cached_weights(url: str) -> dict[str, Tensor]:
    """A published state dict from torch's hub cache; its name ends in the first digits of its SHA-256."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.is_file():
        raise UserError(
            f"model.encoder.pretrained: {path} is absent; download it from {url} or set it to false."
        )
    digest = digest_of(path)
    if not digest.startswith(path.stem.rpartition("-")[2]):
        raise UserError(f"{path} is damaged (its SHA-256 starts with {digest[:8]}); download {url} again.")
    weights: dict[str, Tensor] = read_weights_file(path)
    return weights

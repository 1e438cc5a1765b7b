"""The encoders by name: who builds one, where it was published, and which shapes it has."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """One encoder.

    ``build`` is ``module:function``; the function takes :class:`cxreport.recipe.EncoderOptions` and returns
    an :class:`cxreport.encoders.Encoder`. ``options`` are the shapes that a recipe may change.
    ``default_size`` is the side in pixels that the publication used, ``stride`` the pixels between two
    neighbouring tokens. ``licence`` is that of the published code and weights; ours is written from the
    publication.
    """

    build: str
    source: str
    licence: str
    default_size: int
    stride: int
    options: tuple[str, ...] = ()
    pretrained: bool = False


_TORCHVISION = "He et al., CVPR 2016; torchvision {} (IMAGENET1K_V1)"

ENCODERS: dict[str, Entry] = {
    "resnet50": Entry(
        build="cxreport.encoders.resnet:torchvision_resnet",
        source=_TORCHVISION.format("resnet50"),
        licence="BSD-3-Clause; ImageNet terms for the weights",
        default_size=224,
        stride=32,
        pretrained=True,
    ),
    "resnet101": Entry(
        build="cxreport.encoders.resnet:torchvision_resnet",
        source=_TORCHVISION.format("resnet101"),
        licence="BSD-3-Clause; ImageNet terms for the weights",
        default_size=224,
        stride=32,
        pretrained=True,
    ),
    "resnet_small": Entry(
        build="cxreport.encoders.resnet:resnet_small",
        source="He et al., CVPR 2016, ResNet-18 with total stride 16; no published weights",
        licence="none needed",
        default_size=128,
        stride=16,
        options=("width",),
    ),
}
"""Name to entry; the shared tests enrol every one."""

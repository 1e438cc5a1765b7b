"""What a published file of weights may be: which tensors it has, and how they become one of our encoders."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from cxreport.checkpoints.name_map import NameMap
from cxreport.checkpoints.published.ammrg import BANK, POSITION_IDS, STAGE_2, stage2_names
from cxreport.checkpoints.published.mae import transformer_names
from cxreport.checkpoints.published.r2gengpt import projection_names
from cxreport.checkpoints.published.resnet import torchvision_names
from cxreport.checkpoints.published.swin import microsoft_names, transformers_names
from cxreport.checkpoints.published.vision_mamba import STAGE_1_DECODER, vision_mamba_names
from cxreport.checkpoints.published.vmamba import OLD_NAMES, vmamba_names
from cxreport.encoders import swin, vision_mamba, vit, vmamba
from cxreport.encoders.positions import square_side
from cxreport.errors import UserError
from cxreport.options import EncoderOptions

Weights = Mapping[str, Tensor]
Reader = Callable[[Weights, int | None], EncoderOptions]
"""Reads an encoder's shape from the tensors' shapes and the number of heads that the user gives."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file.

    ``signature`` is a key that such files have (a pattern), after ``renames`` (patterns and what replaces
    them) and without ``prefix``. ``options`` reads the encoder's shape from the tensors, ``names`` gives its
    name map. ``dropped`` lists patterns of keys that are no part of the encoder, each with what they are.
    With a prefix, ``others`` lists the same for keys that lack it.
    """

    title: str
    signature: str
    options: Reader
    names: Callable[[Any], NameMap]
    dropped: tuple[tuple[str, str], ...] = ()
    renames: tuple[tuple[str, str], ...] = ()
    prefix: str = ""
    others: tuple[tuple[str, str], ...] = ()
    counters: bool = False
    """Whether ``num_batches_tracked`` may be absent, as in files older than torch 0.4.1; it is then 0."""


def _told(read: Callable[[Weights], EncoderOptions]) -> Reader:
    """A reader of weights that tell everything; UserError where heads are given all the same."""

    def reader(weights: Weights, heads: int | None) -> EncoderOptions:
        if heads is not None:
            raise UserError(
                "The heads of this kind are told by its weights or do not exist; leave out --heads."
            )
        return read(weights)

    return reader


def _causal_options(weights: Weights) -> EncoderOptions:
    found = _mamba_shape(weights)
    side = square_side(weights["pos_embed"].shape[1])
    shapes = {name: shape for name, shape in vision_mamba.SHAPES.items() if shape.scans == 1}
    return _nearest(shapes, found | {"image_size": side * found["patch"]})


def _four_scan_options(weights: Weights) -> EncoderOptions:
    found = _mamba_shape(weights)
    side = square_side(weights["pos_embed"].shape[1] - 1)
    shapes = {name: shape for name, shape in vision_mamba.SHAPES.items() if shape.scans == 4}
    return _nearest(shapes, found | {"image_size": side * found["patch"]})


def _mamba_shape(weights: Weights) -> dict[str, Any]:
    embedding = weights["patch_embed.proj.weight"]
    inner, state_size = weights["layers.0.mixer.A_log"].shape
    return {
        "width": embedding.shape[0],
        "patch": embedding.shape[2],
        "depths": (_count(weights, r"layers\.(\d+)\."),),
        "state_size": state_size,
        "expansion": inner / embedding.shape[0],
    }


def _vmamba_options(weights: Weights) -> EncoderOptions:
    width, inner = weights["patch_embed.5.weight"].shape[0], weights["layers.0.blocks.0.op.in_proj.weight"]
    stages = range(_count(weights, r"layers\.(\d+)\."))
    found = {
        "width": width,
        "depths": tuple(_count(weights, rf"layers\.{stage}\.blocks\.(\d+)\.") for stage in stages),
        "state_size": weights["layers.0.blocks.0.op.A_logs"].shape[1],
        "expansion": inner.shape[0] / width,
    }
    return _nearest(vmamba.SHAPES, found)


def _transformer_options(weights: Weights, heads: int | None) -> EncoderOptions:
    embedding = weights["patch_embed.proj.weight"]
    return _vit(weights, heads, embedding.shape[0], embedding.shape[2], hd=False)


def _hd_options(weights: Weights, heads: int | None) -> EncoderOptions:
    return _vit(weights, heads, weights["patch_embed.conv1.weight"].shape[0], vit.HD_PATCH, hd=True)


def _vit(weights: Weights, heads: int | None, width: int, patch: int, hd: bool) -> EncoderOptions:
    """Heads are those of the named shape of the same width; of another width nobody knows them."""
    shapes = {name: shape for name, shape in vit.SHAPES.items() if shape.hd == hd}
    published = {shape.width: shape.heads for shape in shapes.values()}
    if heads is None and width not in published:
        raise UserError(f"Nothing tells the number of heads of its width {width}; give it with --heads.")
    found = {
        "width": width,
        "depths": (_count(weights, r"blocks\.(\d+)\."),),
        "heads": published[width] if heads is None else (heads,),
        "patch": patch,
        "image_size": square_side(weights["pos_embed"].shape[1] - 1) * patch,
    }
    return _nearest(shapes, found)


def _hub_swin_options(weights: Weights) -> EncoderOptions:
    table = "attention.self.relative_position_bias_table"
    width = weights["embeddings.patch_embeddings.projection.weight"].shape[0]
    return _swin(weights, width, r"encoder\.layers", table)


def _microsoft_swin_options(weights: Weights) -> EncoderOptions:
    width = weights["patch_embed.proj.weight"].shape[0]
    return _swin(weights, width, "layers", "attn.relative_position_bias_table")


def _swin(weights: Weights, width: int, layers: str, table: str) -> EncoderOptions:
    place = layers.replace("\\", "")
    stages = range(_count(weights, rf"{layers}\.(\d+)\."))
    tables = [weights[f"{place}.{stage}.blocks.0.{table}"] for stage in stages]
    window = (square_side(tables[0].shape[0]) + 1) // 2
    if window != swin.WINDOW:
        raise UserError(f"Its windows are {window} patches wide; cxreport has Swin with {swin.WINDOW} only.")
    found = {
        "width": width,
        "depths": tuple(_count(weights, rf"{layers}\.{stage}\.blocks\.(\d+)\.") for stage in stages),
        "heads": tuple(each.shape[1] for each in tables),
    }
    return _nearest(swin.SHAPES, found)


def _resnet_options(weights: Weights) -> EncoderOptions:
    blocks = _count(weights, r"layer3\.(\d+)\.")
    names = {6: "resnet50", 23: "resnet101"}
    if blocks not in names or "layer1.0.conv3.weight" not in weights:
        raise UserError("It is a residual network of another depth; cxreport has torchvision's 50 and 101.")
    return EncoderOptions(name=names[blocks])


def _nearest(shapes: Mapping[str, Any], found: dict[str, Any]) -> EncoderOptions:
    """The named shape that differs least from what was found, and where it differs."""

    def differences(name: str) -> dict[str, Any]:
        return {key: value for key, value in found.items() if getattr(shapes[name], key) != value}

    name = min(shapes, key=lambda each: len(differences(each)))
    return EncoderOptions(name=name, **differences(name))


def _count(keys: Iterable[str], pattern: str) -> int:
    """How many numbers the pattern's group takes, from 0 on."""
    return 1 + max((int(found[1]) for key in keys if (found := re.match(pattern, key))), default=-1)


_CLASSIFIER = (r"(head|fc_norm|classifier)\.", "classifier")
_COMPUTED = (r".*(relative_position_index|attn_mask)$", "tables that follow from the size")
_RENAMED_BLOCKS = tuple(
    (rf"^(layers\.\d+\.blocks\.\d+\.){re.escape(old)}", rf"\1{new}") for old, new in OLD_NAMES.items()
)

KINDS: dict[str, Kind] = {
    "arm-stage1": Kind(
        title="ARM's and MambaXray-VL's autoregressive pre-training, stage 1",
        signature=r"layers\.0\.mixer\.A_log$",
        options=_told(_causal_options),
        names=vision_mamba_names,
        dropped=(("|".join(map(re.escape, STAGE_1_DECODER)), "decoder of pre-training"),),
    ),
    "mambaxray-stage2": Kind(
        title="MambaXray-VL's contrastive pre-training, stage 2",
        signature=r"layers\.0\.mixer\.A_c_b_log$",
        options=_told(_four_scan_options),
        names=vision_mamba_names,
        dropped=(_CLASSIFIER,),
        prefix="visual_encoder.",
        others=((r".*", "text encoder and projections"),),
    ),
    "mambaxray-stage3": Kind(
        title="MambaXray-VL's report generation, stage 3 (a delta file)",
        signature=r"layers\.0\.mixer\.A_c_b_log$",
        options=_told(_four_scan_options),
        names=vision_mamba_names,
        dropped=(_CLASSIFIER,),
        prefix="visual_encoder.",
        others=((r"(llama_proj|layer_norm)\.", "projection to the language model"),),
    ),
    "vmamba": Kind(
        title="VMamba (vssm1), R2GenCSR's encoder",
        signature=r"layers\.0\.blocks\.0\.op\.x_proj_weight$",
        options=_told(_vmamba_options),
        names=vmamba_names,
        dropped=((r"classifier\.head\.", "classifier"),),
        renames=(*_RENAMED_BLOCKS, (r"^norm\.", "classifier.norm."), (r"^head\.", "classifier.head.")),
    ),
    "hdmae": Kind(
        title="the HD X-ray masked autoencoder",
        signature=r"patch_embed\.conv1\.weight$",
        options=_hd_options,
        names=transformer_names,
        dropped=(
            (r"decoder_|mask_token$", "decoder of pre-training"),
            (r"head\.", "heads of another training"),
        ),
    ),
    "vit": Kind(
        title="a vision transformer of timm or MAE",
        signature=r"blocks\.0\.attn\.qkv\.weight$",
        options=_transformer_options,
        names=transformer_names,
        dropped=((r"decoder_|mask_token$", "decoder of pre-training"), _CLASSIFIER),
    ),
    "swin": Kind(
        title="Swin of the Hub (microsoft/swin-*)",
        signature=r"embeddings\.patch_embeddings\.projection\.weight$",
        options=_told(_hub_swin_options),
        names=transformers_names,
        dropped=(_COMPUTED,),
        prefix="swin.",
        others=(_CLASSIFIER,),
    ),
    "swin-microsoft": Kind(
        title="Swin of microsoft/Swin-Transformer, AM-MRG's first stage",
        signature=r"layers\.0\.blocks\.0\.attn\.relative_position_bias_table$",
        options=_told(_microsoft_swin_options),
        names=microsoft_names,
        dropped=(_COMPUTED, _CLASSIFIER),
    ),
    "resnet": Kind(
        title="torchvision's ResNet-50 and ResNet-101",
        signature=r"layer1\.0\.conv1\.weight$",
        options=_told(_resnet_options),
        names=torchvision_names,
        dropped=((r"fc\.", "classifier"),),
        counters=True,
    ),
}
"""Kinds of one encoder each; :data:`GENERATOR_KINDS` are whole generators."""

GENERATOR_KINDS = {
    "r2gen": "R2Gen with torchvision's ResNet-101",
    "r2gencmn": "R2GenCMN with torchvision's ResNet-101",
}
"""Kinds that become model folders, see ``convert_r2gen.py``, and their titles."""


@dataclass(frozen=True, slots=True)
class PrefixKind:
    """A kind of delta file: what was trained of a generator that puts image tokens before a language model.

    ``encoder`` is the kind in :data:`KINDS` of the encoder's tensors, which have one of ``prefixes``.
    ``recipe`` is the one that comes with the package and tells what no tensor does. ``names`` gives the map
    of the published names of all but the encoder, which begin with one of ``own``; ``dropped`` is as for
    :class:`Kind`.
    """

    title: str
    encoder: str
    prefixes: tuple[str, ...]
    recipe: str
    names: Callable[[Any], NameMap]
    own: tuple[str, ...] = ("llama_proj.", "layer_norm.")
    dropped: tuple[tuple[str, str], ...] = ()


PREFIX_KINDS: dict[str, PrefixKind] = {
    "mambaxray": PrefixKind(
        title="MambaXray-VL's report generation, stage 3, with its projection",
        encoder="mambaxray-stage3",
        prefixes=("visual_encoder.",),
        recipe="mambaxray/stage3",
        names=lambda _: projection_names(),
    ),
    "r2gengpt": PrefixKind(
        title="R2GenGPT, shallow, delta or deep",
        encoder="swin",
        prefixes=("visual_encoder.base_model.model.", "visual_encoder."),
        recipe="r2gengpt",
        names=lambda _: projection_names(),
    ),
    "ammrg": PrefixKind(
        title="AM-MRG, stage 2, beside banks of your own",
        encoder="mambaxray-stage3",
        prefixes=("visual_encoder.",),
        recipe="ammrg",
        names=lambda made: stage2_names(made.queries, made.visual_memory, made.report_memory),
        own=STAGE_2,
        dropped=((re.escape(POSITION_IDS), "a leftover table"), (rf".*\.{BANK}$", "the memories' vectors")),
    ),
}
"""Kinds that become model folders beside a language model, see ``convert_prefix.py``."""

BANK_KIND = "ammrg-bank"
"""The kind of AM-MRG's banks of vectors, see ``convert_bank.py``."""

"""Name maps between published weights and ours.

Published state dicts load through a map that accounts for every key of both sides: paired, or derived
(a table that follows from the configuration, checked on the way in and written on the way out).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from cxreport.encoders.resnet import ResNet
from cxreport.errors import UserError
from cxreport.generators.memory_transformer import MemoryTransformer
from cxreport.generators.r2gen import R2Gen


@dataclass(frozen=True, slots=True)
class NameMap:
    """``pairs`` maps published keys to ours; ``derived`` maps published keys to the values they must have."""

    pairs: dict[str, str]
    derived: dict[str, Tensor] = field(default_factory=dict)

    def prefixed(self, published: str, ours: str) -> NameMap:
        """The same map with a prefix before all keys of each side."""
        pairs = {published + key: ours + value for key, value in self.pairs.items()}
        return NameMap(pairs, {published + key: value for key, value in self.derived.items()})

    def __or__(self, other: NameMap) -> NameMap:
        return NameMap(self.pairs | other.pairs, self.derived | other.derived)


def load_published(module: nn.Module, weights: Mapping[str, Tensor], names: NameMap) -> None:
    """Copy published `weights` into `module`.

    Raises UserError that lists the names when a key is missing, unknown or of another shape, or when a
    derived table has other values.
    """
    own = module.state_dict()
    _agree("keys of ours that the name map lacks", own.keys(), names.pairs.values())
    _agree("published keys", weights.keys(), [*names.pairs, *names.derived])
    shapes = [
        f"{key} {tuple(weights[key].shape)} instead of {tuple(own[ours].shape)}"
        for key, ours in names.pairs.items()
        if weights[key].shape != own[ours].shape
    ]
    if shapes:
        raise UserError(f"The published weights have other shapes than the configuration: {_listed(shapes)}.")
    for key, value in names.derived.items():
        if weights[key].shape != value.shape or not torch.allclose(weights[key].to(value), value, atol=1e-5):
            raise UserError(f"The published table {key} differs from the one that the configuration gives.")
    module.load_state_dict({ours: weights[key] for key, ours in names.pairs.items()})


def to_published(module: nn.Module, names: NameMap) -> dict[str, Tensor]:
    """The weights of `module` under their published names, derived tables included."""
    own = module.state_dict()
    _agree("keys of ours that the name map lacks", own.keys(), names.pairs.values())
    return {key: own[ours] for key, ours in names.pairs.items()} | names.derived


def r2gen_names(generator: R2Gen) -> NameMap:
    """A whole published checkpoint of R2Gen (its entry ``state_dict``).

    Raises UserError unless the encoder is a residual network.
    """
    if not isinstance(generator.encoder, ResNet):
        raise UserError("Published R2Gen weights need model.encoder.name: resnet101.")
    network = r2gen_network_names(generator.network).prefixed("encoder_decoder.", "network.")
    return network | resnet_names(generator.encoder).prefixed("visual_extractor.model.", "encoder.")


def resnet_names(encoder: ResNet) -> NameMap:
    """torchvision's residual network cut into a list, as R2Gen's ``visual_extractor.model`` holds it."""
    places = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}
    pairs = {}
    for ours in encoder.state_dict():
        child, _, rest = ours.partition(".")
        pairs[f"{places[child]}.{rest}"] = ours
    return NameMap(pairs)


def r2gen_network_names(network: MemoryTransformer) -> NameMap:
    """R2Gen's ``encoder_decoder``: relational memory, transformer, projection of the patches and head."""
    pairs = _linear("att_embed.0", "patch_projection") | _linear("logit", "head")
    pairs |= _norm("model.encoder.norm", "encoder_norm") | _norm("model.decoder.norm", "decoder_norm")
    pairs["model.tgt_embed.0.lut.weight"] = "embedding.weight"
    pairs |= _attention("model.rm.attn", "memory")
    pairs |= _linear("model.rm.mlp.0", "memory.mlp.0") | _linear("model.rm.mlp.2", "memory.mlp.2")
    pairs |= _linear("model.rm.W", "memory.token_gate") | _linear("model.rm.U", "memory.memory_gate")
    for layer in range(len(network.encoder_layers)):
        theirs, ours = f"model.encoder.layers.{layer}", f"encoder_layers.{layer}"
        pairs |= _attention(f"{theirs}.self_attn", f"{ours}.attention") | _feed_forward(theirs, ours)
        for place, norm in enumerate(("attention_norm", "feed_forward_norm")):
            pairs |= _norm(f"{theirs}.sublayer.{place}.norm", f"{ours}.{norm}")
    for layer in range(len(network.decoder_layers)):
        theirs, ours = f"model.decoder.layers.{layer}", f"decoder_layers.{layer}"
        pairs |= _attention(f"{theirs}.self_attn", f"{ours}.self_attention") | _feed_forward(theirs, ours)
        pairs |= _attention(f"{theirs}.src_attn", f"{ours}.cross_attention")
        for place, norm in enumerate(("self_attention_norm", "cross_attention_norm", "feed_forward_norm")):
            pairs |= _conditional_norm(f"{theirs}.sublayer.{place}.norm", f"{ours}.{norm}")
    return NameMap(pairs, {"model.tgt_embed.1.pe": network.positions.unsqueeze(0)})


def _linear(theirs: str, ours: str) -> dict[str, str]:
    return {f"{theirs}.{part}": f"{ours}.{part}" for part in ("weight", "bias")}


def _norm(theirs: str, ours: str) -> dict[str, str]:
    return {f"{theirs}.{part}": f"{ours}.{part}" for part in ("gamma", "beta")}


def _conditional_norm(theirs: str, ours: str) -> dict[str, str]:
    pairs = _norm(theirs, ours)
    for part in ("gamma", "beta"):
        for place in (0, 2):
            pairs |= _linear(f"{theirs}.mlp_{part}.{place}", f"{ours}.{part}_shift.{place}")
    return pairs


def _attention(theirs: str, ours: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for place, part in enumerate(("query", "key", "value", "output")):
        pairs |= _linear(f"{theirs}.linears.{place}", f"{ours}.{part}")
    return pairs


def _feed_forward(theirs: str, ours: str) -> dict[str, str]:
    first = _linear(f"{theirs}.feed_forward.w_1", f"{ours}.feed_forward.0")
    return first | _linear(f"{theirs}.feed_forward.w_2", f"{ours}.feed_forward.3")


def _agree(what: str, found: Iterable[str], known: Iterable[str]) -> None:
    found, known = set(found), set(known)
    missing, unknown = sorted(known - found), sorted(found - known)
    if missing or unknown:
        parts = [f"missing {_listed(missing)}"] if missing else []
        parts += [f"unknown {_listed(unknown)}"] if unknown else []
        raise UserError(f"The {what} do not match: {'; '.join(parts)}.")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more

"""R2Gen's checkpoints (``cuhksz-nlp/R2Gen``, entry ``state_dict``)."""

from __future__ import annotations

from cxreport.checkpoints.name_map import NameMap, weight_and_bias
from cxreport.checkpoints.published.resnet import resnet_names
from cxreport.encoders.resnet import ResNet
from cxreport.errors import UserError
from cxreport.generators.memory_transformer import MemoryTransformer
from cxreport.generators.r2gen import R2Gen


def r2gen_names(generator: R2Gen) -> NameMap:
    """A whole published checkpoint of R2Gen (its entry ``state_dict``).

    Raises UserError unless the encoder is a residual network.
    """
    if not isinstance(generator.encoder, ResNet):
        raise UserError("Published R2Gen weights need model.encoder.name: resnet101.")
    network = r2gen_network_names(generator.network).prefixed("encoder_decoder.", "network.")
    return network | resnet_names(generator.encoder).prefixed("visual_extractor.model.", "encoder.")


def r2gen_network_names(network: MemoryTransformer) -> NameMap:
    """R2Gen's ``encoder_decoder``: relational memory, transformer, projection of the patches and head."""
    pairs = weight_and_bias("att_embed.0", "patch_projection") | weight_and_bias("logit", "head")
    pairs |= _norm("model.encoder.norm", "encoder_norm") | _norm("model.decoder.norm", "decoder_norm")
    pairs["model.tgt_embed.0.lut.weight"] = "embedding.weight"
    pairs |= _attention("model.rm.attn", "memory")
    pairs |= weight_and_bias("model.rm.mlp.0", "memory.mlp.0") | weight_and_bias(
        "model.rm.mlp.2", "memory.mlp.2"
    )
    pairs |= weight_and_bias("model.rm.W", "memory.token_gate") | weight_and_bias(
        "model.rm.U", "memory.memory_gate"
    )
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


def _norm(theirs: str, ours: str) -> dict[str, str]:
    return {f"{theirs}.{part}": f"{ours}.{part}" for part in ("gamma", "beta")}


def _conditional_norm(theirs: str, ours: str) -> dict[str, str]:
    pairs = _norm(theirs, ours)
    for part in ("gamma", "beta"):
        for place in (0, 2):
            pairs |= weight_and_bias(f"{theirs}.mlp_{part}.{place}", f"{ours}.{part}_shift.{place}")
    return pairs


def _attention(theirs: str, ours: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for place, part in enumerate(("query", "key", "value", "output")):
        pairs |= weight_and_bias(f"{theirs}.linears.{place}", f"{ours}.{part}")
    return pairs


def _feed_forward(theirs: str, ours: str) -> dict[str, str]:
    first = weight_and_bias(f"{theirs}.feed_forward.w_1", f"{ours}.feed_forward.0")
    return first | weight_and_bias(f"{theirs}.feed_forward.w_2", f"{ours}.feed_forward.3")

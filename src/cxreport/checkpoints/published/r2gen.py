"""R2Gen's checkpoints (``cuhksz-nlp/R2Gen``, entry ``state_dict``), and what R2GenCMN's share with them."""

from __future__ import annotations

from cxreport.checkpoints.name_map import NameMap, weight_and_bias
from cxreport.checkpoints.published.resnet import resnet_names
from cxreport.encoders.resnet import ResNet
from cxreport.errors import UserError
from cxreport.generators.encoder_decoder import EncoderDecoder
from cxreport.generators.memory_transformer import MemoryTransformer
from cxreport.generators.r2gen import R2Gen
from cxreport.generators.word_generator import WordGenerator

NormNames = tuple[str, str]
"""What a published norm calls its gain and its offset."""


def checkpoint_names(generator: WordGenerator, network: NameMap) -> NameMap:
    """A whole published checkpoint around the map of its ``encoder_decoder``.

    Raises UserError unless the encoder is a residual network.
    """
    if not isinstance(generator.encoder, ResNet):
        name = generator.options.generator
        raise UserError(f"Published weights of {name} need model.encoder.name: resnet101.")
    encoder = resnet_names(generator.encoder).prefixed("visual_extractor.model.", "encoder.")
    return network.prefixed("encoder_decoder.", "network.") | encoder


def r2gen_names(generator: R2Gen) -> NameMap:
    """A whole published checkpoint of R2Gen; UserError unless the encoder is a residual network."""
    return checkpoint_names(generator, r2gen_network_names(generator.network))


def r2gen_network_names(network: MemoryTransformer) -> NameMap:
    """R2Gen's ``encoder_decoder``: relational memory, transformer, projection of the patches and head."""
    pairs = encoder_decoder_pairs(network, ("gamma", "beta")) | attention_pairs("model.rm.attn", "memory")
    for place in (0, 2):
        pairs |= weight_and_bias(f"model.rm.mlp.{place}", f"memory.mlp.{place}")
    pairs |= weight_and_bias("model.rm.W", "memory.token_gate")
    pairs |= weight_and_bias("model.rm.U", "memory.memory_gate")
    for ours, theirs in decoder_norms(network).items():
        for part in ("gamma", "beta"):
            for place in (0, 2):
                pairs |= weight_and_bias(f"{theirs}.mlp_{part}.{place}", f"{ours}.{part}_shift.{place}")
    return NameMap(pairs, {"model.tgt_embed.1.pe": network.positions.unsqueeze(0)})


def encoder_decoder_pairs(network: EncoderDecoder, norm: NormNames) -> dict[str, str]:
    """All but the memory and what conditions the norms."""
    pairs = weight_and_bias("att_embed.0", "patch_projection") | weight_and_bias("logit", "head")
    pairs["model.tgt_embed.0.lut.weight"] = "embedding.weight"
    norms = {f"{part}_norm": f"model.{part}.norm" for part in ("encoder", "decoder")} | decoder_norms(network)
    for layer in range(len(network.encoder_layers)):
        theirs, ours = f"model.encoder.layers.{layer}", f"encoder_layers.{layer}"
        pairs |= attention_pairs(f"{theirs}.self_attn", f"{ours}.attention") | _feed_forward(theirs, ours)
        for place, name in enumerate(("attention_norm", "feed_forward_norm")):
            norms[f"{ours}.{name}"] = f"{theirs}.sublayer.{place}.norm"
    for layer in range(len(network.decoder_layers)):
        theirs, ours = f"model.decoder.layers.{layer}", f"decoder_layers.{layer}"
        pairs |= attention_pairs(f"{theirs}.self_attn", f"{ours}.self_attention")
        pairs |= attention_pairs(f"{theirs}.src_attn", f"{ours}.cross_attention") | _feed_forward(
            theirs, ours
        )
    for ours, theirs in norms.items():
        pairs |= {
            f"{theirs}.{name}": f"{ours}.{part}" for name, part in zip(norm, ("gamma", "beta"), strict=True)
        }
    return pairs


def decoder_norms(network: EncoderDecoder) -> dict[str, str]:
    """Our names of the norms of the decoder's layers, and the published ones."""
    names = ("self_attention_norm", "cross_attention_norm", "feed_forward_norm")
    return {
        f"decoder_layers.{layer}.{name}": f"model.decoder.layers.{layer}.sublayer.{place}.norm"
        for layer in range(len(network.decoder_layers))
        for place, name in enumerate(names)
    }


def attention_pairs(theirs: str, ours: str) -> dict[str, str]:
    """The four projections of an attention or a memory."""
    pairs: dict[str, str] = {}
    for place, part in enumerate(("query", "key", "value", "output")):
        pairs |= weight_and_bias(f"{theirs}.linears.{place}", f"{ours}.{part}")
    return pairs


def _feed_forward(theirs: str, ours: str) -> dict[str, str]:
    first = weight_and_bias(f"{theirs}.feed_forward.w_1", f"{ours}.feed_forward.0")
    return first | weight_and_bias(f"{theirs}.feed_forward.w_2", f"{ours}.feed_forward.3")

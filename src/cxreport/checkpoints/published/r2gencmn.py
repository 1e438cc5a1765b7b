"""R2GenCMN's checkpoints (``cuhksz-nlp/R2GenCMN``, entry ``state_dict``)."""

from __future__ import annotations

from cxreport.checkpoints.name_map import NameMap
from cxreport.checkpoints.published.r2gen import attention_pairs, checkpoint_names, encoder_decoder_pairs
from cxreport.generators.cross_modal_transformer import CrossModalTransformer
from cxreport.generators.r2gencmn import R2GenCMN


def r2gencmn_names(generator: R2GenCMN) -> NameMap:
    """A whole published checkpoint of R2GenCMN; UserError unless the encoder is a residual network."""
    return checkpoint_names(generator, r2gencmn_network_names(generator.network))


def r2gencmn_network_names(network: CrossModalTransformer) -> NameMap:
    """R2GenCMN's ``encoder_decoder``; the memory's projections stand in it twice."""
    pairs = encoder_decoder_pairs(network, ("a_2", "b_2")) | {"memory_matrix": "memory.matrix"}
    pairs |= attention_pairs("cmn", "memory") | attention_pairs("model.cmn", "memory")
    table = network.positions.unsqueeze(0)
    return NameMap(pairs, {"model.src_embed.0.pe": table, "model.tgt_embed.1.pe": table})

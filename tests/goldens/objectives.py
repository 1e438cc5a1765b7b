"""Pre-training objectives: the masked autoencoder of HD X-rays, and ARM's prediction of the next cluster."""

from __future__ import annotations

from typing import Any

import torch

from cxreport.checkpoints.name_map import load_published
from cxreport.checkpoints.published.mae import masked_names
from cxreport.checkpoints.published.vision_mamba import autoregressive_names
from cxreport.encoders import build_encoder
from cxreport.encoders.contour import published_box
from cxreport.encoders.vit import VisionTransformer
from cxreport.objectives.autoregressive import AutoregressiveOptions, AutoregressivePretraining
from cxreport.objectives.masked import MaskedAutoencoder, MaskedOptions, masked_mean
from cxreport.objectives.masking import total_of_box, two_regions, uniform
from cxreport.options import EncoderOptions
from goldens import Item, Values
from goldens.vision_mamba import encoder_of, first_block

UNUSED = "decoder_image."
"""A leftover of the published module."""


def mae_hd(item: Item) -> tuple[Values, Values]:
    """HD-MAE: patches, masks, what the encoder reads, predictions and both losses."""
    config, given = item.json["config"], item.inputs
    encoder = build_encoder(
        EncoderOptions(
            name="vit_hd_tiny",
            image_size=config["grid"] * config["patch"],
            width=config["embed_dim"],
            depths=(config["depth"],),
            heads=(config["num_heads"],),
        )
    )
    assert isinstance(encoder, VisionTransformer)
    options = MaskedOptions(
        decoder_width=config["decoder_embed_dim"],
        decoder_depth=config["decoder_depth"],
        decoder_heads=config["decoder_num_heads"],
    )
    plain = MaskedAutoencoder(encoder, options).eval()
    weights = {name: value for name, value in item.weights.items() if not name.startswith(UNUSED)}
    load_published(plain, weights, masked_names(plain))
    image, ratios = given["image"], (config["ratio_inner"], config["ratio_outer"])
    choice = _two_regions(given["noise_inner"], given["noise_outer"], config["grid"], ratios)
    predicted = plain(image, choice)
    ours: dict[str, Any] = {
        "patch_tokens": encoder.embed(image)[0],
        "latent": encoder.encode_kept(image, choice.kept),
        "pred": predicted,
    }
    normalised = MaskedAutoencoder(encoder, options.model_copy(update={"normalised_targets": True}))
    for ending, model in (("", plain), ("_norm_pix", normalised)):
        errors = model.errors(image, predicted)
        ours |= {f"loss_per_patch{ending}": errors, f"loss{ending}": masked_mean(errors, choice.masked)}
    published20 = _two_regions(given["noise20_inner"], given["noise20_outer"], 20, (0.95, 0.85))
    everywhere = uniform(given["noise_uniform"], config["ratio_outer"])
    for ending, one in (("", choice), ("20", published20), ("_uniform", everywhere)):
        ours[f"mask{ending}"] = one.masked.float()
        ours |= {f"ids_restore{ending}": one.restore, f"ids_keep{ending}": one.kept}
    return ours, item.outputs


def arm_pretrain(item: Item) -> tuple[Values, Values]:
    """ARM: the causal encoder from its first mixer to the taps, the decoder and its loss."""
    config, image = item.json["config"], item.inputs["image"]
    encoder = encoder_of(config, scans=1)
    options = AutoregressiveOptions(decoder_width=config["dec_embed_dim"], taps=tuple(config["taps"]))
    model = AutoregressivePretraining(encoder, options).eval()
    load_published(model, item.weights, autoregressive_names(model))
    seen = first_block(encoder)
    taps = model.normed_taps(image)
    errors = model.errors(image)
    ours = {
        **seen,
        "encoder_taps": taps,
        "decoder_memory": model.decoder_memories(taps),
        "pred": model(image),
        "loss_map": errors,
        "loss_per_token": errors.mean(dim=0),
        "loss": errors.mean(),
    }
    return ours, item.outputs


def _two_regions(inner: torch.Tensor, outer: torch.Tensor, side: int, ratios: tuple[float, float]) -> Any:
    inside = torch.from_numpy(published_box(side, side)).flatten().expand(len(inner), -1)
    noise = torch.empty(len(inner), side * side)
    noise[inside], noise[~inside] = inner.flatten(), outer.flatten()
    return two_regions(noise, inside, *ratios, total_of_box(side, side, *ratios))

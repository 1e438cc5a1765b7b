"""Name maps of published weights: complete both ways, and every name accounted for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cxreport.checkpoints.name_map import load_published, to_published
from cxreport.checkpoints.published.r2gen import r2gen_names
from cxreport.errors import UserError
from cxreport.generators.base import TrainStudies
from cxreport.generators.r2gen import R2Gen
from cxreport.model_options import R2GenOptions
from cxreport.options import EncoderOptions


def build(seed: int, encoder: str = "resnet101") -> R2Gen:
    torch.manual_seed(seed)
    options = R2GenOptions(
        encoder=EncoderOptions(name=encoder),
        width=16,
        feed_forward=24,
        heads=2,
        layers=2,
        memory_heads=2,
        vocabulary_threshold=1,
    )
    return R2Gen.build(options, TrainStudies(["no effusion .", "clear lungs ."]))


@pytest.fixture(scope="module")
def generator() -> R2Gen:
    return build(1)


@pytest.fixture
def published(generator: R2Gen) -> dict[str, Tensor]:
    return to_published(generator, r2gen_names(generator))


def test_a_checkpoint_goes_out_and_comes_back(generator: R2Gen, published: dict[str, Tensor]) -> None:
    other = build(2)
    load_published(other, published, r2gen_names(other))
    own = generator.state_dict()
    assert all(torch.equal(value, own[key]) for key, value in other.state_dict().items())


def test_published_names(generator: R2Gen, published: dict[str, Tensor]) -> None:
    network, encoder = generator.network, generator.encoder.state_dict()
    across = network.decoder[1].cross_attention
    pairs = {
        "encoder_decoder.model.decoder.layers.1.src_attn.linears.3.weight": across.output.weight,
        "encoder_decoder.model.rm.U.bias": network.memory.memory_gate.bias,
        "encoder_decoder.model.tgt_embed.0.lut.weight": network.embedding.weight,
        "visual_extractor.model.0.weight": encoder["conv1.weight"],
        "visual_extractor.model.1.running_var": encoder["bn1.running_var"],
        "visual_extractor.model.7.2.conv3.weight": encoder["layer4.2.conv3.weight"],
    }
    for key, value in pairs.items():
        assert torch.equal(published[key], value), key
    assert published["encoder_decoder.model.tgt_embed.1.pe"].shape == (1, 5000, 16)


def test_a_missing_and_an_unknown_key_are_listed(generator: R2Gen, published: dict[str, Tensor]) -> None:
    published["encoder_decoder.logits.bias"] = published.pop("encoder_decoder.logit.bias")
    with pytest.raises(UserError, match=r"missing encoder_decoder\.logit\.bias; unknown .*logits\.bias"):
        load_published(generator, published, r2gen_names(generator))


def test_another_shape_is_named(generator: R2Gen, published: dict[str, Tensor]) -> None:
    published["encoder_decoder.logit.bias"] = torch.zeros(99)
    with pytest.raises(UserError, match=r"logit\.bias \(99,\) instead of \(\d+,\)"):
        load_published(generator, published, r2gen_names(generator))


def test_another_position_table_is_refused(generator: R2Gen, published: dict[str, Tensor]) -> None:
    key = "encoder_decoder.model.tgt_embed.1.pe"
    published[key] = published[key] + 0.01
    with pytest.raises(UserError, match=r"tgt_embed\.1\.pe differs"):
        load_published(generator, published, r2gen_names(generator))


def test_a_module_that_the_map_does_not_know(generator: R2Gen, published: dict[str, Tensor]) -> None:
    names = r2gen_names(generator)
    generator.register_buffer("more", torch.zeros(1))
    try:
        with pytest.raises(UserError, match="more"):
            load_published(generator, published, names)
        with pytest.raises(UserError, match="more"):
            to_published(generator, names)
    finally:
        del generator.more

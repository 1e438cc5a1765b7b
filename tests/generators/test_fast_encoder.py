"""Drafting with another form of the encoder."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cxreport.encoders import fast as fast_module
from cxreport.generators.base import TrainStudies
from cxreport.generators.fast_encoder import with_fast_encoder
from cxreport.generators.r2gen import R2Gen
from cxreport.recipe import Recipe

TREE: dict[str, Any] = {
    "name": "tiny",
    "data": {"image_size": 32},
    "model": {
        "generator": "r2gen",
        "encoder": {"name": "resnet_small", "width": 4},
        "width": 16,
        "feed_forward": 16,
        "heads": 2,
        "layers": 1,
        "memory_heads": 2,
        "vocabulary_threshold": 1,
    },
}


@pytest.fixture
def recipe() -> Recipe:
    return Recipe.parse(TREE)


@pytest.fixture
def generator(recipe: Recipe) -> R2Gen:
    torch.manual_seed(0)
    return R2Gen.build(recipe.model, TrainStudies(["no effusion .", "small effusion ."])).eval()


@pytest.mark.parametrize(("ratio", "taken"), [(2.0, True), (1.1, False)])
def test_a_form_is_taken_when_it_is_fast_enough(
    generator: R2Gen, recipe: Recipe, monkeypatch: pytest.MonkeyPatch, ratio: float, taken: bool
) -> None:
    monkeypatch.setattr(fast_module, "_FORMS", {"the same": lambda encoder: encoder})
    monkeypatch.setattr(fast_module, "_seconds", lambda *_: (ratio, 1.0))
    before = generator.encoder
    told = with_fast_encoder(generator, recipe)
    assert (generator.encoder is not before) is taken
    assert told.startswith(f"Fast inference: {'the same' if taken else 'unchanged'};")
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(generator.encoder(images).patches, before(images).patches)


def test_a_form_that_differs_is_not_taken(
    generator: R2Gen, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def louder(encoder: Any) -> Any:
        with torch.no_grad():
            encoder.layer4[-1].bn2.bias += 1
        return encoder

    monkeypatch.setattr(fast_module, "_FORMS", {"louder": louder})
    monkeypatch.setattr(fast_module, "_seconds", lambda *_: (9.0, 1.0))
    before = generator.encoder
    assert "unchanged" in with_fast_encoder(generator, recipe)
    assert generator.encoder is before

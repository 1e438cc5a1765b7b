"""Residual networks: grids, row-major patches, and weights from torchvision's cache only."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
import torchvision

from cxreport.encoders import build_encoder, resnet
from cxreport.errors import UserError
from cxreport.options import EncoderOptions


def test_small_sees_128_pixels_as_8_by_8() -> None:
    encoder = build_encoder(EncoderOptions(name="resnet_small", width=4)).eval()
    with torch.no_grad():
        tokens = encoder(torch.randn(1, 3, 128, 128))
    assert (tokens.grid, encoder.width) == ((8, 8), 32)


def test_resnet101_equals_torchvision() -> None:
    encoder = build_encoder(EncoderOptions(name="resnet101")).eval()
    network = torchvision.models.resnet101(weights=None).eval()
    named = {key: value for key, value in network.state_dict().items() if not key.startswith("fc.")}
    encoder.load_state_dict(named)
    images = torch.randn(1, 3, 64, 96)
    maps = []
    network.layer4.register_forward_hook(lambda module, given, found: maps.append(found))
    with torch.no_grad():
        network(images)
        tokens = encoder(images)
    assert tokens.grid == (2, 3)
    scale = maps[0].abs().max()
    # row by row: patch 4 is row 1, column 1
    torch.testing.assert_close(tokens.patches[:, 4] / scale, maps[0][:, :, 1, 1] / scale, atol=1e-5, rtol=0)
    torch.testing.assert_close(tokens.pooled / scale, maps[0].mean((2, 3)) / scale, atol=1e-5, rtol=0)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def test_absent_published_weights_are_named_and_not_downloaded(cache: Path) -> None:
    with pytest.raises(UserError, match=r"resnet101-\w+\.pth is absent; download it from https://"):
        build_encoder(EncoderOptions(name="resnet101", pretrained=True))


def test_damaged_published_weights(cache: Path) -> None:
    name = torchvision.models.ResNet101_Weights.IMAGENET1K_V1.url.rpartition("/")[2]
    (cache / name).write_bytes(b"half a file")
    with pytest.raises(UserError, match="damaged"):
        build_encoder(EncoderOptions(name="resnet101", pretrained=True))


def test_weights_of_the_cache_are_used(cache: Path) -> None:
    torch.save({"weight": torch.arange(3)}, cache / "w.pth")
    name = f"net-{hashlib.sha256((cache / 'w.pth').read_bytes()).hexdigest()[:8]}.pth"
    (cache / "w.pth").rename(cache / name)
    loaded = resnet._cached_weights(f"https://example.org/models/{name}")
    assert torch.equal(loaded["weight"], torch.arange(3))


def test_small_has_no_published_weights() -> None:
    with pytest.raises(UserError, match="pretrained"):
        build_encoder(EncoderOptions(name="resnet_small", pretrained=True))

"""Files that other people's code wrote, converted, give the numbers of that code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor

from cxreport.checkpoints.convert import Converted, convert_encoder
from cxreport.encoders import Encoder, build_encoder
from cxreport.encoders.vision_mamba import VisionMamba
from cxreport.encoders.vit import VisionTransformer


def loaded(done: Converted) -> Encoder:
    return build_encoder(done.options.model_copy(update={"init": str(done.folder)})).eval()


def golden(shared: Path, item: str, tmp_path: Path) -> tuple[Path, dict[str, Tensor]]:
    """The published weights of an item as a file of torch.save, and all its tensors."""
    path = shared / "golden" / f"{item}.safetensors"
    if not path.is_file():
        pytest.skip(f"golden numbers are absent: no file {path}")
    tensors = load_file(path)
    prefix = "weights."
    state = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    return written(tmp_path / f"{item}.pth", {"model": state}), tensors


def written(path: Path, tree: Any) -> Path:
    torch.save(tree, path)
    return path


def test_vmamba(shared: Path, tmp_path: Path) -> None:
    path, tensors = golden(shared, "vmamba_ss2d", tmp_path)
    encoder = loaded(convert_encoder(path, "vmamba", tmp_path / "folder"))
    with torch.no_grad():
        tokens = encoder(tensors["inputs.image"])
    torch.testing.assert_close(tokens.patches, tensors["outputs.tokens"], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(tokens.pooled, tensors["outputs.pooled"], atol=1e-4, rtol=1e-4)


def test_hd_mae(shared: Path, tmp_path: Path) -> None:
    path, tensors = golden(shared, "mae_hd", tmp_path)
    done = convert_encoder(path, "hdmae", tmp_path / "folder", heads=4)
    decoder = [key for key in tensors if key.startswith(("weights.decoder_", "weights.mask_token"))]
    assert {what: len(keys) for what, keys in done.account.dropped.items()} == {
        "decoder of pre-training": len(decoder)
    }
    encoder = loaded(done)
    assert isinstance(encoder, VisionTransformer)
    with torch.no_grad():
        latent = encoder.encode_kept(tensors["inputs.image"], tensors["outputs.ids_keep"])
    torch.testing.assert_close(latent, tensors["outputs.latent"], atol=5e-5, rtol=1e-4)


def test_mambaxray(shared: Path, tmp_path: Path) -> None:
    path, tensors = golden(shared, "arm_finetune", tmp_path)
    state = {f"visual_encoder.{key}": value for key, value in torch.load(path)["model"].items()}
    delta = {"model": state | {"llama_proj.weight": torch.ones(2)}, "epoch": 5}
    done = convert_encoder(written(tmp_path / "d.pth", delta), "mambaxray-stage3", tmp_path / "folder")
    with torch.no_grad():
        tokens = loaded(done)(tensors["inputs.image"])
    torch.testing.assert_close(tokens.sequence, tensors["outputs.tokens"], atol=1e-4, rtol=1e-4)


def test_arm(shared: Path, tmp_path: Path) -> None:
    path, tensors = golden(shared, "arm_pretrain", tmp_path)
    done = convert_encoder(path, "arm-stage1", tmp_path / "folder")
    assert done.options.name == "vision_mamba_tiny_causal"
    assert done.options.shape() == {"width": 16, "patch": 4, "image_size": 32}
    encoder = loaded(done)
    assert isinstance(encoder, VisionMamba)
    with torch.no_grad():
        last = encoder.norm(encoder.taps(tensors["inputs.image"])[-1])
    expected = tensors["outputs.encoder_taps"][..., -16:]
    torch.testing.assert_close(last, expected, atol=1e-4, rtol=1e-4)


def test_torchvision(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = torchvision.models.resnet50(weights=None).eval()
    done = convert_encoder(written(tmp_path / "r.pth", network.state_dict()), "resnet", tmp_path / "folder")
    assert done.account.dropped == {"classifier": ["fc.weight", "fc.bias"]}
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        pooled = loaded(done)(images).pooled
        network.fc = torch.nn.Identity()
        expected = network(images)
    torch.testing.assert_close(pooled / expected.max(), expected / expected.max(), atol=1e-5, rtol=0)


def test_swin_of_the_hub(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.SwinConfig(image_size=64, embed_dim=12, depths=(1, 2), num_heads=(1, 2))
    network = transformers.SwinForImageClassification(config).eval()
    network.save_pretrained(tmp_path / "hub")
    weights = load_file(tmp_path / "hub" / "model.safetensors")
    done = convert_encoder(written(tmp_path / "pytorch_model.bin", weights), "swin", tmp_path / "folder")
    assert sorted(done.account.dropped["classifier"]) == ["classifier.bias", "classifier.weight"]
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = network.swin(images).last_hidden_state
        torch.testing.assert_close(loaded(done)(images).patches, expected, atol=1e-4, rtol=1e-4)

"""Faster inference: what is tried, what is taken, and what happens without a compiler."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cxreport.encoders import Encoder
from cxreport.encoders import fast as module
from cxreport.encoders.fast import BFloat16Linear, fast, sentence, with_bfloat16_products
from cxreport.encoders.vision_mamba import Shape, VisionMamba

IMAGES = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def encoder() -> VisionMamba:
    torch.manual_seed(0)
    return VisionMamba(Shape(width=24, depths=(2,), patch=8, image_size=32, state_size=4)).eval()


def timed(monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float]) -> None:
    """Let the forms of these names be all, unchanged but for their times."""

    def form(name: str) -> Any:
        def change(encoder: Encoder) -> Encoder:
            encoder.label = name
            return encoder

        return change

    def measured(encoders: Any, *_: Any) -> list[float]:
        return [seconds.get(getattr(each, "label", ""), 1.0) for each in encoders]

    monkeypatch.setattr(module, "_FORMS", {name: form(name) for name in seconds})
    monkeypatch.setattr(module, "_seconds", measured)


def test_products_in_bfloat16_stay_within_a_hundredth(encoder: VisionMamba) -> None:
    with torch.no_grad():
        expected = encoder(IMAGES).patches
        found = with_bfloat16_products(encoder)(IMAGES).patches
    assert found.dtype == torch.float32
    assert 0 < (found - expected).abs().max() / expected.abs().max() < 1e-2
    assert sum(isinstance(each, BFloat16Linear) for each in encoder.modules()) == 2 * 5


def test_the_fastest_form_is_taken(encoder: VisionMamba, monkeypatch: pytest.MonkeyPatch) -> None:
    timed(monkeypatch, {"some": 0.6, "most": 0.4, "less": 0.5})
    chosen, report = fast(encoder, IMAGES)
    assert chosen.label == "most"
    assert (report["choice"], report["ratio"]) == ("most", 2.5)
    assert not hasattr(encoder, "label")


def test_too_little_gain_changes_nothing(encoder: VisionMamba, monkeypatch: pytest.MonkeyPatch) -> None:
    timed(monkeypatch, {"little": 0.8})
    chosen, report = fast(encoder, IMAGES)
    assert chosen is encoder
    assert report["choice"] == "unchanged"


def test_a_form_that_differs_is_not_taken(encoder: VisionMamba, monkeypatch: pytest.MonkeyPatch) -> None:
    timed(monkeypatch, {"wrong": 0.1})

    def change(other: Any) -> Encoder:
        with torch.no_grad():
            other.norm.bias += 1
        return other

    monkeypatch.setattr(module, "_FORMS", {"wrong": change})
    chosen, report = fast(encoder, IMAGES)
    assert chosen is encoder
    assert report["forms"][0]["difference"] > 0.1


def test_a_missing_compiler_is_told_and_no_crash(
    encoder: VisionMamba, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(_: Encoder) -> Encoder:
        raise RuntimeError("No working C++ compiler found\nwith many lines")

    monkeypatch.setattr(module, "_FORMS", {"compiled": change})
    chosen, report = fast(encoder, IMAGES)
    assert chosen is encoder
    assert sentence(report) == (
        "Fast inference: unchanged; compiled cannot run here (RuntimeError: No working C++ compiler found)."
    )


@pytest.mark.slow
def test_compiled_blocks_give_the_same_tokens(encoder: VisionMamba) -> None:
    with torch.inference_mode():
        expected = encoder(IMAGES).patches
        found = module.compiled(encoder)(IMAGES).patches
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)

"""The cost of tokens: what is counted, and how growth is fitted."""

from __future__ import annotations

import pytest
import torch

from cxreport.encoders.profile import exponent, machine, peak_memory, profile
from cxreport.errors import UserError


def test_memory_is_the_largest_sum_of_living_tensors() -> None:
    def run() -> None:
        first = torch.empty(1000)
        second = torch.empty(500)
        del first
        third = torch.empty(600)
        del second, third

    assert peak_memory(run) == pytest.approx(6000, abs=256)  # the allocator rounds up to 64 bytes


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_exponent_of_a_power_law(power: float) -> None:
    rows = [{"tokens": tokens, "cost": 3 * tokens**power} for tokens in (100, 900, 6400)]
    assert exponent(rows, "cost") == pytest.approx(power)


def test_a_transformer_and_a_mamba_grow_as_they_should() -> None:
    seen: list[int] = []
    vit = profile("vit_tiny", sizes=(512, 640, 64), repeats=1, progress=seen.append)
    mamba = profile("vision_mamba_tiny", sizes=(512, 64, 640), repeats=1)
    assert seen == [64, 512, 640]
    assert [row["tokens"] for row in vit["rows"]] == [16, 1024, 1600]
    assert vit["fitted_from_tokens"] == 1024
    assert vit["exponents"]["operations"] > 1.2
    assert mamba["exponents"]["operations"] == pytest.approx(1, abs=0.01)
    assert mamba["exponents"]["memory_bytes"] < 1.05
    assert all(row["seconds"] > 0 for row in mamba["rows"])


def test_operations_by_hand() -> None:
    """Four tokens of a plain transformer: its products, its attention and its embedding."""
    found = profile("vit_tiny", sizes=(32, 48), repeats=1)
    width, tokens, patches = 192, 5, 4
    block = 2 * 12 * tokens * width**2 + 4 * tokens**2 * width
    assert found["rows"][0]["operations"] == 12 * block + 2 * patches * 3 * 16 * 16 * width
    assert found["fitted_from_tokens"] == 4


def test_training_costs_more() -> None:
    once, trained = (profile("vision_mamba_tiny", (32, 64), training, 1) for training in (False, True))
    for cost in ("operations", "memory_bytes"):
        assert trained["rows"][1][cost] > 2 * once["rows"][1][cost]


@pytest.mark.parametrize(
    ("name", "sizes", "what"),
    [
        ("vision_mamba_tinny", (224, 512), "choose"),
        ("vision_mamba_tiny", (224,), "at least two"),
        ("vision_mamba_tiny", (224, 225), "multiples of 16 px, not 225"),
        ("vit_hd_tiny", (32, 64), "from 64 px"),
    ],
)
def test_what_cannot_be_measured_is_told(name: str, sizes: tuple[int, ...], what: str) -> None:
    with pytest.raises(UserError, match=what):
        profile(name, sizes)


def test_the_machine_is_described() -> None:
    about = machine()
    assert about["cores"] >= 1
    assert all(about.values())

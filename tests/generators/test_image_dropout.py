"""Which studies are written without their image."""

from __future__ import annotations

import pytest
import torch

from cxreport.generators.image_dropout import ImageDropout


def test_a_share_of_the_studies_is_hidden_in_training_only() -> None:
    torch.manual_seed(0)
    mask = torch.ones(2000, 2, dtype=torch.bool)
    hidden = ImageDropout(0.2)(mask)
    assert hidden is not None
    assert hidden.float().mean().item() == pytest.approx(0.2, abs=0.03)
    assert ImageDropout(0.2).eval()(mask) is None
    assert ImageDropout(0.0)(mask) is None

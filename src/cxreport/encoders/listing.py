"""The registry as a table: parameters and tokens of every encoder, without computing anything."""

from __future__ import annotations

from typing import Any

import torch

from cxreport.encoders import ENCODERS, build_encoder
from cxreport.options import EncoderOptions

SIZES = (224, 512, 1280)
"""Sides in pixels of the square images whose tokens are counted."""


def list_encoders() -> list[dict[str, Any]]:
    """One row an encoder, ready for JSON; ``tokens`` is None at a size that it cannot take."""
    return [_row(name) for name in ENCODERS]


def _row(name: str) -> dict[str, Any]:
    entry = ENCODERS[name]
    with torch.device("meta"):
        encoder = build_encoder(EncoderOptions(name=name))
    tokens = {str(size): None if size % encoder.multiple else (size // entry.stride) ** 2 for size in SIZES}
    return {
        "name": name,
        "parameters": sum(value.numel() for value in encoder.parameters()),
        "width": encoder.width,
        "tokens": tokens,
        "default_size": entry.default_size,
        "stride": entry.stride,
        "channels": encoder.channels,
        "options": list(entry.options),
        "pretrained": entry.pretrained,
        "source": entry.source,
        "licence": entry.licence,
    }

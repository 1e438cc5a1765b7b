from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from cxreport.data.codestream import declared_size

PICTURE = Image.fromarray(np.arange(35 * 20, dtype=np.uint32).astype(np.uint8).reshape(20, 35))


def encoded(kind: str, **options) -> bytes:
    file = io.BytesIO()
    PICTURE.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    "frame",
    [
        encoded("JPEG"),
        encoded("JPEG", progressive=True, comment=b"\xff\xc0 inside a comment"),
        encoded("JPEG2000", no_jp2=True),
        encoded("JPEG2000", no_jp2=False),
        b"\xff\xd8\xff\xff\xf7\x00\x0b\x08\x00\x14\x00\x23\x01\x01\x11\x00",  # JPEG-LS after a fill byte
    ],
)
def test_declared_size(frame):
    assert declared_size(frame) == (35, 20)


@pytest.mark.parametrize(
    "frame", [b"", b"\xff\xd8", b"\xff\xd8\xff\xda\x00\x02", b"RLE", b"\xff\x4f\xff\x51\x00"]
)
def test_no_size(frame):
    assert declared_size(frame) is None

from __future__ import annotations

import io
import json
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxreport.data.codestream import Declared, declared

PICTURE = Image.fromarray(np.arange(35 * 20, dtype=np.uint32).astype(np.uint8).reshape(20, 35))
FRAMES = json.loads(Path(__file__).with_name("codestreams.json").read_text())["frames"]


def encoded(kind: str, picture: Image.Image = PICTURE, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
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
def test_declared(frame):
    assert declared(frame) == Declared(width=35, height=20, components=1, bits=8)


def test_declared_colours_and_tiles():
    colours = PICTURE.convert("RGB")
    assert declared(encoded("JPEG", colours)).components == 3
    tiled = declared(encoded("JPEG2000", colours, no_jp2=True, tile_size=(8, 8)))
    assert (tiled.components, tiled.tiles) == (3, 5 * 3)


@pytest.mark.parametrize("name", FRAMES)
def test_declared_by_the_codecs_of_radiographs(name):
    stream = declared(b64decode(FRAMES[name]["frame"]))
    assert (stream.width, stream.height, stream.components) == (64, 48, 1)
    assert stream.bits in (12, 16)


@pytest.mark.parametrize(
    "frame", [b"", b"\xff\xd8", b"\xff\xd8\xff\xda\x00\x02", b"RLE", b"\xff\x4f\xff\x51\x00"]
)
def test_nothing_declared(frame):
    assert declared(frame) is None

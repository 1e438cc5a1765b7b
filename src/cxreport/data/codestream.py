"""What a compressed frame declares about itself, read without decoding it."""

from __future__ import annotations

from typing import NamedTuple

_START_OF_FRAME = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_STANDALONE = {0x01, *range(0xD0, 0xD9)}


class Declared(NamedTuple):
    """The size of a codestream: a decoder allocates by it, not by the DICOM header."""

    width: int
    height: int
    components: int
    bits: int
    tiles: int = 1


def declared(frame: bytes) -> Declared | None:
    """What a JPEG, JPEG-LS or JPEG 2000 codestream declares; None where it is another or broken.

    Sources: ITU-T T.81 B.2.2, T.87 C.2.2, T.800 A.5.1.
    """
    if frame.startswith(b"\xff\xd8"):
        return _jpeg(frame)
    start = frame[:4096].find(b"\xff\x4f\xff\x51")
    return _jpeg2000(frame[start : start + 64]) if start >= 0 else None


def _jpeg(frame: bytes) -> Declared | None:
    place = 2
    while place + 10 <= len(frame) and frame[place] == 0xFF:
        marker = frame[place + 1]
        if marker in _START_OF_FRAME:
            height, width = frame[place + 5 : place + 7], frame[place + 7 : place + 9]
            bits, components = frame[place + 4], frame[place + 9]
            return Declared(int.from_bytes(width), int.from_bytes(height), components, bits)
        if marker == 0xFF:
            place += 1
        elif marker in _STANDALONE:
            place += 2
        else:
            place += 2 + int.from_bytes(frame[place + 2 : place + 4])
    return None


def _jpeg2000(start: bytes) -> Declared | None:
    if len(start) < 43:
        return None
    # SOC (2), SIZ marker (2), Lsiz (2), Rsiz (2), then eight numbers of four bytes, Csiz (2), Ssiz (1).
    numbers = [int.from_bytes(start[place : place + 4]) for place in range(8, 40, 4)]
    right, bottom, left, top, tile_width, tile_height, tile_left, tile_top = numbers
    if not (tile_width and tile_height):
        return None
    tiles = -(-(right - tile_left) // tile_width) * -(-(bottom - tile_top) // tile_height)
    bits = (start[42] & 0x7F) + 1
    return Declared(right - left, bottom - top, int.from_bytes(start[40:42]), bits, tiles)

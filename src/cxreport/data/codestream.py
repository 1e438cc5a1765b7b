"""The size that a compressed frame declares about itself, read without decoding it."""

from __future__ import annotations

_START_OF_FRAME = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_STANDALONE = {0x01, *range(0xD0, 0xD9)}


def declared_size(frame: bytes) -> tuple[int, int] | None:
    """``(width, height)`` of a JPEG, JPEG-LS or JPEG 2000 codestream; None where it is another or broken.

    A decoder allocates by this size, not by the DICOM header, so both have to be checked. Sources:
    ITU-T T.81 B.2.2, T.87 C.2.2, T.800 A.5.1.
    """
    if frame.startswith(b"\xff\xd8"):
        return _jpeg(frame)
    start = frame[:4096].find(b"\xff\x4f\xff\x51")
    return _jpeg2000(frame[start:]) if start >= 0 else None


def _jpeg(frame: bytes) -> tuple[int, int] | None:
    place = 2
    while place + 9 <= len(frame) and frame[place] == 0xFF:
        marker = frame[place + 1]
        if marker in _START_OF_FRAME:
            height, width = frame[place + 5 : place + 7], frame[place + 7 : place + 9]
            return int.from_bytes(width), int.from_bytes(height)
        if marker == 0xFF:
            place += 1
        elif marker in _STANDALONE:
            place += 2
        else:
            place += 2 + int.from_bytes(frame[place + 2 : place + 4])
    return None


def _jpeg2000(frame: bytes) -> tuple[int, int] | None:
    if len(frame) < 24:
        return None
    # SOC (2), SIZ marker (2), Lsiz (2), Rsiz (2), then Xsiz, Ysiz, XOsiz, YOsiz of four bytes each.
    right, bottom, left, top = (int.from_bytes(frame[i : i + 4]) for i in range(8, 24, 4))
    return right - left, bottom - top

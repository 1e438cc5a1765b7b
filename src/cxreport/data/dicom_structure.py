"""The elements of a DICOM file, walked without their values before a library parses it.

A parser believes lengths, counts and nesting. Here they are checked against the file first, so that no
header of a few bytes costs memory or time beyond the file's own size. Encoding: PS3.5 chapter 7, PS3.10 7.1.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.uid import UID, ExplicitVRBigEndian, ImplicitVRLittleEndian

from cxreport.errors import UserError

MAX_ELEMENTS = 20_000
"""Elements, items and fragments of a file. A radiograph has a few hundred."""
MAX_DEPTH = 16
MAX_VALUE_BYTES = 2**16
"""Of a header element that is read; others may have any length, for nobody reads them."""
MAX_SEQUENCE_BYTES = 2**22
"""Of a sequence that is read, such as a look-up table."""

_LONG = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXELS = {0x7FE00008, 0x7FE00009, 0x7FE00010}
_MEDIA_CLASS, _SYNTAX = 0x00020002, 0x00020010


@dataclass(frozen=True, slots=True)
class PixelElement:
    """Where the pixels are: ``length`` bytes from ``offset``, in fragments if ``encapsulated``."""

    tag: int
    vr: str
    offset: int
    length: int
    encapsulated: bool


@dataclass(frozen=True, slots=True)
class Structure:
    """Transfer syntax and media class of the file meta information, and the first pixel element."""

    syntax: UID
    media_class: UID
    pixels: PixelElement | None


@dataclass(frozen=True, slots=True)
class _Element:
    tag: int
    vr: str
    offset: int
    length: int


def file_meta(file: BinaryIO, name: str) -> tuple[UID, UID, int]:
    """Transfer syntax, media storage class and where the data set begins.

    Raises UserError when the file meta information is damaged or names no transfer syntax, or two.
    """
    walker = _Walker(file, name, frozenset())
    found: dict[int, bytes] = {}
    place = 132
    while walker.peek_group(place) == 2:
        element = walker.element(place, implicit=False, order="<")
        if element.length > MAX_VALUE_BYTES:
            raise walker.damage("has an oversized file meta information")
        if element.tag in found:
            raise walker.damage("repeats an element of its file meta information")
        found[element.tag] = walker.bytes(element.offset, element.length)
        place = element.offset + element.length
    syntax, media_class = (
        UID(found.get(tag, b"").decode("ascii", "replace").strip("\0 ")) for tag in (_SYNTAX, _MEDIA_CLASS)
    )
    if not syntax:
        raise walker.damage("names no transfer syntax")
    return syntax, media_class, place


def structure(file: BinaryIO, name: str, wanted: frozenset[int]) -> Structure:
    """Walk a file up to its pixels.

    `wanted` are the tags whose values will be read. Raises UserError when a length leaves the file or its
    sequence, when there are more elements than :data:`MAX_ELEMENTS`, sequences deeper than
    :data:`MAX_DEPTH`, or wanted values longer than :data:`MAX_VALUE_BYTES`.
    """
    syntax, media_class, start = file_meta(file, name)
    walker = _Walker(file, name, wanted)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    implicit = walker.looks_implicit(start, syntax == ImplicitVRLittleEndian)
    return Structure(syntax, media_class, walker.top_level(start, implicit, order))


class _Walker:
    def __init__(self, file: BinaryIO, name: str, wanted: frozenset[int]) -> None:
        self.file, self.name, self.wanted = file, name, wanted
        self.size = file.seek(0, 2)
        self.visited = 0

    def damage(self, what: str) -> UserError:
        return UserError(f"{self.name} {what}; export it again.")

    def bytes(self, place: int, count: int) -> bytes:
        self.file.seek(place)
        content = self.file.read(count)
        if len(content) < count:
            raise self.damage("ends within an element, so it is truncated")
        return content

    def peek_group(self, place: int) -> int | None:
        """The group number of the next element; None where the file ends."""
        self.file.seek(place)
        content = self.file.read(2)
        return int.from_bytes(content, "little") if len(content) == 2 else None

    def looks_implicit(self, place: int, assumed: bool) -> bool:
        """Whether the element at `place` has no letters for a VR; files lie about this in both directions."""
        self.file.seek(place + 4)
        letters = self.file.read(2)
        return not all(0x40 < byte < 0x5B for byte in letters) if len(letters) == 2 else assumed

    def element(self, place: int, *, implicit: bool, order: str) -> _Element:
        """The element at `place`, counted; its value lies within the file or is of undefined length."""
        self.visited += 1
        if self.visited > MAX_ELEMENTS:
            raise self.damage(f"has more than {MAX_ELEMENTS:,} elements")
        head = self.bytes(place, 8)
        group, number = struct.unpack_from(order + "HH", head)
        letters, offset = head[4:6], place + 8
        tag = group << 16 | number
        if implicit or group == 0xFFFE or not b"AA" <= letters <= b"ZZ":
            vr = ""
            (length,) = struct.unpack_from(order + "I", head, 4)
        else:
            vr = letters.decode("ascii", "replace")
            if vr in _LONG:
                (length,) = struct.unpack(order + "I", self.bytes(offset, 4))
                offset += 4
            else:
                (length,) = struct.unpack_from(order + "H", head, 6)
        if length != _UNDEFINED and offset + length > self.size:
            raise self.damage(
                f"declares an element of {length:,} bytes where {self.size - offset:,} are left, so it is "
                "truncated or damaged"
            )
        return _Element(tag, vr, offset, length)

    def top_level(self, place: int, implicit: bool, order: str) -> PixelElement | None:
        """Walk to the pixels and return where they are; None where the file has none."""
        while self.size - place >= 8:
            element = self.element(place, implicit=implicit, order=order)
            if element.tag in _PIXELS:
                end = self.end(element, implicit, order, 0)
                undefined = element.length == _UNDEFINED
                length = end - element.offset - 8 * undefined
                return PixelElement(element.tag, element.vr or "OW", element.offset, length, undefined)
            if element.tag >> 16 == 0 or element.tag == _ITEM_END:
                raise self.damage("has an element that no image has")
            place = self.end(element, implicit, order, 0)
            if element.tag in self.wanted:
                most = MAX_SEQUENCE_BYTES if self.is_sequence(element) else MAX_VALUE_BYTES
                if place - element.offset > most:
                    raise self.damage("has an oversized header element")
        return None

    def is_sequence(self, element: _Element) -> bool:
        if element.vr in ("", "UN") and dictionary_has_tag(element.tag):
            return dictionary_VR(element.tag) == "SQ"
        return element.vr == "SQ" or (element.vr in ("", "UN") and element.length == _UNDEFINED)

    def end(self, element: _Element, implicit: bool, order: str, depth: int) -> int:
        """The place behind `element`, whose items are walked where a parser would walk them."""
        undefined = element.length == _UNDEFINED
        if element.tag in _PIXELS or (undefined and not self.is_sequence(element)):
            return self.fragments(element.offset, order) if undefined else element.offset + element.length
        if undefined or (self.is_sequence(element) and (depth or element.tag in self.wanted)):
            end = self.size if undefined else element.offset + element.length
            return self.items(element.offset, end, implicit, order, depth + 1, delimited=undefined)
        return element.offset + element.length

    def fragments(self, place: int, order: str) -> int:
        """The place behind encapsulated data: items of defined length, then a sequence delimiter."""
        while True:
            item = self.element(place, implicit=True, order=order)
            if item.tag == _SEQUENCE_END:
                return place + 8
            if item.tag != _ITEM or item.length == _UNDEFINED:
                raise self.damage("has damaged fragments of compressed data")
            place = item.offset + item.length

    def items(self, place: int, end: int, implicit: bool, order: str, depth: int, *, delimited: bool) -> int:
        if depth > MAX_DEPTH:
            raise self.damage(f"nests sequences deeper than {MAX_DEPTH}")
        while place < end:
            item = self.element(place, implicit=True, order=order)
            if item.tag == _SEQUENCE_END and delimited:
                return place + 8
            if item.tag != _ITEM:
                raise self.damage("has a damaged sequence")
            item_end = end if item.length == _UNDEFINED else item.offset + item.length
            if item_end > end:
                raise self.damage("has an item that leaves its sequence")
            place = self.nested(
                item.offset, item_end, implicit, order, depth, delimited=item.length == _UNDEFINED
            )
        if delimited:
            raise self.damage("has a sequence without an end, so it is truncated")
        return end

    def nested(self, place: int, end: int, implicit: bool, order: str, depth: int, *, delimited: bool) -> int:
        """The place behind the data set of an item, which may be implicit within an explicit one."""
        implicit = implicit or self.looks_implicit(place, implicit)
        while place < end:
            element = self.element(place, implicit=implicit, order=order)
            if element.tag == _ITEM_END and delimited:
                return place + 8
            place = self.end(element, implicit, order, depth)
            if place > end or element.tag in (_ITEM, _ITEM_END, _SEQUENCE_END):
                raise self.damage("has an element that leaves its item")
        if delimited:
            raise self.damage("has an item without an end, so it is truncated")
        return place

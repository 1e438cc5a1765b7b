"""What is refused before a parser sees it, and that the walk finds the pixels where pydicom wrote them."""

from __future__ import annotations

import io
import struct
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from dicom_files import RAMP, compressed, radiograph, save, shown
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import JPEG2000Lossless, MediaStorageDirectoryStorage

from cxreport.data.dicom import READ_TAGS, read_dicom
from cxreport.data.dicom_structure import MAX_DEPTH, MAX_ELEMENTS, structure
from cxreport.errors import UserError

UNDEFINED = 0xFFFFFFFF
ITEM_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
PRIVATE = 0x00091001


def element(tag: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    length = len(value) if length is None else length
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    if vr in ("OB", "OW", "SQ", "UN", "UT"):
        return head + struct.pack("<HI", 0, length) + value
    return head + struct.pack("<H", length) + value


def item(value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(value) if length is None else length) + value


def with_element(path: Path, content: bytes, *, before: bytes = b"\x10\x00\x10\x00PN") -> Path:
    """A radiograph with `content` inserted before its patient name."""
    file = save(radiograph(), path).read_bytes()
    place = file.index(before)
    path.write_bytes(file[:place] + content + file[place:])
    return path


@contextmanager
def little_memory(most: int = 8 * 2**20) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


def nested(depth: int) -> bytes:
    content = b""
    for _ in range(depth):
        content = element(PRIVATE, "SQ", item(content + ITEM_END, UNDEFINED) + SEQUENCE_END, UNDEFINED)
    return content


def test_deep_nesting(path):
    assert np.array_equal(read_dicom(with_element(path, nested(MAX_DEPTH))).pixels, shown(radiograph(), path))
    for depth in (MAX_DEPTH + 1, 5000):
        with pytest.raises(UserError, match="nests sequences deeper than 16"):
            read_dicom(with_element(path, nested(depth)))


@pytest.mark.parametrize("vr", ["SQ", "UN"])
def test_a_sequence_of_countless_empty_items(path, vr):
    """Every item would become an object of a kilobyte, from 8 bytes."""
    with_element(path, element(PRIVATE, vr, item(b"") * 200_000 + SEQUENCE_END, UNDEFINED))
    with little_memory(), pytest.raises(UserError, match=f"more than {MAX_ELEMENTS:,} elements"):
        read_dicom(path)


def test_countless_numbers_in_a_window(path):
    """VR UN allows any length where DS allows 64 KiB."""
    window = element(0x00281050, "UN", b"1\\" * 2_000_000)
    with_element(path, window, before=b"\xe0\x7f\x10\x00")
    with little_memory(), pytest.raises(UserError, match="oversized header element"):
        read_dicom(path)


def test_an_oversized_look_up_table(path):
    table = element(0x00283010, "SQ", item(element(0x00283006, "OW", bytes(5 * 2**20))))
    with_element(path, table, before=b"\xe0\x7f\x10\x00")
    with little_memory(), pytest.raises(UserError, match="oversized header element"):
        read_dicom(path)


def test_a_giant_private_element_is_passed_over(path):
    expected = shown(radiograph(), path)
    profile = element(PRIVATE, "OB", bytes(30 * 2**20)) + element(0x0009_1002, "SQ", item(bytes(10 * 2**20)))
    with_element(path, profile)
    with little_memory():
        assert np.array_equal(read_dicom(path).pixels, expected)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (element(PRIVATE, "OB", b"1234", 2**31), "declares an element of 2,147,483,648 bytes"),
        (element(PRIVATE, "LO", b"1234", 0xFFF0), "declares an element of 65,520 bytes"),
        (element(PRIVATE, "SQ", b"\x09\0\2\0\0\0\0\0", UNDEFINED), "damaged sequence"),
        (element(PRIVATE, "SQ", item(b"12345678", UNDEFINED), UNDEFINED), "declares an element"),
        (element(PRIVATE, "OB", item(b"12") + b"\x09\0\2\0\0\0\0\0", UNDEFINED), "damaged fragments"),
        (element(0x00080005, "SQ", item(b"12345678", 80), 16), "item that leaves its sequence"),
        (element(0x00000002, "UI", b"1.2 "), "an element that no image has"),
    ],
)
def test_damaged_lengths(path, content, sentence):
    with pytest.raises(UserError, match=f"{sentence}.*export it again"):
        read_dicom(with_element(path, content))


def test_an_implicit_item_within_an_explicit_file(path):
    inner = struct.pack("<HHI", 0x0008, 0x0104, 4) + b"Text" + ITEM_END
    expected = shown(radiograph(), path)
    with_element(path, element(PRIVATE, "UN", item(inner, UNDEFINED) + SEQUENCE_END, UNDEFINED))
    assert np.array_equal(read_dicom(path).pixels, expected)


def test_a_repeated_transfer_syntax(path):
    """Two readers could believe two different ones, and the second could be deflated."""
    content = save(radiograph(), path).read_bytes()
    place = content.index(b"\x02\x00\x10\x00UI")
    extra = element(0x00020010, "UI", b"1.2.840.10008.1.2.1.99")
    path.write_bytes(content[:place] + extra + content[place:])
    with pytest.raises(UserError, match="repeats an element"):
        read_dicom(path)


def test_a_dicomdir_is_not_followed(path):
    dataset = radiograph()
    dataset.SOPClassUID = MediaStorageDirectoryStorage
    record = Dataset()
    record.ReferencedFileID = ["ETC", "PASSWD"]
    dataset.DirectoryRecordSequence = Sequence([record])
    with pytest.raises(UserError, match="is a DICOMDIR") as caught:
        read_dicom(save(dataset, path))
    assert "PASSWD" not in str(caught.value)


def test_declared_pixels_against_the_file(path):
    with pytest.raises(UserError, match=r"declares 64 x 4096 pixels but holds 6,144 of their 524,288 bytes"):
        read_dicom(save(radiograph(Rows=4096), path))
    for allocated, stored in ((12, 12), (16, 17), (1, 1)):
        with pytest.raises(UserError, match=f"{stored} bits stored in {allocated}"):
            read_dicom(save(radiograph(BitsAllocated=allocated, BitsStored=stored), path))


texts = st.sampled_from(["StudyDescription", "InstitutionName", "ImageComments", "PatientComments"])


@settings(max_examples=60, deadline=None)
@given(data=st.data(), implicit=st.booleans(), encapsulated=st.booleans())
def test_the_walk_finds_the_pixels_that_pydicom_wrote(data, implicit, encapsulated):
    def random_dataset(depth: int) -> Dataset:
        dataset = Dataset()
        for keyword in data.draw(st.sets(texts)):
            setattr(dataset, keyword, data.draw(st.text("abc ", max_size=9)))
        if depth and data.draw(st.booleans()):
            items = [random_dataset(depth - 1) for _ in range(data.draw(st.integers(0, 2)))]
            for inner in items:
                inner.is_undefined_length_sequence_item = data.draw(st.booleans())
            dataset.RequestAttributesSequence = Sequence(items)
            dataset["RequestAttributesSequence"].is_undefined_length = data.draw(st.booleans())
        return dataset

    dataset = radiograph()
    dataset.update(random_dataset(3))
    mark = b"\xff\x4fMARKMARK"
    if encapsulated:
        dataset = compressed(dataset, JPEG2000Lossless, mark, mark)
    else:
        dataset.PixelData = mark + RAMP.tobytes()[len(mark) :]
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2" if implicit else "1.2.840.10008.1.2.1"
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    pixels = structure(file, "x", READ_TAGS).pixels
    value = file.getvalue()[pixels.offset :][: pixels.length]
    assert value == dataset.PixelData
    assert pixels.encapsulated == encapsulated

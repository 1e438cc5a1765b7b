"""Every transfer syntax that is read, against the same picture uncompressed."""

from __future__ import annotations

import io
import json
from base64 import b64decode
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import RAMP, compressed, radiograph, save, shown
from PIL import Image
from pydicom import uid

from cxreport.data import dicom
from cxreport.data.dicom import COMPRESSED, UNCOMPRESSED, read_dicom
from cxreport.errors import UserError

FRAMES = json.loads(Path(__file__).with_name("codestreams.json").read_text())["frames"]
FULL = {"WindowCenter": 2048, "WindowWidth": 4096}
HERE = {"JPEGBaseline8Bit", "JPEG2000", "JPEG2000Lossless", "RLELossless"}


def error(pixels: np.ndarray, stored: np.ndarray, white: int) -> float:
    return np.abs(pixels - stored / white * 255).max()


def test_every_syntax_is_tested():
    assert {syntax.keyword for syntax in COMPRESSED} == {*FRAMES, *HERE}


@pytest.mark.parametrize("keyword", FRAMES)
def test_frames_of_other_encoders(path, keyword):
    frame = b64decode(FRAMES[keyword]["frame"])
    dataset = compressed(radiograph(**FULL), getattr(uid, keyword), frame)
    assert error(shown(dataset, path), RAMP, 4095) <= FRAMES[keyword]["most_error"] + 0.51


@pytest.mark.parametrize("syntax", [uid.RLELossless, uid.JPEG2000Lossless])
@pytest.mark.parametrize("signed", [False, True])
def test_lossless(path, syntax, signed):
    stored = RAMP.astype(np.int16) - 2048 if signed else RAMP
    window = {"WindowCenter": 0 if signed else 2048, "WindowWidth": 4096}
    dataset = radiograph(stored, signed=signed, **window)
    dataset.compress(syntax, encoding_plugin="pylibjpeg")
    assert error(shown(dataset, path), RAMP, 4095) <= 0.51


def test_rle_of_eight_bits(path, gradient):
    dataset = radiograph(gradient, bits=8)
    dataset.compress(uid.RLELossless, encoding_plugin="pylibjpeg")
    assert np.array_equal(shown(dataset, path), gradient)


def test_lossy_jpeg_2000(path):
    dataset = radiograph(**FULL)
    dataset.compress(uid.JPEG2000, encoding_plugin="pylibjpeg", j2k_cr=[8])
    assert error(shown(dataset, path), RAMP, 4095) <= 4


@pytest.mark.parametrize("fragments", [1, 3])
def test_baseline_jpeg_in_fragments(path, fragments):
    eight = (RAMP >> 4).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(eight).save(file, "JPEG", quality=95)
    size = -(-len(file.getvalue()) // fragments // 2) * 2
    pieces = [file.getvalue()[start : start + size] for start in range(0, len(file.getvalue()), size)]
    dataset = compressed(radiograph(eight, bits=8), uid.JPEGBaseline8Bit, *pieces)
    assert error(shown(dataset, path), eight, 255) <= 3


@pytest.mark.parametrize("syntax", sorted(UNCOMPRESSED))
@pytest.mark.parametrize("bits", [8, 12])
def test_uncompressed(path, syntax, bits):
    stored = RAMP if bits == 12 else (RAMP >> 4).astype(np.uint8)
    dataset = radiograph(stored, bits=bits, **FULL) if bits == 12 else radiograph(stored, bits=8)
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == uid.ExplicitVRBigEndian and bits == 12:
        dataset.PixelData = RAMP.astype(">u2").tobytes()
    assert error(shown(dataset, path), stored, 2**bits - 1) <= 0.51


def test_one_codec_decides_the_pixels(path, monkeypatch):
    """Plugins differ in lossy rounding, so what else is installed must not matter."""
    used = []
    real = dicom.get_decoder

    class Recorder:
        def __init__(self, syntax):
            self.decoder = real(syntax)

        def as_array(self, dataset, **options):
            used.append(options["decoding_plugin"])
            return self.decoder.as_array(dataset, **options)

    monkeypatch.setattr(dicom, "get_decoder", Recorder)
    dataset = radiograph(**FULL)
    dataset.compress(uid.RLELossless, encoding_plugin="pydicom")
    shown(dataset, path)
    shown(radiograph(**FULL), path)
    assert used == ["pylibjpeg", ""]


PYDICOM_FILES = Path(pydicom.__file__).parent / "data" / "test_files"


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("MR_small_RLE.dcm", "MR_small.dcm"),
        ("MR_small_jp2klossless.dcm", "MR_small.dcm"),
        ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm"),
        ("MR_small_bigendian.dcm", "MR_small.dcm"),
        ("MR_small_implicit.dcm", "MR_small.dcm"),
    ],
)
def test_twins_among_the_files_that_pydicom_ships(name, twin):
    if not (PYDICOM_FILES / name).exists():
        pytest.skip("this pydicom was packed without its test files")
    first, second = (read_dicom(PYDICOM_FILES / file).pixels for file in (name, twin))
    assert np.array_equal(first, second)


def with_syntax(path: Path, syntax: str) -> Path:
    """An uncompressed file that claims another transfer syntax."""
    content = save(radiograph(), path).read_bytes()
    assert content.count(b"1.2.840.10008.1.2.1\0") == 1
    path.write_bytes(content.replace(b"1.2.840.10008.1.2.1\0", syntax.encode().ljust(20, b"\0")))
    return path


@pytest.mark.parametrize(
    ("syntax", "name"),
    [
        ("1.2.840.10008.1.2.8", "unknown"),
        ("1.2.3.4711.1960", "unknown"),
        ("", "names no transfer syntax"),
    ],
)
def test_unknown_syntaxes_are_refused(path, syntax, name):
    with pytest.raises(UserError, match=name) as caught:
        read_dicom(with_syntax(path, syntax))
    assert "4711" not in str(caught.value)


@pytest.mark.parametrize("syntax", [uid.MPEG2MPML, uid.MPEG4HP41, uid.JPEG2000MC])
def test_other_syntaxes_are_refused_by_name(path, syntax):
    dataset = compressed(radiograph(), syntax, b"\0\0\1\xb3")
    with pytest.raises(UserError) as caught:
        read_dicom(save(dataset, path))
    assert f"has the transfer syntax {syntax.name}, which is not read" in str(caught.value)


def test_what_does_not_fit_the_transfer_syntax(path):
    with pytest.raises(UserError, match="do not fit its transfer syntax"):
        read_dicom(with_syntax(path, uid.RLELossless))
    dataset = compressed(radiograph(), uid.JPEGBaseline8Bit, b"no codestream at all")
    with pytest.raises(UserError, match="holds no compressed image"):
        read_dicom(save(dataset, path))


def test_colours_of_a_codestream_that_calls_itself_grey(path):
    file = io.BytesIO()
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(file, "JPEG")
    dataset = compressed(
        radiograph((RAMP >> 4).astype(np.uint8), bits=8), uid.JPEGBaseline8Bit, file.getvalue()
    )
    with pytest.raises(UserError, match="compressed image of 3 colours"):
        read_dicom(save(dataset, path))

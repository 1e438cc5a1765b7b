from __future__ import annotations

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pydicom
import pytest
from dicom_files import RAMP, compressed, header, radiograph, save
from PIL import Image
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from cxreport.data.dicom import read_dicom
from cxreport.data.images import decode, inspect
from cxreport.errors import UserError


def test_refused_kinds(path):
    rgb = np.zeros((48, 64, 3), np.uint8)
    many = radiograph(np.concatenate([RAMP, RAMP]), NumberOfFrames=2, Rows=48)
    no_pixels = radiograph()
    del no_pixels.PixelData
    cases = [
        (radiograph(rgb, bits=8, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0),
         "colour image"),
        (many, "has several frames"),
        (no_pixels, "has no pixels"),
        (header(), "holds no image"),
        (radiograph(Rows=30_000, Columns=30_000), "declares 30000 x 30000 pixels"),
        (radiograph(Rows=49), "cannot be decoded"),
        (radiograph(np.full((48, 64), 7, np.uint16)), "one single grey"),
    ]  # fmt: skip
    for dataset, sentence in cases:
        with pytest.raises(UserError, match=sentence) as caught:
            read_dicom(save(dataset, path))
        assert not any(secret in str(caught.value) for secret in ("Doe", "MRN4711", "1960"))


def test_not_a_number_pixels(path):
    picture = np.ones((48, 64), np.float32)
    picture[3, 3] = np.nan
    dataset = radiograph()
    del dataset.PixelData
    dataset.BitsAllocated = 32
    dataset.FloatPixelData = picture.tobytes()
    with pytest.raises(UserError, match="not numbers"):
        read_dicom(save(dataset, path))


@pytest.mark.parametrize("share", [0.05, 0.3, 0.9, 0.999])
def test_truncated(path, share):
    content = save(radiograph(), path).read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UserError, match=r"scan\.dcm"):
        read_dicom(path)


@pytest.mark.parametrize("name", ["RG1_J2KI.dcm", "c64d5667-a776-4f95-9e21-bfabafb07740.dcm"])
@pytest.mark.parametrize("share", [0.5, 0.95])
def test_truncated_compressed(shared, path, name, share):
    content = (shared / "data" / "dicom" / name).read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UserError, match=r"scan\.dcm"):
        read_dicom(path)


def test_damaged_header(path):
    content = bytearray(save(radiograph(), path).read_bytes())
    content[132:200] = b"\xff" * 68
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"scan\.dcm"):
        read_dicom(path)


def test_a_deflate_bomb_is_refused_before_it_inflates(path):
    """100 MiB of zeros in 100 kB, as a private element of a deflated data set."""
    save(header(), path)
    meta = path.read_bytes()
    plain = pydicom.dcmread(path)
    plain.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    plain.save_as(path, enforce_file_format=True)
    meta = path.read_bytes()
    length = 12 + struct.unpack("<I", meta[140:144])[0]
    bomb = struct.pack("<HH2sHI", 0x0009, 0x1001, b"OB", 0, 100 * 2**20) + bytes(100 * 2**20)
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
    path.write_bytes(meta[: 132 + length] + squeezer.compress(bomb) + squeezer.flush())
    del bomb
    assert path.stat().st_size < 200_000
    tracemalloc.start()
    with pytest.raises(UserError, match="deflated"):
        read_dicom(path)
    assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    tracemalloc.stop()


def test_a_compressed_frame_larger_than_the_header_says(path, shared):
    real = pydicom.dcmread(shared / "data" / "dicom" / "RG1_J2KI.dcm")
    frame = next(pydicom.encaps.generate_frames(real.PixelData, number_of_frames=1))
    dataset = compressed(radiograph(np.zeros((48, 64), np.uint16), bits=15), JPEG2000Lossless, frame)
    with pytest.raises(UserError, match="its compressed image declares 1841 x 1955"):
        read_dicom(save(dataset, path))


def test_a_codec_that_panics(path):
    """pylibjpeg-rle raises what is no Exception when a segment holds more than the picture."""
    segment = bytes([129, 0xAA]) * 60
    frame = struct.pack("<16I", 2, 64, 64 + len(segment), *[0] * 13) + segment * 2
    with pytest.raises(UserError, match=r"cannot be decoded \(RLE Lossless\)"):
        read_dicom(save(compressed(radiograph(), RLELossless, frame), path))


REAL = {
    "RG1_J2KI.dcm": (1841, 1955, "frontal"),
    "c64d5667-a776-4f95-9e21-bfabafb07740.dcm": (1024, 1024, "frontal"),
    "1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm": (1024, 1024, "frontal"),
}


@pytest.mark.parametrize("name", REAL)
def test_real_chests(shared, name):
    picture = inspect(shared / "data" / "dicom" / name)
    assert (picture.view.width, picture.view.height, picture.view.projection) == REAL[name]
    assert picture.warnings == ()
    small = decode(picture.view, 64).astype(float)
    spine, lungs = small[20:40, 30:34].mean(), small[20:35, 14:24].mean()
    assert spine > lungs + 20, "bone must be brighter than lung"


def test_a_real_photometric_variant_is_the_negative(shared):
    folder = shared / "data" / "dicom"
    positive = read_dicom(folder / "1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm").pixels
    assert np.array_equal(read_dicom(folder / "Fake_MONOHR1.dcm").pixels, 255 - positive)


@pytest.mark.parametrize("name", ["RG3_J2KI.dcm", "RG3_J2KR.dcm"])
def test_a_real_leg_is_not_a_chest(shared, name):
    assert inspect(shared / "data" / "dicom" / name).warnings == ("its body part is EXTREMITY, not a chest",)


def test_the_pixels_of_a_real_negative(shared):
    """RG1 is MONOCHROME1 of 15 bits with a window of 30000 around 15000, decoded here by Pillow."""
    file = shared / "data" / "dicom" / "RG1_J2KI.dcm"
    frame = next(pydicom.encaps.generate_frames(pydicom.dcmread(file).PixelData, number_of_frames=1))
    with Image.open(io.BytesIO(frame)) as image:
        stored = np.asarray(image) / 2  # Pillow shows 15 bits as 16
    expected = 255 - np.clip((stored - 14999.5) / 29999 + 0.5, 0, 1) * 255
    pixels = read_dicom(file).pixels
    assert np.abs(pixels - expected).max() <= 1
    assert (pixels.mean(), np.median(pixels)) == pytest.approx((192.2, 207), abs=0.5)
    shoulder, lung, spine = pixels[250:350, 150:250], pixels[700:900, 450:600], pixels[1500:1700, 880:960]
    assert lung.mean() < shoulder.mean() < spine.mean()

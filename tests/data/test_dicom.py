from __future__ import annotations

import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
)

from cxreport.data.dicom import read_dicom
from cxreport.data.images import decode, inspect, read_image
from cxreport.errors import UserError

RAMP = np.linspace(0, 4095, 64 * 48).round().astype(np.uint16).reshape(48, 64)


def header(**elements) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = "1.2.3"
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = "Doe^Jane", "MRN4711", "19600229"
    dataset.Modality = "CR"
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def radiograph(stored: np.ndarray = RAMP, *, bits: int = 12, signed: bool = False, **elements) -> Dataset:
    dataset = header()
    dataset.Rows, dataset.Columns = stored.shape[:2]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = stored.dtype.itemsize * 8
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelRepresentation = int(signed)
    dataset.PixelData = stored.tobytes()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scan.dcm"


def save(dataset: Dataset, path: Path) -> Path:
    dataset.save_as(path, enforce_file_format=True)
    return path


def shown(dataset: Dataset, path: Path) -> np.ndarray:
    return read_dicom(save(dataset, path)).pixels


def test_monochrome1_is_inverted_exactly_once(path):
    window = {"WindowCenter": 2047.5, "WindowWidth": 4096}
    bright = shown(radiograph(**window), path)
    inverted = shown(radiograph(4095 - RAMP, PhotometricInterpretation="MONOCHROME1", **window), path)
    assert bright[0, 0] == 0
    assert bright[-1, -1] == 255
    assert np.abs(bright.astype(int) - inverted).max() <= 1
    with_lut_shape = radiograph(
        4095 - RAMP, PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE", **window
    )
    assert np.array_equal(shown(with_lut_shape, path), inverted)


def linear(x: np.ndarray, center: float, width: float) -> np.ndarray:
    """PS3.3 C.11.2.1.2.1 onto 0 .. 255."""
    return np.clip((x - (center - 0.5)) / (width - 1) + 0.5, 0, 1) * 255


def linear_exact(x: np.ndarray, center: float, width: float) -> np.ndarray:
    """PS3.3 C.11.2.1.3.2 onto 0 .. 255."""
    return np.clip((x - center) / width + 0.5, 0, 1) * 255


def sigmoid(x: np.ndarray, center: float, width: float) -> np.ndarray:
    """PS3.3 C.11.2.1.3.1 onto 0 .. 255."""
    return 255 / (1 + np.exp(-4 * (x - center) / width))


@pytest.mark.parametrize(
    ("function", "expected"), [("LINEAR", linear), ("LINEAR_EXACT", linear_exact), ("SIGMOID", sigmoid)]
)
def test_window_functions(path, function, expected):
    dataset = radiograph(WindowCenter=1500, WindowWidth=1000, VOILUTFunction=function)
    wanted = expected(RAMP.astype(float), 1500, 1000)
    assert np.abs(shown(dataset, path) - wanted).max() <= 0.51


def test_the_first_of_several_windows(path):
    several = radiograph(WindowCenter=[1500, 9000], WindowWidth=[1000, 10])
    assert np.abs(shown(several, path) - linear(RAMP.astype(float), 1500, 1000)).max() <= 0.51


def test_rescale_comes_before_the_window(path):
    dataset = radiograph(RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=2000, WindowWidth=1000)
    wanted = linear(RAMP.astype(float) * 2 - 1000, 2000, 1000)
    assert np.abs(shown(dataset, path) - wanted).max() <= 0.51


def test_modality_lut(path):
    table = Dataset()
    table.LUTDescriptor = [4096, 0, 16]
    table.add_new("LUTData", "US", [4095 - value for value in range(4096)])
    dataset = radiograph(ModalityLUTSequence=Sequence([table]), WindowCenter=2048, WindowWidth=4096)
    dataset["ModalityLUTSequence"][0].ModalityLUTType = "US"
    wanted = linear(4095.0 - RAMP, 2048, 4096)
    assert np.abs(shown(dataset, path) - wanted).max() <= 0.51


def test_voi_lut_is_preferred_to_the_window(path):
    table = Dataset()
    table.LUTDescriptor = [1024, 1000, 12]
    table.add_new("LUTData", "US", [4 * value for value in range(1024)])
    dataset = radiograph(VOILUTSequence=Sequence([table]), WindowCenter=10, WindowWidth=5)
    wanted = np.clip((RAMP.astype(float) - 1000) / 1023, 0, 1) * 255
    assert np.abs(shown(dataset, path) - wanted).max() <= 0.51


def test_without_window_the_percentiles_are_stretched(path):
    picture = RAMP // 4 + 1000
    picture[0, :5] = 60_000
    result = shown(radiograph(picture, bits=16), path)
    low, high = np.percentile(picture, (0.5, 99.5))
    wanted = np.clip((picture - low) / (high - low), 0, 1) * 255
    assert np.abs(result - wanted).max() <= 0.51


def test_eight_bits_without_window_are_shown_as_they_are(path, gradient):
    assert np.array_equal(shown(radiograph(gradient, bits=8), path), gradient)


def test_signed_pixels(path):
    result = shown(radiograph(RAMP.astype(np.int16) - 2048, signed=True), path)
    unsigned = shown(radiograph(RAMP), path)
    assert np.array_equal(result, unsigned)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_outside_the_percentiles(path, photometric):
    picture = RAMP + 100
    without = shown(radiograph(picture[8:], PhotometricInterpretation=photometric, bits=13), path)
    picture[:8] = 7777
    dataset = radiograph(picture, bits=13, PhotometricInterpretation=photometric, PixelPaddingValue=7777)
    result = shown(dataset, path)
    assert (result[:8] == 0).all()
    assert np.array_equal(result[8:], without)


def test_padding_range_and_sign(path):
    picture = RAMP.astype(np.int16) + 10
    picture[:4], picture[4:8] = -2000, -1990
    dataset = radiograph(picture, bits=16, signed=True)
    dataset.add_new("PixelPaddingValue", "US", 2**16 - 2000)
    dataset.add_new("PixelPaddingRangeLimit", "SS", -1985)
    result = shown(dataset, path)
    assert (result[:8] == 0).all()
    assert result[8:].max() == 255


def test_an_unusable_window_is_replaced_with_a_warning(path):
    plain = shown(radiograph(), path)
    for center, width in ((2000, 0), (90_000, 10), (2000, float("nan"))):
        dataset = radiograph()
        if np.isnan(width):
            dataset.WindowCenter, dataset.WindowWidth = [], []
        else:
            dataset.WindowCenter, dataset.WindowWidth = center, width
        result = read_dicom(save(dataset, path))
        assert np.array_equal(result.pixels, plain)
        assert "window" in result.warnings[0]


@pytest.mark.parametrize(
    ("elements", "projection"),
    [
        ({"ViewPosition": "PA"}, "frontal"),
        ({"ViewPosition": "AP"}, "frontal"),
        ({"ViewPosition": "LL"}, "lateral"),
        ({"ViewPosition": "LATERAL"}, "lateral"),
        ({"PatientOrientation": ["L", "F"]}, "frontal"),
        ({"PatientOrientation": ["P", "F"]}, "lateral"),
        ({"ViewPosition": "", "SeriesDescription": "Chest PA"}, "frontal"),
        ({"SeriesDescription": "Chest lat."}, "lateral"),
        ({"SeriesDescription": "Chest PA and LAT"}, None),
        ({}, None),
    ],
)
def test_projection(path, elements, projection):
    assert read_dicom(save(radiograph(**elements), path)).projection == projection
    assert read_image(path).projection == projection


@pytest.mark.parametrize(
    ("elements", "word"),
    [
        ({"BodyPartExamined": "HAND"}, "HAND, not a chest"),
        ({"BodyPartExamined": "DOE JANE"}, "another, not a chest"),
        ({"Modality": "CT"}, "not radiography"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "FOR PROCESSING"),
        ({"BurnedInAnnotation": "YES"}, "burned-in"),
    ],
)
def test_warnings(path, elements, word):
    (warning,) = inspect(save(radiograph(**elements), path)).warnings
    assert word in warning
    assert inspect(save(radiograph(BodyPartExamined="CHEST"), path)).warnings == ()


def test_refused_kinds(path):
    rgb = np.zeros((48, 64, 3), np.uint8)
    many = radiograph(np.concatenate([RAMP, RAMP]), NumberOfFrames=2, Rows=48)
    no_pixels = radiograph()
    del no_pixels.PixelData
    cases = [
        (radiograph(rgb, bits=8, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0),
         "colour image"),
        (many, "has 2 frames"),
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
    dataset = radiograph(np.zeros((48, 64), np.uint16), bits=15)
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    dataset.PixelData = encapsulate(
        [next(pydicom.encaps.generate_frames(real.PixelData, number_of_frames=1))]
    )
    dataset["PixelData"].is_undefined_length = True
    with pytest.raises(UserError, match="its compressed image declares 1841 x 1955"):
        read_dicom(save(dataset, path))


SECRETS = ("Doe", "Jane", "MRN4711", "1960", "2020")


def test_no_name_leaves(path, capfd, caplog, recwarn):
    dataset = radiograph(StudyDate="20200102", SeriesDescription="Doe PA")
    picture = read_dicom(save(dataset, path))
    view = inspect(path).view
    said = [picture.warnings, view.projection, capfd.readouterr(), caplog.text, recwarn.list]
    assert not any(secret in str(said) for secret in SECRETS)
    assert not any(secret.encode() in view.image for secret in SECRETS)


@pytest.mark.parametrize("field", ["WindowWidth", "RescaleSlope", "NumberOfFrames", "PixelAspectRatio"])
def test_malformed_fields_are_not_quoted(path, capfd, caplog, recwarn, field):
    elements = {"RescaleIntercept": 0, "RescaleSlope": 1, "WindowCenter": 2000, "WindowWidth": 4000}
    dataset = radiograph(**(elements | {field: 4711}))
    content = save(dataset, path).read_bytes()
    assert content.count(b"4711") == 2, "the patient id and the field"
    place = content.rindex(b"4711")
    path.write_bytes(content[:place] + b"Jane" + content[place + 4 :])
    capfd.readouterr()
    recwarn.clear()
    caplog.clear()
    said: list[object] = []
    try:
        said.append(read_dicom(path).warnings)
    except UserError as error:
        said += [error, error.__cause__]
    said += [capfd.readouterr(), caplog.text, recwarn.list]
    assert not any(secret in str(said) for secret in SECRETS)


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

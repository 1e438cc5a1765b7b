"""The grey scale against hand computation, the formulas of the standard, and pydicom's own functions."""

from __future__ import annotations

import numpy as np
import pytest
from dicom_files import RAMP, radiograph, save, shown
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from cxreport.data.dicom import read_dicom
from cxreport.data.dicom_grey import displayed
from cxreport.errors import UserError

FULL = {"WindowCenter": 2048, "WindowWidth": 4096}


def table(first: int, bits: int, entries: list[int]) -> Sequence:
    """A sequence of one look-up table."""
    item = Dataset()
    item.LUTDescriptor = [len(entries) % 2**16, first, bits]
    item.add_new("LUTData", "OW", np.array(entries, "<u2").tobytes())
    return Sequence([item])


def test_monochrome1_is_inverted_exactly_once(path):
    window = {"WindowCenter": 2047.5, "WindowWidth": 4096}
    bright = shown(radiograph(**window), path)
    inverted = shown(radiograph(4095 - RAMP, PhotometricInterpretation="MONOCHROME1", **window), path)
    assert bright[0, 0] == 0
    assert bright[-1, -1] == 255
    assert np.abs(bright.astype(int) - inverted).max() <= 1
    for shape, notes in (("INVERSE", 0), ("IDENTITY", 1)):
        dataset = radiograph(4095 - RAMP, PhotometricInterpretation="MONOCHROME1", **window)
        dataset.PresentationLUTShape = shape
        result = read_dicom(save(dataset, path))
        assert np.array_equal(result.pixels, inverted)
        assert len(result.warnings) == notes


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
    negative = table(0, 16, [4095 - value for value in range(4096)])
    dataset = radiograph(ModalityLUTSequence=negative, **FULL)
    wanted = linear(4095.0 - RAMP, 2048, 4096)
    assert np.abs(shown(dataset, path) - wanted).max() <= 0.51


def test_voi_lut_is_preferred_to_the_window(path):
    steep = table(1000, 12, [4 * value for value in range(1024)])
    dataset = radiograph(VOILUTSequence=steep, WindowCenter=10, WindowWidth=5)
    wanted = np.clip(4 * (RAMP.astype(float) - 1000), 0, 4092) / 4095 * 255
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


def test_a_presentation_lut_replaces_the_polarity(path):
    dataset = radiograph(PhotometricInterpretation="MONOCHROME1", **FULL)
    dataset.PresentationLUTSequence = table(0, 12, [value // 2 for value in range(4096)])
    assert np.abs(shown(dataset, path) - linear(RAMP.astype(float), 2048, 4096) / 2).max() <= 0.6


@settings(max_examples=60, deadline=None)
@given(
    center=st.floats(-3000, 6000),
    width=st.floats(2, 9000),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
    slope=st.sampled_from([1.0, 0.5, -2.0, 3.7]),
    intercept=st.floats(-2000, 2000),
    signed=st.booleans(),
)
def test_windows_agree_with_pydicom(center, width, function, slope, intercept, signed):
    stored = RAMP.astype(np.int16) - 2048 if signed else RAMP
    dataset = radiograph(stored, signed=signed, VOILUTFunction=function)
    dataset.WindowCenter, dataset.WindowWidth = f"{center:.6g}", f"{width:.6g}"
    dataset.RescaleSlope, dataset.RescaleIntercept = slope, f"{intercept:.6g}"
    with np.errstate(over="ignore"):
        theirs = apply_voi_lut(apply_modality_lut(stored, dataset), dataset)
    ends = np.array([-2048, 2047]) if signed else np.array([0, 4095])
    black, white = ends * slope + float(dataset.RescaleIntercept)
    theirs = (theirs - black) / (white - black) * 255
    if np.ptp(np.rint(theirs)) == 0:
        return
    ours, notes = displayed(dataset, stored, "x")
    assert notes == []
    assert np.abs(ours - theirs).max() <= 0.51


@pytest.mark.parametrize(
    ("kind", "bits"), [("modality", 8), ("modality", 16), ("voi", 8), ("voi", 12), ("voi", 16)]
)
def test_tables_agree_with_pydicom(kind, bits):
    rng = np.random.default_rng(bits)
    entries = np.sort(rng.integers(0, 2**bits, 200))
    entries[-1] = 2**bits - 1
    name = "ModalityLUTSequence" if kind == "modality" else "VOILUTSequence"
    dataset = radiograph(RAMP // 16, **{name: table(20, bits, entries.tolist())})
    if kind == "modality":
        dataset.WindowCenter, dataset.WindowWidth, dataset.VOILUTFunction = (
            2**bits / 2,
            2**bits,
            "LINEAR_EXACT",
        )
        theirs = apply_modality_lut(RAMP // 16, dataset).astype(float) / 2**bits * 255
    else:
        theirs = apply_voi_lut(RAMP // 16, dataset).astype(float) / (2**bits - 1) * 255
    assert np.abs(displayed(dataset, RAMP // 16, "x")[0] - theirs).max() <= 0.51


def test_a_table_that_starts_below_zero(path):
    stored = RAMP.astype(np.int16) - 2048
    entries = list(range(4096))
    for first in (-2048, 2**16 - 2048):  # as SS, and in the wrong sign as US
        item = table(0, 12, entries)
        item[0].add_new("LUTDescriptor", "SS" if first < 0 else "US", [4096, first, 12])
        result = shown(radiograph(stored, signed=True, VOILUTSequence=item), path)
        assert np.abs(result - RAMP / 4095 * 255).max() <= 0.51


def test_a_table_of_eight_bits_with_more_than_256_entries(path):
    """Two entries in a word, as PS3.3 C.11.1.1.1 packs them, or one."""
    entries = (np.arange(4096) >> 4).astype(np.uint8)
    packed = table(0, 8, entries.tolist())
    packed[0].add_new("LUTData", "OW", entries.tobytes())
    for item in (packed, table(0, 8, entries.tolist())):
        assert np.array_equal(shown(radiograph(VOILUTSequence=item), path), (RAMP >> 4).astype(np.uint8))


def test_a_full_table_of_65536_entries(path):
    stored = (RAMP * 16).astype(np.uint16)
    item = table(0, 16, list(range(2**16)))
    assert item[0].LUTDescriptor[0] == 0
    result = shown(radiograph(stored, bits=16, VOILUTSequence=item), path)
    assert np.abs(result - stored / 65535 * 255).max() <= 0.51


def test_white_of_a_table_with_fewer_bits_than_it_declares(path):
    declared_sixteen = radiograph(VOILUTSequence=table(0, 16, list(range(4096))))
    assert np.abs(shown(declared_sixteen, path) - RAMP / 4095 * 255).max() <= 0.51


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_tables_in_other_encodings(path, syntax):
    dataset = radiograph(VOILUTSequence=table(1000, 12, [4 * value for value in range(1024)]))
    expected = shown(dataset, path)
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = RAMP.astype(">u2").tobytes()
        item = dataset.VOILUTSequence[0]
        item.LUTData = np.frombuffer(item.LUTData, "<u2").astype(">u2").tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    assert np.array_equal(shown(dataset, path), expected)


def test_an_unusable_table_gives_way_to_the_window(path):
    broken = table(0, 12, [0, 4095])
    broken[0].LUTDescriptor = [4096, 0, 12]
    result = read_dicom(save(radiograph(VOILUTSequence=broken, **FULL), path))
    assert np.array_equal(result.pixels, shown(radiograph(**FULL), path))
    assert result.warnings == ("its VOI look-up table is unusable and was not applied",)


@pytest.mark.parametrize("bits", [8, 9, 10, 12, 14, 15, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_bits_stored_and_sign(path, bits, signed):
    kind = ("i" if signed else "u") + ("1" if bits == 8 else "2")
    lowest = -(2 ** (bits - 1)) if signed else 0
    stored = (np.linspace(0, 2**bits - 1, 3072).round().astype(int) + lowest).astype(kind).reshape(48, 64)
    window = {"WindowCenter": lowest + 2 ** (bits - 1), "WindowWidth": 2**bits}
    result = shown(radiograph(stored, bits=bits, signed=signed, **window), path)
    assert np.abs(result - np.linspace(0, 255, 3072).reshape(48, 64)).max() <= 1


def test_an_overlay_in_the_unused_bits_is_not_shown(path):
    overlay = RAMP.copy()
    overlay[10:20, 10:20] |= 0xF000
    assert np.array_equal(shown(radiograph(overlay, **FULL), path), shown(radiograph(**FULL), path))


@pytest.mark.parametrize("signed", [False, True])
def test_left_aligned_pixels(path, signed):
    stored = RAMP.astype(np.int16) - 2048 if signed else RAMP
    window = {"WindowCenter": 0 if signed else 2048, "WindowWidth": 4096}
    right = shown(radiograph(stored, signed=signed, **window), path)
    left = radiograph((stored << 4) + 7 * (stored * 0 + 1), signed=signed, HighBit=15, **window)
    assert np.array_equal(shown(left, path), right)


def test_a_wrong_high_bit_of_right_aligned_pixels(path):
    assert np.array_equal(shown(radiograph(HighBit=15, **FULL), path), shown(radiograph(**FULL), path))


def test_nothing_but_padding(path):
    dataset = radiograph(np.full((48, 64), 9, np.uint16), PixelPaddingValue=9)
    with pytest.raises(UserError, match="nothing but padding"):
        read_dicom(save(dataset, path))


def test_a_rescale_that_cannot_be_used(path):
    for slope in (0, "1e308"):
        with pytest.raises(UserError, match="grey scale that cannot be applied"):
            read_dicom(save(radiograph(RescaleSlope=slope, RescaleIntercept="1e308"), path))


@pytest.mark.parametrize("allocated", ["u4", "f4", "f8"])
def test_wide_pixels(path, allocated):
    stored = RAMP.astype(allocated)
    dataset = radiograph(stored, bits=32, **FULL)
    keyword = {"u4": "PixelData", "f4": "FloatPixelData", "f8": "DoubleFloatPixelData"}[allocated]
    del dataset.PixelData
    setattr(dataset, keyword, stored.tobytes())
    assert np.array_equal(shown(dataset, path), shown(radiograph(**FULL), path))

"""The grey scale of a DICOM radiograph: from stored values to 8 bits with air dark.

Order (PS3.4 N.2): modality LUT or rescale, VOI LUT or window, polarity. All of it is worked out once per
possible stored value, not per pixel, so it costs the same for any size of picture. pydicom's functions of the
same purpose are the reference in the tests; they reject look-up tables that start below zero and wrap those
with more than 256 entries of 8 bits, which is why they are not used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from cxreport.data.pixels import row_blocks
from cxreport.errors import UserError

Values = NDArray[np.float64]
PERCENTILES = (0.5, 99.5)

_UNUSABLE = (ValueError, TypeError, IndexError, AttributeError, KeyError, NotImplementedError, OverflowError)


def displayed(dataset: Dataset, stored: NDArray[np.number], name: str) -> tuple[NDArray[np.uint8], list[str]]:
    """The picture (H, W) uint8 of `stored` (H, W), and sentences on what is suspicious about its grey scale.

    Padding becomes black. Raises UserError where pixels are not numbers, nothing but padding, or one grey.
    """
    scale = _counted(stored)
    padding = _padding(dataset, scale.values)
    present = (scale.counts > 0) & ~padding
    if not np.isfinite(scale.values[scale.counts > 0].astype(np.float64)).all():
        raise UserError(f"{name} holds pixels that are not numbers (NaN or infinite); export it again.")
    if not present.any():
        raise UserError(f"{name} shows nothing but padding; it is not a radiograph.")
    notes: list[str] = []
    values = _modality(dataset, scale.values.astype(np.float64))
    brightness = _presented(dataset, _shown(dataset, values, scale.counts * present, present, notes), notes)
    table = np.rint(255 * np.where(padding, 0, np.clip(brightness, 0, 1))).astype(np.uint8)
    if len(np.unique(table[present])) < 2:
        raise UserError(f"{name} shows one single grey; it is not a radiograph.")
    grey = np.empty(stored.shape, np.uint8)
    for rows in row_blocks(stored):
        np.take(table, scale.codes[rows], out=grey[rows], mode="clip")  # "clip" needs no check and no buffer
    return grey, notes


@dataclass(frozen=True, slots=True)
class _Scale:
    """``values[codes]`` is the picture; ``counts`` says how many pixels have each value."""

    values: NDArray[np.number]
    codes: NDArray[np.integer]
    counts: NDArray[np.int64]


def _counted(stored: NDArray[np.number]) -> _Scale:
    if stored.dtype.kind not in "ui" or stored.dtype.itemsize > 2:
        values, codes, counts = np.unique(stored, return_inverse=True, return_counts=True)
        return _Scale(values, codes.reshape(stored.shape), counts)
    native = np.ascontiguousarray(stored, dtype=stored.dtype.newbyteorder("="))
    bits = 8 * native.dtype.itemsize
    codes = native.view(f"u{native.dtype.itemsize}")
    counts = np.zeros(2**bits, np.int64)
    for rows in row_blocks(codes):
        counts += np.bincount(codes[rows].ravel(), minlength=2**bits)
    return _Scale(np.arange(2**bits, dtype=codes.dtype).view(native.dtype), codes, counts)


def _padding(dataset: Dataset, values: NDArray[np.number]) -> NDArray[np.bool_]:
    """Which stored values mean that no detector was there (PS3.3 C.7.5.1.1.2)."""
    if dataset.get("PixelPaddingValue") is None:
        return np.zeros(values.shape, dtype=bool)
    first = _signed(dataset, dataset.PixelPaddingValue)
    limit = dataset.get("PixelPaddingRangeLimit")
    last = first if limit is None else _signed(dataset, limit)
    return (values >= min(first, last)) & (values <= max(first, last))


def _signed(dataset: Dataset, value: int | bytes) -> int:
    """A padding value in the sign of the pixels; files often store it in the other."""
    bits, signed = int(dataset.BitsAllocated), int(dataset.get("PixelRepresentation") or 0) == 1
    number = int.from_bytes(value, "little") if isinstance(value, bytes) else int(value)
    number %= 2**bits
    return number - 2**bits if signed and number >= 2 ** (bits - 1) else number


def _modality(dataset: Dataset, values: Values) -> Values:
    """PS3.3 C.11.1: the modality LUT, else slope and intercept."""
    if dataset.get("ModalityLUTSequence"):
        return _LookUp.read(dataset.ModalityLUTSequence[0], values).of(values)
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    result = values * float(1 if slope is None else slope) + float(0 if intercept is None else intercept)
    if slope is not None and not (np.isfinite(result).all() and float(slope)):
        raise ValueError("a rescale that cannot be used")
    return result


def _shown(
    dataset: Dataset, values: Values, counts: NDArray[np.int64], present: NDArray[np.bool_], notes: list[str]
) -> Values:
    """Brightness 0 .. 1 of every value: VOI LUT, else window, else 8 bits as they are, else percentiles."""
    for transform, keywords in ((_voi_lut, ("VOILUTSequence",)), (_window, ("WindowCenter", "WindowWidth"))):
        if any(keyword not in dataset for keyword in keywords):
            continue
        try:
            shown = transform(dataset, values)
        except _UNUSABLE:
            shown = None
        if shown is not None and np.ptp(np.rint(255 * np.clip(shown[present], 0, 1))) > 0:
            return shown
        notes.append(
            "its VOI look-up table is unusable and was not applied"
            if transform is _voi_lut
            else "its window is unusable, so the grey scale comes from percentiles"
        )
    eight_bits = int(dataset.get("BitsAllocated") or 0) == int(dataset.get("BitsStored") or 8) == 8
    if eight_bits and values.min() >= 0 and values.max() <= 255:
        return values / 255
    low, high = (_percentile(values, counts, share) for share in PERCENTILES)
    if not high > low:
        low, high = values[present].min(), values[present].max()
    return (values - low) / (high - low) if high > low else np.zeros(values.shape)


def _percentile(values: Values, counts: NDArray[np.int64], percent: float) -> float:
    """``np.percentile`` of a picture whose value ``values[i]`` occurs ``counts[i]`` times."""
    order = np.argsort(values, kind="stable")
    until = np.cumsum(counts[order])
    place = (until[-1] - 1) * percent / 100
    below, above = (
        values[order[np.searchsorted(until, int(rank), side="right")]]
        for rank in (np.floor(place), np.ceil(place))
    )
    return float(below + (above - below) * (place - np.floor(place)))


def _voi_lut(dataset: Dataset, values: Values) -> Values:
    """The first VOI LUT; it is preferred to a window, as both are alternatives (PS3.3 C.11.2.1.1)."""
    table = _LookUp.read(dataset.VOILUTSequence[0], values)
    return table.of(values) / table.white


def _window(dataset: Dataset, values: Values) -> Values:
    """The first window (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
    center, width = (float(np.atleast_1d(dataset[key].value)[0]) for key in ("WindowCenter", "WindowWidth"))
    function = str(dataset.get("VOILUTFunction") or "LINEAR").upper()
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    if not np.isfinite([center, width]).all() or width < 0 or (width == 0 and function != "LINEAR"):
        raise ValueError("a window without a width")
    if width == 0:
        return (values > center).astype(np.float64)
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700)))
    if function in ("LINEAR", "LINEAR_EXACT"):
        return (values - center) / width + 0.5
    raise ValueError("an unknown function")


def _presented(dataset: Dataset, brightness: Values, notes: list[str]) -> Values:
    """Polarity: MONOCHROME1 says that the lowest value is white (PS3.3 C.7.6.3.1.2).

    PresentationLUTShape repeats it (C.8.11.3.1.2) and is known to be wrong where both disagree
    (dcm4chee-arc-light 3155), so it decides nothing. A PresentationLUTSequence replaces the polarity.
    """
    if dataset.get("PresentationLUTSequence"):
        item = dataset.PresentationLUTSequence[0]
        table = _LookUp.read(item, brightness)
        return (
            table.of(np.rint(np.clip(brightness, 0, 1) * (len(table.entries) - 1)) + table.first)
            / table.white
        )
    inverted = dataset.PhotometricInterpretation == "MONOCHROME1"
    shape = str(dataset.get("PresentationLUTShape") or "").upper()
    if shape in ("IDENTITY", "INVERSE") and (shape == "INVERSE") != inverted:
        notes.append(
            "its presentation LUT shape contradicts its photometric interpretation, which was followed"
        )
    return 1 - np.clip(brightness, 0, 1) if inverted else brightness


@dataclass(frozen=True, slots=True)
class _LookUp:
    """A table of PS3.3 C.11.1.1 and C.11.2.1.1: values up to ``first`` give ``entries[0]``, and so on."""

    first: int
    entries: Values
    white: float

    @classmethod
    def read(cls, item: Dataset, values: Values) -> _LookUp:
        """The table of a LUT item, for `values` that may be negative."""
        count, first, bits = (int(number) for number in item.LUTDescriptor)
        count, first = count % 2**16 or 2**16, first % 2**16
        if first >= 2**15 and values.min() < 0:
            first -= 2**16
        data = item["LUTData"].value
        if isinstance(data, bytes):
            packed = bits <= 8 and len(data) < 2 * count
            order = ">" if item.original_encoding[1] is False else "<"
            entries = np.frombuffer(data, "u1" if packed else order + "u2", count=count)
        else:
            entries = np.atleast_1d(np.asarray(data)) % 2**16
        if len(entries) < count:
            raise ValueError("a table with too few entries")
        largest = int(entries.max())
        # Writers are known to declare 16 bits for entries of 12, which would show as nearly black.
        trusted = largest < 2**bits and largest.bit_length() > bits - 2
        white = 2 ** (bits if trusted else max(1, largest.bit_length())) - 1
        return cls(first, entries[:count].astype(np.float64), float(white))

    def of(self, values: Values) -> Values:
        places = np.clip(values - self.first, 0, len(self.entries) - 1)
        return self.entries[np.rint(places).astype(np.intp)]

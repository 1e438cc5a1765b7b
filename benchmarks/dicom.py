"""Reading DICOM radiographs: decoding, grey scale and isolation, each against pydicom or the plain way.

    python benchmarks/dicom.py [--quick] [--repeats 7] [--json FILE]

- ``rle``: RLE to stored values, against pydicom's own RLE decoder (``decoding_plugin="pydicom"``).
- ``grey``: stored values to 8 bits (rescale, window, MONOCHROME1), against pydicom's ``apply_modality_lut``
  and ``apply_voi_lut`` with the inversion and scaling in NumPy.
- ``read``: the RLE file to 8 bits, against the same two steps of pydicom on the same file.
- ``isolated``: the file read in the worker, against the same in the process; a ratio below 1 is the price.
- ``start``: seconds until a new worker has read its first (tiny) file; no peer.

The picture is 3056 x 2544 pixels of 12 bits: a smooth body with detector noise. Ratios are medians of runs
that alternate between the two sides, above 1 where ours is faster. Both sides must agree on the pixels.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut, get_decoder
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, RLELossless

from cxreport.data.dicom import _stored, read_dicom
from cxreport.data.dicom_grey import displayed
from cxreport.data.isolation import IsolatedReader

Side = Callable[[], np.ndarray]


def radiograph(height: int, width: int) -> Dataset:
    """A MONOCHROME1 radiograph (height, width) of 12 bits, compressed as RLE."""
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    body = 2600 * np.exp(-(rows**2) - 2 * columns**2) + 500 * np.cos(9 * rows) * np.exp(-9 * columns**2)
    noise = np.random.default_rng(0).normal(0, 12, (height, width))
    stored = np.clip(600 + body + noise, 0, 4095).round().astype(np.uint16)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = ComputedRadiographyImageStorage, "1.2.3"
    dataset.Rows, dataset.Columns = height, width
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME1"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
    dataset.WindowCenter, dataset.WindowWidth = 2048, 4096
    dataset.PixelData = stored.tobytes()
    dataset.compress(RLELossless, encoding_plugin="pylibjpeg")
    return dataset


def pydicom_stored(dataset: Dataset) -> np.ndarray:
    stored, _ = get_decoder(RLELossless).as_array(dataset, decoding_plugin="pydicom")
    return stored


def pydicom_grey(dataset: Dataset, stored: np.ndarray) -> np.ndarray:
    shown = apply_voi_lut(apply_modality_lut(stored, dataset), dataset)
    return np.rint(255 - shown * (255 / 4095)).astype(np.uint8)


def compared(ours: Side, peer: Side, repeats: int, most: int) -> dict[str, float]:
    """Median seconds of both sides and the median of their ratios; they may differ by `most` greys."""
    assert np.abs(ours().astype(int) - peer().astype(int)).max() <= most, "the two sides disagree"
    pairs = []
    for _ in range(repeats):
        times = []
        for side in (ours, peer):
            start = time.perf_counter()
            side()
            times.append(time.perf_counter() - start)
        pairs.append(times)
    medians = [statistics.median(column) for column in zip(*pairs, strict=True)]
    ratio = statistics.median(peer / ours for ours, peer in pairs)
    return {"seconds": medians[0], "peer_seconds": medians[1], "ratio": ratio}


def first_answer() -> float:
    """Seconds from nothing to the first picture out of a worker."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(file, "PNG")
    start = time.perf_counter()
    with IsolatedReader() as reader:
        reader.inspect_bytes(file.getvalue(), "tiny")
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small picture and few repeats")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    arguments = parser.parse_args()
    height, width, repeats = (764, 636, 3) if arguments.quick else (3056, 2544, arguments.repeats)
    dataset = radiograph(height, width)
    stored = pydicom_stored(dataset)
    with tempfile.TemporaryDirectory() as folder, IsolatedReader() as reader:
        path = Path(folder) / "rle.dcm"
        dataset.save_as(path, enforce_file_format=True)

        def pydicom_read() -> np.ndarray:
            whole = pydicom.dcmread(path)
            return pydicom_grey(whole, pydicom_stored(whole))

        rows = {
            "rle": compared(
                lambda: _stored(dataset, RLELossless), lambda: pydicom_stored(dataset), repeats, most=0
            ),
            "grey": compared(
                lambda: displayed(dataset, stored, "x")[0],
                lambda: pydicom_grey(dataset, stored),
                repeats,
                most=1,
            ),
            "read": compared(lambda: read_dicom(path).pixels, pydicom_read, repeats, most=1),
            "isolated": compared(
                lambda: reader.picture(path).grey, lambda: read_dicom(path).pixels, repeats, most=0
            ),
        }
    start = statistics.median(first_answer() for _ in range(3))
    print(
        f"{height} x {width} pixels, {repeats} repeats, pydicom {pydicom.__version__}, {platform.machine()}"
    )
    for name, row in rows.items():
        times = f"{1000 * row['seconds']:8.1f} ms  peer {1000 * row['peer_seconds']:8.1f} ms"
        print(f"{name:9} {times}  ratio {row['ratio']:6.2f}")
    print(f"start     {1000 * start:8.1f} ms")
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"rows": rows, "start_seconds": start, "repeats": repeats}, indent=1)
        )


if __name__ == "__main__":
    main()

"""DICOM files that the tests of the data room make: a ramp of 64 x 48 pixels in headers of every kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian

from cxreport.data.dicom import read_dicom

RAMP = np.linspace(0, 4095, 64 * 48).round().astype(np.uint16).reshape(48, 64)
"""(48, 64) uint16 of 12 bits, dark at the top, bright at the bottom."""


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


def compressed(dataset: Dataset, syntax: str, *fragments: bytes) -> Dataset:
    """`dataset` with the frame made of `fragments` for pixels."""
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([b"".join(fragments)], fragments_per_frame=len(fragments))
    dataset["PixelData"].is_undefined_length = True
    return dataset


def save(dataset: Dataset, path: Path) -> Path:
    dataset.save_as(path, enforce_file_format=True)
    return path


def shown(dataset: Dataset, path: Path) -> np.ndarray:
    return read_dicom(save(dataset, path)).pixels

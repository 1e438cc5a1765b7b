"""DICOM radiographs as 8-bit pictures, guarded before anything is inflated or decoded.

Order of the grey scale: modality LUT or rescale, VOI LUT or window, inversion of MONOCHROME1 (PS3.4
N.2). No sentence from here quotes a text of the header, because any may name the patient.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.encaps import generate_frames
from pydicom.filereader import read_file_meta_info
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, UncompressedTransferSyntaxes

from cxreport.data.codestream import declared_size
from cxreport.data.pixels import check_size, stretched
from cxreport.data.projection import projection_of
from cxreport.errors import UserError
from cxreport.study import Projection

_RADIOGRAPHY = {"", "CR", "DX", "DR", "RG", "RF", "XA", "OT", "SC"}
_CHEST = ("CHEST", "THORAX", "TORAX", "LUNG", "RIB", "STERNUM", "HEART", "CLAVICLE")
# fmt: off
_OTHER_PARTS = frozenset({
    "ABDOMEN", "ANKLE", "ARM", "BREAST", "CALCANEUS", "COCCYX", "CSPINE", "ELBOW", "EXTREMITY", "FEMUR",
    "FINGER", "FOOT", "FOREARM", "HAND", "HEAD", "HIP", "HUMERUS", "JAW", "KNEE", "LEG", "LSPINE", "NECK",
    "PATELLA", "PELVIS", "SCAPULA", "SHOULDER", "SKULL", "SPINE", "TIBIA", "TOE", "TSPINE", "WRIST",
})
# fmt: on
_PERCENTILES = (0.5, 99.5)


@dataclass(frozen=True, slots=True)
class DicomImage:
    """``pixels`` (H, W) uint8, air dark; `warnings` are sentences on what is suspicious."""

    pixels: NDArray[np.uint8]
    projection: Projection | None
    warnings: tuple[str, ...] = ()


def read_dicom(path: Path) -> DicomImage:
    """The picture in a DICOM file as a viewer would show it.

    Raises:
        UserError: the file is damaged, deflated (a small file could inflate to any size), holds no image,
            several frames or colours, declares too many pixels, or its pixels cannot be decoded.
    """
    with _private_failures(path, "is not a readable DICOM file"):
        syntax = UID(str(read_file_meta_info(path).get("TransferSyntaxUID", "")).strip("\0 "))
    if syntax == DeflatedExplicitVRLittleEndian:
        raise UserError(f"{path} is deflated DICOM, which can inflate to any size; export it undeflated.")
    with _private_failures(path, "is not a readable DICOM file"):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        _check_header(header, path)
        dataset = pydicom.dcmread(path)
        if not any(f"{kind}PixelData" in dataset for kind in ("", "Float", "DoubleFloat")):
            raise UserError(f"{path} has no pixels; export the image with its pixel data.")
        notes = _suspicions(dataset)
        projection = _projection(dataset)
    with _private_failures(path, f"holds pixels that cannot be decoded ({_name(syntax)})"):
        if "PixelData" in dataset and syntax not in UncompressedTransferSyntaxes:
            _check_codestream(dataset, path)
        stored = dataset.pixel_array
    with _private_failures(path, "holds a grey scale that cannot be applied"):
        pixels = _displayed(dataset, stored, path, notes)
    return DicomImage(pixels, projection, tuple(notes))


@contextmanager
def _private_failures(path: Path, what: str) -> Iterator[None]:
    """Replace whatever pydicom or a codec says by a sentence of ours: it may quote the header.

    Its warnings and log lines are held back for the same reason. Codec plugins raise exceptions of any
    class on hostile bytes, hence the wide net.
    """
    logger = logging.getLogger("pydicom")
    was_disabled, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path} {what} ({type(error).__name__}); export it again.") from None
    finally:
        logger.disabled = was_disabled


def _check_header(header: pydicom.Dataset, path: Path) -> None:
    if not header.get("Rows") or not header.get("Columns"):
        kind = _name(UID(str(header.get("SOPClassUID", ""))))
        raise UserError(f"{path} holds no image (its kind: {kind}).")
    check_size(int(header.Columns), int(header.Rows), path)
    if int(header.get("NumberOfFrames") or 1) > 1:
        raise UserError(f"{path} has {int(header.NumberOfFrames)} frames; a view is a single image.")
    photometric = header.get("PhotometricInterpretation")
    if int(header.get("SamplesPerPixel") or 1) != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise UserError(f"{path} is a colour image, not a radiograph (MONOCHROME1 or MONOCHROME2).")


def _name(uid: UID) -> str:
    """The standard's name of `uid`; a text that is none of the standard's is not repeated."""
    return uid.name if uid.name != uid else "unknown"


def _check_codestream(dataset: pydicom.Dataset, path: Path) -> None:
    size = declared_size(next(generate_frames(dataset.PixelData, number_of_frames=1)))
    if size is not None and size != (dataset.Columns, dataset.Rows):
        raise UserError(
            f"{path} declares {dataset.Columns} x {dataset.Rows} pixels but its compressed image declares "
            f"{size[0]} x {size[1]}; export it again."
        )


def _displayed(
    dataset: pydicom.Dataset, stored: NDArray[np.number], path: Path, notes: list[str]
) -> NDArray[np.uint8]:
    padding = _padding(dataset, stored)
    values = apply_modality_lut(stored, dataset)
    pixels = None
    if "VOILUTSequence" in dataset or ("WindowCenter" in dataset and "WindowWidth" in dataset):
        pixels = _windowed(dataset, values, path)
        if pixels is None:
            notes.append("its window is unusable, so the grey scale comes from percentiles")
    if pixels is None:
        pixels = _unwindowed(dataset, values, padding, path)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        pixels = 255 - pixels
    pixels[padding] = 0
    return pixels


def _padding(dataset: pydicom.Dataset, stored: NDArray[np.number]) -> NDArray[np.bool_]:
    """Where no detector was: stored values in PixelPaddingValue .. PixelPaddingRangeLimit."""
    if dataset.get("PixelPaddingValue") is None:
        return np.zeros(stored.shape, dtype=bool)
    edges = [_signed(dataset, dataset.PixelPaddingValue)]
    edges.append(_signed(dataset, dataset.get("PixelPaddingRangeLimit", edges[0])))
    return (stored >= min(edges)) & (stored <= max(edges))


def _signed(dataset: pydicom.Dataset, value: int | bytes) -> int:
    """A padding value in the sign of the pixels; files often store it in the other."""
    bits, signed = int(dataset.BitsAllocated), int(dataset.get("PixelRepresentation") or 0) == 1
    number = int.from_bytes(value, "little") if isinstance(value, bytes) else int(value)
    number %= 2**bits
    return number - 2**bits if signed and number >= 2 ** (bits - 1) else number


def _windowed(dataset: pydicom.Dataset, values: NDArray[np.generic], path: Path) -> NDArray[np.uint8] | None:
    """The first VOI LUT or window applied; None when it is malformed or leaves a single grey."""
    try:
        ends = np.sort(apply_voi_lut(_far_ends(dataset), dataset))
        shown = apply_voi_lut(values, dataset)
    except (ValueError, TypeError, IndexError, AttributeError, NotImplementedError):
        return None
    if not np.isfinite(ends).all() or not ends[1] > ends[0]:
        return None
    pixels = stretched(shown, float(ends[0]), float(ends[1]), str(path))
    return pixels if pixels.min() < pixels.max() else None


def _far_ends(dataset: pydicom.Dataset) -> NDArray[np.generic]:
    """Two input values, one below and one above everything that the LUT or window tells apart.

    Their images under the VOI transformation are the ends of the display range.
    """
    if dataset.get("VOILUTSequence"):
        entries, first, _ = dataset.VOILUTSequence[0].LUTDescriptor
        return np.array([first, first + (entries or 2**16) - 1])
    center, width = (np.atleast_1d(dataset[key].value)[0] for key in ("WindowCenter", "WindowWidth"))
    return np.array([float(center) - 20 * float(width), float(center) + 20 * float(width)])


def _unwindowed(
    dataset: pydicom.Dataset, values: NDArray[np.generic], padding: NDArray[np.bool_], path: Path
) -> NDArray[np.uint8]:
    if values.dtype == np.uint8 and int(dataset.get("BitsStored") or 8) == 8:
        return values.astype(np.uint8)
    valid = values[~padding].astype(np.float64)
    if not valid.size:
        raise UserError(f"{path} shows nothing but padding; it is not a radiograph.")
    low, high = np.percentile(valid, _PERCENTILES)
    if not high > low:
        low, high = valid.min(), valid.max()
    return stretched(values, float(low), float(high), str(path))


def _projection(dataset: pydicom.Dataset) -> Projection | None:
    """From ViewPosition, else the row direction of PatientOrientation, else SeriesDescription."""
    by_position = projection_of(str(dataset.get("ViewPosition") or ""))
    if by_position is not None:
        return by_position
    orientation = dataset.get("PatientOrientation")
    if orientation and not isinstance(orientation, str):
        row_direction = str(orientation[0])[:1].upper()
        if row_direction in ("L", "R"):
            return "frontal"
        if row_direction in ("A", "P"):
            return "lateral"
    return projection_of(str(dataset.get("SeriesDescription") or ""))


def _suspicions(dataset: pydicom.Dataset) -> list[str]:
    notes = []
    part = str(dataset.get("BodyPartExamined") or "").upper().strip()
    if part and not any(word in part for word in _CHEST):
        notes.append(f"its body part is {part if part in _OTHER_PARTS else 'another'}, not a chest")
    modality = str(dataset.get("Modality") or "").upper()
    if modality not in _RADIOGRAPHY:
        notes.append("its modality is not radiography")
    if str(dataset.get("PresentationIntentType") or "").upper() == "FOR PROCESSING":
        notes.append("it is raw detector data (FOR PROCESSING), not meant for display")
    if str(dataset.get("BurnedInAnnotation") or "").upper() == "YES":
        notes.append("it has burned-in annotation, which may name the patient")
    return notes

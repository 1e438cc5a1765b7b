"""DICOM radiographs as 8-bit pictures, guarded before anything is inflated, parsed or decoded.

Order: file meta information and transfer syntax, structure of the elements, header, size of the pixels and
of their codestream, decoding, grey scale. No sentence from here quotes a text of the header, because any may
name the patient.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import uid
from pydicom.datadict import tag_for_keyword
from pydicom.encaps import generate_frames
from pydicom.pixels import get_decoder
from pydicom.uid import UID

from cxreport.data import dicom_facts
from cxreport.data.codestream import declared
from cxreport.data.dicom_grey import displayed
from cxreport.data.dicom_structure import PixelElement, Structure, file_meta, structure
from cxreport.data.pixels import check_size
from cxreport.errors import UserError
from cxreport.study import Projection

UNCOMPRESSED = frozenset(
    {uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian},
)
JPEG_FAMILY = frozenset(
    {
        uid.JPEGBaseline8Bit,
        uid.JPEGExtended12Bit,
        uid.JPEGLossless,
        uid.JPEGLosslessSV1,
        uid.JPEGLSLossless,
        uid.JPEGLSNearLossless,
        uid.JPEG2000Lossless,
        uid.JPEG2000,
        uid.HTJ2KLossless,
        uid.HTJ2KLosslessRPCL,
        uid.HTJ2K,
    }
)
COMPRESSED = JPEG_FAMILY | {uid.RLELossless}
_WITH_OWN_PRECISION = frozenset({*uid.JPEG2000TransferSyntaxes, *uid.JPEGLSTransferSyntaxes})
_MAX_TILES = 16_384
_DICOMDIR = uid.MediaStorageDirectoryStorage

_PIXEL_TAGS = (
    "BitsAllocated",
    "BitsStored",
    "Columns",
    "HighBit",
    "ModalityLUTSequence",
    "NumberOfFrames",
    "PhotometricInterpretation",
    "PixelPaddingRangeLimit",
    "PixelPaddingValue",
    "PixelRepresentation",
    "PlanarConfiguration",
    "PresentationLUTSequence",
    "PresentationLUTShape",
    "RescaleIntercept",
    "RescaleSlope",
    "Rows",
    "SOPClassUID",
    "SamplesPerPixel",
    "SpecificCharacterSet",
    "VOILUTFunction",
    "VOILUTSequence",
    "WindowCenter",
    "WindowWidth",
)
READ_TAGS = frozenset(
    tag for keyword in (*_PIXEL_TAGS, *dicom_facts.TAGS) if (tag := tag_for_keyword(keyword))
)
"""All that is read of a header: no name, id or date is among them."""


@dataclass(frozen=True, slots=True)
class DicomImage:
    """``pixels`` (H, W) uint8, air dark; `warnings` are sentences on what is suspicious."""

    pixels: NDArray[np.uint8]
    projection: Projection | None
    warnings: tuple[str, ...] = ()


def read_dicom(source: Path | BinaryIO, name: str | None = None) -> DicomImage:
    """The picture in a DICOM file as a viewer would show it; sentences call the file `name`.

    Raises:
        UserError: the file is damaged, deflated (a small file could inflate to any size), of a transfer
            syntax that is not read, a DICOMDIR, holds no image, several frames or colours, declares too
            many pixels, or its pixels cannot be decoded.
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            return read_dicom(file, name or str(source))
    name = name or "The file"
    with _private_failures(name, "is not a readable DICOM file"):
        syntax, media_class, _ = file_meta(source, name)
        _check_kind(syntax, media_class, name)
        layout = structure(source, name, READ_TAGS)
        source.seek(0)
        dataset = pydicom.dcmread(source, stop_before_pixels=True, specific_tags=sorted(READ_TAGS))
        _check_header(dataset, name)
        pixels = _check_pixels(dataset, layout, name)
        notes = dicom_facts.suspicions(dataset)
        projection = dicom_facts.projection(dataset)
    with _private_failures(name, f"holds pixels that cannot be decoded ({syntax.name})"):
        source.seek(pixels.offset)
        dataset.add_new(pixels.tag, pixels.vr, source.read(pixels.length))
        if syntax in JPEG_FAMILY:
            _check_codestream(dataset, name)
        stored = _stored(dataset, syntax)
    with _private_failures(name, "holds a grey scale that cannot be applied"):
        grey, more = displayed(dataset, stored, name)
    return DicomImage(grey, projection, (*notes, *more))


@contextmanager
def _private_failures(name: str, what: str) -> Iterator[None]:
    """Replace whatever pydicom or a codec says by a sentence of ours: it may quote the header.

    Its warnings and log lines are held back for the same reason. Codec plugins raise exceptions of any
    class on hostile bytes, pylibjpeg-rle even one that is no Exception (a panic), hence the wide net.
    """
    logger = logging.getLogger("pydicom")
    was_disabled, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    except (UserError, MemoryError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise UserError(f"{name} {what} ({type(error).__name__}); export it again.") from None
    finally:
        logger.disabled = was_disabled


def _check_kind(syntax: UID, media_class: UID, name: str) -> None:
    if media_class == _DICOMDIR:
        raise UserError(
            f"{name} is a DICOMDIR, an index of other files, which is never followed; name the images."
        )
    if syntax == uid.DeflatedExplicitVRLittleEndian:
        raise UserError(f"{name} is deflated DICOM, which can inflate to any size; export it undeflated.")
    if syntax not in UNCOMPRESSED | COMPRESSED:
        raise UserError(
            f"{name} has the transfer syntax {_name(syntax)}, which is not read; export it uncompressed."
        )


def _check_header(header: pydicom.Dataset, name: str) -> None:
    if not header.get("Rows") or not header.get("Columns"):
        kind = _name(UID(str(header.get("SOPClassUID", ""))))
        raise UserError(f"{name} holds no image (its kind: {kind}).")
    check_size(int(header.Columns), int(header.Rows), name)
    if int(header.get("NumberOfFrames") or 1) > 1:
        raise UserError(f"{name} has several frames; a view is a single image.")
    photometric = header.get("PhotometricInterpretation")
    if int(header.get("SamplesPerPixel") or 1) != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise UserError(f"{name} is a colour image, not a radiograph (MONOCHROME1 or MONOCHROME2).")


def _name(identifier: UID) -> str:
    """The standard's name of `identifier`; a text that is none of the standard's is not repeated."""
    return identifier.name if identifier.name != identifier else "unknown"


def _check_pixels(header: pydicom.Dataset, layout: Structure, name: str) -> PixelElement:
    """The pixel element, whose length agrees with what the header declares."""
    pixels = layout.pixels
    if pixels is None:
        raise UserError(f"{name} has no pixels; export the image with its pixel data.")
    if pixels.encapsulated != (layout.syntax in COMPRESSED):
        raise UserError(f"{name} holds pixels that do not fit its transfer syntax; export it again.")
    allocated, stored = int(header.BitsAllocated), int(header.get("BitsStored") or header.BitsAllocated)
    if allocated not in (8, 16, 32, 64) or not 0 < stored <= allocated:
        raise UserError(f"{name} declares {stored} bits stored in {allocated}; radiographs have 8 to 16.")
    needed = int(header.Rows) * int(header.Columns) * allocated // 8
    if not pixels.encapsulated and pixels.length < needed:
        raise UserError(
            f"{name} declares {header.Columns} x {header.Rows} pixels but holds {pixels.length:,} of their "
            f"{needed:,} bytes, so they cannot be decoded; export it again."
        )
    return pixels


def _check_codestream(dataset: pydicom.Dataset, name: str) -> None:
    """A codec allocates by what the codestream declares, so it has to agree with the header."""
    stream = declared(next(generate_frames(dataset.PixelData, number_of_frames=1)))
    if stream is None:
        raise UserError(f"{name} holds no compressed image of its transfer syntax; export it again.")
    if (stream.width, stream.height) != (dataset.Columns, dataset.Rows):
        raise UserError(
            f"{name} declares {dataset.Columns} x {dataset.Rows} pixels but its compressed image declares "
            f"{stream.width} x {stream.height}; export it again."
        )
    if stream.components != 1 or stream.bits > 16 or stream.tiles > _MAX_TILES:
        raise UserError(
            f"{name} holds a compressed image of {stream.components} colours, {stream.bits} bits and "
            f"{stream.tiles} tiles, which no radiograph has; export it again."
        )


def _stored(dataset: pydicom.Dataset, syntax: UID) -> NDArray[np.number]:
    """The stored values (H, W), always by the same codec, so that they are the same on every machine."""
    stored, _ = get_decoder(syntax).as_array(
        dataset,
        index=0,
        decoding_plugin="pylibjpeg" if syntax in COMPRESSED else "",
        correct_unused_bits=False,  # type: ignore[arg-type]
    )
    if syntax in _WITH_OWN_PRECISION or stored.dtype.kind not in "ui":
        return stored
    allocated = 8 * stored.dtype.itemsize
    bits = int(dataset.get("BitsStored") or allocated)
    return _in_place(stored, allocated, bits, int(dataset.get("HighBit") or bits - 1))


def _in_place(stored: NDArray[np.integer], allocated: int, bits: int, high: int) -> NDArray[np.integer]:
    """The `bits` up to and including bit `high`, sign extended (PS3.5 8.1.1): others may hold an overlay.

    Unsigned values that fit into `bits` are taken as they are, for many files have a wrong HighBit.
    """
    if bits == allocated or (stored.dtype.kind == "u" and int(stored.max()) < 2**bits):
        return stored
    if not bits - 1 <= high < allocated:
        high = bits - 1
    return (stored << (allocated - high - 1)) >> (allocated - bits)

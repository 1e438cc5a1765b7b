"""Seeded byte mutations of DICOM, PNG and JPEG files, each read by the isolated reader.

    python tests/fuzz/fuzz_images.py --mutants 5000 --seed 0 ../shared/data/dicom

Small files made here are mutated too, unless `--only` is given. A mutant has to be read or refused with a
sentence that holds no text of the patient, within 5 s of CPU time and 1 GiB. Crashes, hangs and greed that
the worker contained are counted as such and their bytes are kept. The same seed gives the same mutants; an
interrupted run goes on where it was. Exits with 1 when anything but a typed refusal happened.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from cxreport.data.isolation import IsolatedReader, Limits
from cxreport.errors import UserError

LIMITS = Limits(seconds=5.0, memory=2**30)
SECRET = "ZQSECRETNAME"
CONTAINED = {"crash": "crash", "takes more than": "hang", "MiB of memory": "greed"}
NUMBERS = (0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
Mutation = Callable[[bytearray, random.Random, bytes], None]


def small_files() -> dict[str, bytes]:
    """Radiographs of 48 x 40 pixels in several encodings, whose headers hold :data:`SECRET` in places."""
    ramp = np.linspace(0, 4095, 1920).round().astype(np.uint16).reshape(40, 48)
    files: dict[str, bytes] = {}
    for name, syntax in (
        ("explicit", ExplicitVRLittleEndian),
        ("implicit", ImplicitVRLittleEndian),
        ("big", ExplicitVRBigEndian),
        ("rle", RLELossless),
        ("j2k", JPEG2000Lossless),
    ):
        dataset = _radiograph(ramp, 12)
        if syntax in (RLELossless, JPEG2000Lossless):
            dataset.compress(syntax, encoding_plugin="pylibjpeg")
        files[f"{name}.dcm"] = _saved(dataset, syntax)
    eight = (ramp >> 4).astype(np.uint8)
    baseline = _radiograph(eight, 8)
    baseline.PixelData = pydicom.encaps.encapsulate([_picture(Image.fromarray(eight), "JPEG")])
    baseline["PixelData"].is_undefined_length = True
    files["jpeg.dcm"] = _saved(baseline, JPEGBaseline8Bit)
    grey = Image.fromarray(eight)
    for mode in ("L", "RGB", "RGBA", "LA", "P", "1"):
        files[f"{mode}.png"] = _picture(grey.convert(mode), "PNG")
    files["sixteen.png"] = _picture(Image.fromarray(ramp), "PNG")
    files["grey.jpg"] = _picture(grey, "JPEG")
    files["progressive.jpg"] = _picture(grey, "JPEG", progressive=True)
    return files


def _picture(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _saved(dataset: Dataset, syntax: str) -> bytes:
    file = io.BytesIO()
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    little = syntax != ExplicitVRBigEndian
    if dataset.original_encoding == (None, None):
        dataset.set_original_encoding(syntax == ImplicitVRLittleEndian, little)
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def _radiograph(stored: np.ndarray, bits: int) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = ComputedRadiographyImageStorage, "1.2.3"
    dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition = "CR", "CHEST", "PA"
    for keyword in ("PatientName", "PatientID", "StudyDescription", "SeriesDescription", "InstitutionName"):
        setattr(dataset, keyword, SECRET)
    inner = Dataset()
    inner.PatientName = SECRET
    outer = Dataset()
    outer.ReferencedPatientSequence = DicomSequence([inner])
    outer.is_undefined_length_sequence_item = True
    dataset.RequestAttributesSequence = DicomSequence([outer])
    dataset["RequestAttributesSequence"].is_undefined_length = True
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "R-10206", "SRT", SECRET
    dataset.ViewCodeSequence = DicomSequence([code])
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME1"
    dataset.BitsAllocated = stored.dtype.itemsize * 8
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, 0
    dataset.PixelPaddingValue = 0
    dataset.WindowCenter, dataset.WindowWidth = [2**bits // 2, 10], [2**bits, 10]
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
    table = Dataset()
    table.LUTDescriptor = [256, 0, 12]
    table.add_new("LUTData", "US", [value * 16 for value in range(256)])
    if bits == 8:
        dataset.VOILUTSequence = DicomSequence([table])
    dataset.PixelData = stored.tobytes()
    return dataset


def flip(content: bytearray, rng: random.Random, other: bytes) -> None:
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def overwrite(content: bytearray, rng: random.Random, other: bytes) -> None:
    place, count = rng.randrange(len(content)), rng.choice((1, 2, 4, 16, 200))
    content[place : place + count] = rng.choice((b"\0", b"\xff", b"\x80", rng.randbytes(1))) * count


def insert(content: bytearray, rng: random.Random, other: bytes) -> None:
    place = rng.randrange(len(content))
    content[place:place] = rng.randbytes(rng.choice((1, 2, 4, 33, 1000)))


def delete(content: bytearray, rng: random.Random, other: bytes) -> None:
    place = rng.randrange(len(content))
    del content[place : place + rng.choice((1, 2, 4, 33, 1000))]


def truncate(content: bytearray, rng: random.Random, other: bytes) -> None:
    del content[rng.randrange(len(content)) :]


def splice(content: bytearray, rng: random.Random, other: bytes) -> None:
    place, source = rng.randrange(len(content)), rng.randrange(len(other))
    piece = other[source : source + rng.choice((4, 64, 1024, len(other)))]
    content[place : place + rng.choice((0, len(piece)))] = piece


def number(content: bytearray, rng: random.Random, other: bytes) -> None:
    """Overwrite what may be a length, a count or a size by one that hurts."""
    size = rng.choice((2, 4))
    place = _headers(content, rng)
    value = rng.choice(NUMBERS) % 256**size
    content[place : place + size] = value.to_bytes(size, rng.choice(("little", "big")))


def header(content: bytearray, rng: random.Random, other: bytes) -> None:
    """Damage where the metadata, the pixel element or the codestream begin."""
    for _ in range(rng.choice((1, 2, 4))):
        content[_headers(content, rng)] = rng.randrange(256)


def length(content: bytearray, rng: random.Random, other: bytes) -> None:
    """Edit the length field of a DICOM element or PNG chunk; the number kind where there is none."""
    places = _length_fields(content)
    if not places:
        return number(content, rng, other)
    place, size = rng.choice(places)
    old = int.from_bytes(content[place : place + size], "little")
    near = (old + 1, old - 1, old * 2, old + 256, old ^ (1 << rng.randrange(8 * size)))
    value = rng.choice((*NUMBERS, *near)) % 256**size
    content[place : place + size] = value.to_bytes(size, "little")
    return None


def repeat(content: bytearray, rng: random.Random, other: bytes) -> None:
    """Repeat a piece many times: elements, items, fragments, scans."""
    place = _headers(content, rng)
    piece = bytes(content[place : place + rng.choice((8, 12, 16, 64))])
    content[place:place] = piece * rng.choice((2, 100, 3000))


MUTATIONS: tuple[Mutation, ...] = (
    flip, overwrite, insert, delete, truncate, splice, number, header, length, length, repeat,
)  # fmt: skip


def _headers(content: bytearray, rng: random.Random) -> int:
    pixels = content.rfind(b"\xe0\x7f\x10\x00")
    start = rng.choice((132, 0, max(pixels, 0), max(pixels, 0), rng.randrange(len(content))))
    return min(len(content) - 1, start + rng.randrange(rng.choice((16, 200, 3000))))


def _length_fields(content: bytearray) -> list[tuple[int, int]]:
    """(place, size) of length fields of explicit elements, found by their two letters."""
    found = []
    for place in range(132, min(len(content), 6000) - 4):
        if content[place : place + 2].isalpha() and content[place : place + 2].isupper():
            long = bytes(content[place : place + 2]) in (b"OB", b"OW", b"SQ", b"UN", b"UT")
            found.append((place + 4, 4) if long else (place + 2, 2))
    return found


def mutant(files: Sequence[tuple[str, bytes]], seed: int, index: int) -> tuple[str, bytes]:
    """The name of a file of `files` and its `index`-th mutant of `seed`."""
    rng = random.Random(f"{seed}/{index}")
    name, original = files[index % len(files)]
    content = bytearray(original)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if content:
            rng.choice(MUTATIONS)(content, rng, rng.choice(files)[1])
    return name, bytes(content)


def secrets_of(content: bytes) -> set[str]:
    """Names, ids and dates in a DICOM file, none of which may appear in a sentence."""
    found = {SECRET}
    if content[128:132] == b"DICM":
        for element in pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True).iterall():
            if element.VR in ("PN", "DA", "LO", "SH", "LT", "ST") and len(str(element.value)) > 5:
                found |= {str(element.value)}
    return found - {"MONOCHROME1", "MONOCHROME2"}


def outcome(reader: IsolatedReader, content: bytes, secrets: set[str]) -> tuple[str, bool]:
    """What happened to `content`, and whether it may happen."""
    try:
        inspected = reader.inspect_bytes(content, "mutant")
        said = list(inspected.warnings)
        kind = "read"
        if inspected.view.width * inspected.view.height < 2:
            return "read as nothing", False
    except UserError as error:
        said = [str(error)]
        kind = next((kind for words, kind in CONTAINED.items() if words in str(error)), "refused")
    except Exception:
        return traceback.format_exc(limit=4), False
    if any(secret in sentence for secret in secrets for sentence in said):
        return "a sentence names the patient", False
    return kind, kind in ("read", "refused")


def run(
    files: Sequence[tuple[str, bytes]], seed: int, mutants: int, folder: Path
) -> tuple[Counter[str], int]:
    """Counts by outcome and the number of violations, whose bytes are kept in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    key = hashlib.sha256(b"".join(content for _, content in files)).hexdigest()[:12]
    state_file = folder / f"state-{seed}-{key}.json"
    state = json.loads(state_file.read_text()) if state_file.exists() else {"next": 0, "counts": {}, "bad": 0}
    counts, bad = Counter(state["counts"]), state["bad"]
    secrets = {name: secrets_of(content) for name, content in files}
    everything = set().union(*secrets.values())
    slowest = state.get("slowest", 0.0)
    with IsolatedReader(LIMITS) as reader:
        for index in range(state["next"], mutants):
            name, content = mutant(files, seed, index)
            start = time.perf_counter()
            kind, fine = outcome(reader, content, everything)
            slowest = max(slowest, time.perf_counter() - start)
            counts[kind] += 1
            if not fine:
                bad += 1
                kept = folder / f"{seed}-{index}-{Path(name).name}"
                kept.write_bytes(content)
                print(f"mutant {index} of {name}: {kind}; kept in {kept}", file=sys.stderr)
            if index % 50 == 49 or index == mutants - 1:
                state = {"next": index + 1, "counts": counts, "bad": bad, "slowest": slowest}
                state_file.write_text(json.dumps(state))
    print(f"slowest mutant: {slowest:.2f} s")
    return counts, bad


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("inputs", nargs="*", type=Path, help="files, or folders of DICOM, PNG and JPEG files")
    parser.add_argument("--only", action="store_true", help="leave out the small files made here")
    parser.add_argument("--mutants", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "cxreport-fuzz")
    arguments = parser.parse_args()
    files = [] if arguments.only else list(small_files().items())
    for path in arguments.inputs:
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            files.append((file.name, file.read_bytes()))
    counts, bad = run(files, arguments.seed, arguments.mutants, arguments.work)
    print(f"{sum(counts.values())} mutants of {len(files)} files, seed {arguments.seed}")
    for kind, count in counts.most_common():
        print(f"{count:7,}  {kind}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

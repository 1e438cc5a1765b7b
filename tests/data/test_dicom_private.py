"""No text of a header may leave: in errors, warnings, logs or prepared bytes, of whole or damaged files."""

from __future__ import annotations

import copy
import logging
import random
import warnings
from pathlib import Path

import pytest
from dicom_files import radiograph, save
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import ImplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from cxreport.data.images import inspect
from cxreport.errors import UserError

NAME, NUMBER, DATE = "ZQNAME", "471108", "19600229"
SECRETS = (NAME, NAME.lower(), NUMBER, DATE)
BY_VR = {
    **dict.fromkeys(("CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT", "AE"), NAME),
    **dict.fromkeys(("DS", "IS"), NUMBER),
    **{"AS": "047Y", "DA": DATE, "DT": f"{DATE}101112", "TM": "101112", "UI": f"1.2.{NUMBER}"},
}
READ_FIRST = {
    "PhotometricInterpretation", "NumberOfFrames", "WindowCenter", "WindowWidth", "RescaleSlope",
    "RescaleIntercept", "SpecificCharacterSet", "VOILUTFunction", "PresentationLUTShape",
    "PatientOrientation",
}  # fmt: skip


def filled(dataset: Dataset) -> Dataset:
    """`dataset` with a secret in every text element of the dictionary."""
    for number, (vr, multiplicity, _, _, keyword) in DicomDictionary.items():
        group = number >> 16
        if vr not in BY_VR or keyword in READ_FIRST or group < 8 or group > 0x7FE0 or keyword in dataset:
            continue
        count = int(multiplicity.split("-")[0]) if multiplicity[0].isdigit() else 1
        value = BY_VR[vr] if count == 1 else [BY_VR[vr]] * count
        dataset.add_new(Tag(number), vr, value)
    return dataset


@pytest.fixture(scope="module")
def phi() -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = filled(radiograph())
        dataset.Modality = "CR"
        inner = filled(Dataset())
        outer = Dataset()
        outer.ReferencedStudySequence = Sequence([inner])
        dataset.RequestAttributesSequence = Sequence([outer])
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = NAME, NAME, NAME
        dataset.ViewCodeSequence = dataset.AnatomicRegionSequence = Sequence([code])
        dataset.file_meta.SourceApplicationEntityTitle = NAME
        dataset.file_meta.PrivateInformationCreatorUID = f"1.2.{NUMBER}"
        dataset.file_meta.PrivateInformation = NAME.encode()
        dataset.file_meta.ImplementationVersionName = NAME
    return dataset


def said_by(path: Path, caplog, capfd, recwarn) -> tuple[str, bytes]:
    """Everything that reading `path` says, and the bytes that it prepares."""
    capfd.readouterr()
    caplog.clear()
    recwarn.clear()
    image, said = b"", []
    try:
        inspected = inspect(path)
        image = inspected.view.image
        said += [inspected.warnings, inspected.view.projection]
    except UserError as error:
        said += [error, error.args, error.__cause__, error.__suppress_context__ or error.__context__]
    said += [capfd.readouterr(), caplog.text, [str(warning.message) for warning in recwarn.list]]
    return str(said), image


def leaks(said: str, image: bytes) -> list[str]:
    return [secret for secret in SECRETS if secret in said or secret.encode() in image]


@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian, RLELossless, JPEG2000Lossless])
def test_whole_files(path, phi, syntax, caplog, capfd, recwarn):
    caplog.set_level(logging.DEBUG)
    dataset = copy.deepcopy(phi)
    if syntax in (RLELossless, JPEG2000Lossless):
        dataset.compress(syntax, encoding_plugin="pylibjpeg", generate_instance_uid=False)
    elif syntax:
        dataset.file_meta.TransferSyntaxUID = syntax
    content = save(dataset, path).read_bytes()
    assert content.count(NAME.encode()) > 1000
    said, image = said_by(path, caplog, capfd, recwarn)
    assert image, said
    assert "its body part is another, not a chest" in said
    assert leaks(said, image) == []


def test_damaged_files(path, phi, caplog, capfd, recwarn):
    """Cuts, flipped bytes and secrets moved into elements that are read."""
    caplog.set_level(logging.DEBUG)
    content = save(phi, path).read_bytes()
    rng = random.Random(0)
    outcomes = set()
    for number in range(150):
        damaged = bytearray(content)
        kind = number % 3
        if kind == 0:
            del damaged[rng.randrange(140, len(damaged)) :]
        elif kind == 1:
            for _ in range(rng.choice((1, 10, 300))):
                damaged[rng.randrange(132, len(damaged))] = rng.randrange(256)
        else:
            tag = rng.choice(
                (b"\x28\x00\x50\x10", b"\x28\x00\x04\x00", b"\x28\x00\x10\x00", b"\x02\x00\x10\x00")
            )
            place = damaged.find(tag)
            damaged[place + 8 : place + 8 + len(NAME)] = rng.choice((NAME, NUMBER)).encode()
        path.write_bytes(damaged)
        said, image = said_by(path, caplog, capfd, recwarn)
        outcomes.add(bool(image))
        assert leaks(said, image) == [], (number, said)
    assert outcomes == {False, True}


@pytest.mark.parametrize("keyword", ["WindowWidth", "RescaleSlope", "NumberOfFrames", "PixelAspectRatio"])
def test_malformed_numbers_are_not_quoted(path, keyword, caplog, capfd, recwarn):
    elements = {"RescaleIntercept": 0, "RescaleSlope": 1, "WindowCenter": 2000, "WindowWidth": 4000}
    content = save(radiograph(**(elements | {keyword: 4444})), path).read_bytes()
    assert content.count(b"4444") == 1
    path.write_bytes(content.replace(b"4444", b"Jane"))
    said, image = said_by(path, caplog, capfd, recwarn)
    assert not any(secret in said for secret in ("Jane", "Doe", "MRN4711", "1960"))
    assert not any(secret in image for secret in (b"Jane", b"Doe", b"MRN4711", b"1960"))


def test_the_check_sees_a_leak(phi, path):
    assert leaks(f"sentence about {NAME}", b"") == [NAME]
    assert leaks("", b"tEXt" + DATE.encode()) == [DATE]

"""Projections and suspicions from headers."""

from __future__ import annotations

import pytest
from dicom_files import radiograph, save
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from cxreport.data.dicom import read_dicom
from cxreport.data.images import inspect, read_image


def coded(value: str) -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", "Doe^Jane"
    return Sequence([item])


@pytest.mark.parametrize(
    ("elements", "projection"),
    [
        ({"ViewPosition": "PA"}, "frontal"),
        ({"ViewPosition": "AP"}, "frontal"),
        ({"ViewPosition": "LL"}, "lateral"),
        ({"ViewPosition": "LATERAL"}, "lateral"),
        ({"ViewPosition": "POSTERO ANTERIOR"}, "frontal"),
        ({"ViewCodeSequence": coded("272479007")}, "frontal"),
        ({"ViewCodeSequence": coded("R-10206"), "PatientOrientation": ["P", "F"]}, "frontal"),
        ({"ViewCodeSequence": coded("399173006")}, "lateral"),
        ({"ViewCodeSequence": coded("399135007")}, None),
        ({"PatientOrientation": ["L", "F"]}, "frontal"),
        ({"PatientOrientation": ["F", "P"]}, "lateral"),
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
        ({"AnatomicRegionSequence": coded("72696002")}, "another, not a chest"),
        ({"StudyDescription": "Jane, left knee"}, "KNEE, not a chest"),
        ({"PatientOrientation": ["R", "F"], "BodyPartExamined": "CHEST"}, "mirrored"),
        ({"PatientOrientation": ["F", "R"], "BodyPartExamined": "CHEST"}, "on its side"),
        ({"Modality": "CT"}, "not radiography"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "FOR PROCESSING"),
        ({"BurnedInAnnotation": "YES"}, "burned-in"),
    ],
)
def test_warnings(path, elements, word):
    (warning,) = inspect(save(radiograph(**elements), path)).warnings
    assert word in warning
    assert inspect(save(radiograph(BodyPartExamined="CHEST"), path)).warnings == ()


@pytest.mark.parametrize(
    "elements",
    [
        {"BodyPartExamined": "PORT CHEST"},
        {"BodyPartExamined": "THORAX"},
        {"AnatomicRegionSequence": coded("51185008")},
        {"AnatomicRegionSequence": coded("816094009"), "StudyDescription": "KNEE"},
        {"StudyDescription": "Chest and abdomen"},
        {"StudyDescription": "Mobile C-ARM"},
        {"StudyDescription": "Jane Doe"},
        {"PatientOrientation": ["L", "F"]},
    ],
)
def test_no_warning(path, elements):
    assert inspect(save(radiograph(**elements), path)).warnings == ()

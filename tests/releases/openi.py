"""Open-i: ``NLMCXR_reports.tgz`` (or its folder) and images under the names of its copies."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from releases import write_dicom, write_picture, write_table

REPORTS = {
    9001: ("Heart size is normal.", "No acute disease.", ("normal",), ("IM-0001-1001", "IM-0001-2001")),
    9002: (
        "Large left effusion.",
        "",
        ("Pleural Effusion/left/large", "Opacity/lung/base/left/round", "Lung/hypoinflation/mild"),
        ("IM-0002-1001",),
    ),
    9003: ("Clear.", "Normal.", ("No Indexing",), ("IM-0003-1001", "IM-0003-2001")),
    9004: ("", "", ("normal",), ("IM-0004-1001",)),
    9005: ("", "Bilateral scarring.", ("Cicatrix/lung/apex/bilateral",), ()),
}


def xml_of(number: int) -> str:
    """The XML of a report, as far as it is read."""
    findings, impression, codes, images = REPORTS[number]
    parts = "".join(f'<parentImage id="CXR{number}_{image}"><panel/></parentImage>' for image in images)
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n<eCitation><uId id="CXR{number}"/>'
        "<MedlineCitation><Article>"
        '<Abstract><AbstractText Label="COMPARISON">None.</AbstractText>'
        '<AbstractText Label="INDICATION">Cough.</AbstractText>'
        f'<AbstractText Label="FINDINGS">{findings}</AbstractText>'
        f'<AbstractText Label="IMPRESSION">{impression}</AbstractText></Abstract></Article></MedlineCitation>'
        f"<MeSH>{''.join(f'<major>{code}</major>' for code in codes)}</MeSH>{parts}</eCitation>"
    )


def make(folder: Path, *, archive: bool = True) -> None:
    """Images by their id, by the id of the Kaggle copy, as DICOM, and by the report's number."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {f"ecgen-radiology/{number}.xml": xml_of(number) for number in REPORTS}
    if archive:
        with tarfile.open(folder / "NLMCXR_reports.tgz", "w:gz") as tar:
            for name, text in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(text.encode())
                tar.addfile(entry, io.BytesIO(text.encode()))
    else:
        (folder / "ecgen-radiology").mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
    write_picture(folder / "NLMCXR_png" / "CXR9001_IM-0001-1001.png", 1)
    write_picture(folder / "images_normalized" / "9001_IM-0001-2001.dcm.png", 2)
    write_dicom(folder / "NLMCXR_dcm" / "9002" / "9002_IM-0002-1001.dcm", 3, ViewPosition="PA")
    write_picture(folder / "NLMCXR_png" / "9003_1.png", 4)
    write_picture(folder / "NLMCXR_png" / "CXR8888_IM-0001-1001.png", 5)
    rows = [
        ("9001", "9001_IM-0001-1001.dcm.png", "Frontal"),
        ("9001", "9001_IM-0001-2001.dcm.png", "Lateral"),
    ]
    write_table(folder / "indiana_projections.csv", ("uid", "filename", "projection"), rows)

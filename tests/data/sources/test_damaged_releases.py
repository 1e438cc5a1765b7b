"""Whatever stands in the tables of a release, reading it gives records or one sentence."""

from __future__ import annotations

import gzip
import random
import shutil

import pytest
from releases import chexpert_plus, chinese, covid, iu_xray, mimic_cxr, nih, openi, rexrank, rsna

from cxreport.data.sources.chexpert_plus import chexpert_plus as read_chexpert_plus
from cxreport.data.sources.chinese import chinese as read_chinese
from cxreport.data.sources.covid import covid as read_covid
from cxreport.data.sources.iu_xray import iu_xray as read_iu_xray
from cxreport.data.sources.mimic_cxr import mimic_cxr as read_mimic_cxr
from cxreport.data.sources.nih import nih as read_nih
from cxreport.data.sources.openi import openi as read_openi
from cxreport.data.sources.rexrank import rexrank as read_rexrank
from cxreport.data.sources.rsna import rsna as read_rsna
from cxreport.errors import UserError

TABLES = (".csv", ".json", ".txt", ".xml", ".gz", ".tgz")
PIECES = (
    b"", b"\0", b"\xff\xfe", b'"', b",", b"\n", b"\r", b"../", b"NaN", b"null", b"[", b"{", b"}", b"-1",
    b"1e999", b"\\ud800", b"9" * 5000, b"<!DOCTYPE x>", "肺".encode(),
)  # fmt: skip
MUTANTS = 60


def damage(content: bytes, rng: random.Random) -> bytes:
    """A few pieces put in, over or in place of what is there; or the end cut off."""
    if rng.random() < 0.1:
        return content[: rng.randrange(len(content) + 1)]
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(content) + 1)
        end = min(len(content), start + rng.choice((0, 0, 1, 3, 40)))
        content = content[:start] + rng.choice(PIECES) + content[end:]
    return content


@pytest.mark.parametrize(
    ("make", "read"),
    [
        (iu_xray.make, read_iu_xray),
        (openi.make, read_openi),
        (lambda root: openi.make(root, archive=False), read_openi),
        (mimic_cxr.make, read_mimic_cxr),
        (lambda root: mimic_cxr.make(root, reports="sectioned", packed=False), read_mimic_cxr),
        (chexpert_plus.make, read_chexpert_plus),
        (nih.make, read_nih),
        (covid.make, read_covid),
        (rsna.make, read_rsna),
        (rexrank.make, lambda root: read_rexrank(root / "ReXRank_test.json")),
        (chinese.make, lambda root: read_chinese(root / "annotation.json")),
        (chinese.make_csv, lambda root: read_chinese(root / "reports.csv", encoding="gb18030")),
    ],
    ids=[
        "iu_xray", "openi", "openi-folder", "mimic_cxr", "mimic_cxr-table", "chexpert_plus", "nih", "covid",
        "rsna", "rexrank", "chinese", "chinese-csv",
    ],
)  # fmt: skip
def test_damage_gives_records_or_a_sentence(tmp_path, make, read):
    root = tmp_path / "release"
    root.mkdir()
    make(root)
    tables = sorted(path for path in root.rglob("*") if path.suffix in TABLES)
    sentences = []
    for seed in range(MUTANTS):
        rng = random.Random(seed)
        path = rng.choice(tables)
        before = path.read_bytes()
        packed = path.suffix == ".gz" and rng.random() < 0.7
        content = damage(gzip.decompress(before) if packed else before, rng)
        path.write_bytes(gzip.compress(content) if packed else content)
        try:
            for record in read(root).records:
                record.report.findings.encode()
                assert all(image.path.resolve().is_relative_to(root.resolve()) for image in record.images)
        except UserError as error:
            sentences.append(str(error))
        path.write_bytes(before)
    assert len(sentences) < MUTANTS
    assert not any("\n" in sentence for sentence in sentences)
    shutil.rmtree(root)

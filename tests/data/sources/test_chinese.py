from __future__ import annotations

import pytest
from releases import chinese as release

from cxreport.data.importing import import_release
from cxreport.data.sources.chinese import chinese
from cxreport.data.text import target_text
from cxreport.data.words import WordTokenizer
from cxreport.errors import UserError
from cxreport.options import DataOptions


def test_json_in_r2gens_form(tmp_path):
    found = chinese(release.make(tmp_path))
    records = {record.study_id: record for record in found.records}
    assert [(name, record.split) for name, record in records.items()] == [
        (name, split) for name, split, *_ in release.REPORTS
    ]
    assert records["zh1"].report.findings == "胸廓对称，双肺纹理清晰。心影不大。"
    assert records["zh1"].report.impression == "未见明显异常。"
    assert found.warnings == ["4 studies name no patient; each counts as a patient of its own."]


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
def test_csv_of_a_spreadsheet(tmp_path, encoding):
    found = chinese(release.make_csv(tmp_path, encoding), encoding=encoding)
    records = {record.study_id: record for record in found.records}
    assert [image.name for image in records["zh1"].images] == ["zh1.png", "zh1b.png"]
    assert (records["zh1"].patient_id, records["zh1"].split) == ("p0", None)
    assert records["zh3"].report.findings == "左侧胸腔积液。"
    assert found.options["columns"]["image_finding"] == "影像所见"
    assert (found.warnings, len(found.exclusions)) == ([], 0)


def test_the_wrong_encoding_is_told(tmp_path):
    with pytest.raises(UserError, match="not UTF-8"):
        chinese(release.make_csv(tmp_path, "gb18030"))


def test_a_csv_without_findings_names_its_columns(tmp_path):
    (tmp_path / "r.csv").write_text("检查号,图像路径,别的\na,b,c\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"no column image_finding .* among 检查号, 图像路径, 别的"):
        chinese(tmp_path / "r.csv")


def test_rows_that_cannot_be_used_are_counted(tmp_path):
    path = release.make_csv(tmp_path, "utf-8")
    with path.open("a", encoding="utf-8") as file:
        file.write("zh2,p1,zh2b.png,另一份报告。,\n,p1,x.png,文,\nzh9,p9,,文,\nzh8,p8,zh8.png,,结节\n")
    found = chinese(path)
    assert [record.study_id for record in found.records] == ["zh1", "zh3", "zh4"]
    assert found.exclusions.counts == {
        "no study id": 1,
        "no image name": 1,
        "rows disagree on the report": 1,
        "no findings section": 1,
    }


def test_words_are_characters(tmp_path):
    dataset = import_release(chinese(release.make(tmp_path / "zh")), tmp_path / "out", workers=0)
    options = DataOptions(cleaner="characters")
    texts = [
        target_text(report, options) for name in dataset.splits for report in dataset.split(name).reports
    ]
    assert texts[1] == "右 肺 见 约 1.5 cm 结 节 影 ."
    tokenizer = WordTokenizer.train(texts, 1)
    assert {"肺", "1.5", "cm"} <= set(tokenizer.words)
    assert [tokenizer.decode(tokenizer.encode(text)[1:]) for text in texts] == texts

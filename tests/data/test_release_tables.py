from __future__ import annotations

import gzip
import json

import pytest

from cxreport.data import tables
from cxreport.data.exclusions import Exclusions
from cxreport.data.tables import header_of, read_csv, read_json, read_json_lines, read_text, text_of
from cxreport.errors import UserError


def rows_of(path, columns, **options):
    left_out = Exclusions()
    return list(read_csv(path, columns, left_out, **options)), left_out


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_asked_columns_of_a_csv(tmp_path, name):
    content = '\ufeffid,text , other\r\n 1 ,"Two\nlines, ""quoted""",x\r\n\r\n2,b\r\n3,c,z\r\n'.encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    rows, left_out = rows_of(tmp_path / name, ("text", "id"), optional=("other", "absent"))
    assert [row.fields for row in rows] == [
        {"text": 'Two\nlines, "quoted"', "id": "1", "other": "x", "absent": ""},
        {"text": "c", "id": "3", "other": "z", "absent": ""},
    ]
    assert [row.name for row in rows] == ["line 3", "line 6"]
    assert left_out.items == [("line 5", "wrong number of fields", "")]
    assert header_of(tmp_path / name) == ["id", "text", "other"]


def test_a_table_is_streamed(tmp_path):
    """The first row comes before the rest is read: a broken end does not hide it."""
    lines = [f"{number},{'x' * 100}" for number in range(5_000)]
    (tmp_path / "a.csv").write_bytes("\n".join(["id,text", *lines]).encode() + b"\n\xff,")
    rows = read_csv(tmp_path / "a.csv", ("id",), Exclusions())
    assert next(rows).fields == {"id": "0"}
    with pytest.raises(UserError, match="not UTF-8"):
        list(rows)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.csv", b"", "a.csv is empty; it needs a header"),
        ("a.csv", b"id\n\xff\n", r"not UTF-8 \(byte 3\); save it as UTF-8"),
        ("a.csv", b'id\n"open\n', "not a CSV file"),
        ("a.csv", b"ID\n1\n", "no column id; its columns are ID. Did you mean ID?"),
        ("a.csv", b"id,id\n1,1\n", "the column id 2 times"),
        ("a.csv.gz", b"id\n1\n", "not a gzip file, whatever its name says"),
        ("a.csv.gz", gzip.compress(b"id\n" + b"1\n" * 9999)[:40], "cut off or damaged"),
        ("a.csv", b"id\n" + b"x" * (tables.MAX_FIELD + 1), "not a CSV file .*field"),
    ],
)
def test_tables_that_are_none(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        rows_of(tmp_path / name, ("id",))


def test_a_table_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MAX_TABLE_BYTES", 1 << 16)
    (tmp_path / "bomb.csv.gz").write_bytes(gzip.compress(b"id\n" + b"1\n" * (1 << 16)))
    with pytest.raises(UserError, match=r"bomb.csv.gz holds more than the 65536 bytes that are read"):
        rows_of(tmp_path / "bomb.csv.gz", ("id",))


def test_a_missing_table_is_told(tmp_path):
    with pytest.raises(UserError, match=r"Cannot read the CSV .*No such file"):
        rows_of(tmp_path / "a.csv", ("id",))


def test_json_may_hold_bare_nan(tmp_path):
    (tmp_path / "a.json").write_bytes('\ufeff{"a": NaN, "b": [Infinity, 1.5, "é"]}'.encode())
    assert read_json(tmp_path / "a.json") == {"a": None, "b": [None, 1.5, "é"]}
    kept = read_json(tmp_path / "a.json", keep_nan=True)
    assert kept["a"] != kept["a"]


def test_json_may_hold_half_a_surrogate_pair(tmp_path):
    (tmp_path / "a.json").write_bytes(rb'{"\udc00": ["\ud83d\ude00", "\ud800 x", "\\ud800", 1]}')
    tree = read_json(tmp_path / "a.json")
    assert tree == {"\ufffd": ["\U0001f600", "\ufffd x", "\\ud800", 1]}


@pytest.mark.parametrize("content", [b"{", b"", b"[" * 100_000, b"1" * 5000, b'"\xff"'])
def test_json_that_is_none(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match=r"a.json is not"):
        read_json(tmp_path / "a.json")


def test_json_lines_that_are_none_are_counted(tmp_path):
    (tmp_path / "a.json").write_text('{"a": NaN}\n\n[1]\n{"b"\n{"c": 1}\n')
    left_out = Exclusions()
    assert list(read_json_lines(tmp_path / "a.json", left_out)) == [{"a": None}, {"c": 1}]
    assert [item for item, *_ in left_out] == ["line 3 of a.json", "line 4 of a.json"]


def test_a_text_has_a_limit(tmp_path):
    (tmp_path / "a.txt").write_text("x" * 20)
    assert read_text(tmp_path / "a.txt", 20) == "x" * 20
    with pytest.raises(UserError, match="more than the 19 bytes"):
        read_text(tmp_path / "a.txt", 19)


def test_text_of_a_tree():
    tree = json.loads('{"a": null, "b": " x ", "c": 3}')
    assert text_of(tree, "a", "b") == "x"
    assert text_of(tree, "c") == text_of(tree, "absent") == ""

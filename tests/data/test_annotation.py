from __future__ import annotations

import json

import pytest

from cxreport.data.annotation import annotated_labels, read_annotation, split_named
from cxreport.data.exclusions import Exclusions
from cxreport.errors import UserError


def read(tmp_path, tree):
    path = tmp_path / "annotation.json"
    path.write_text(json.dumps(tree))
    left_out, warnings = Exclusions(), []
    return list(read_annotation(path, left_out, warnings)), left_out, warnings


def record(name, **more):
    return {"id": name, "image_path": [f"{name}.png"], **more}


def test_a_list_names_its_split_in_its_records(tmp_path):
    samples, _, _ = read(tmp_path, [record("a", split="valid"), record("b", split="?"), record(3)])
    assert [(sample.study_id, sample.split) for sample in samples] == [("a", "val"), ("b", None), ("3", None)]


def test_a_blank_key_is_taken_only_where_one_split_is_missing(tmp_path):
    samples, _, warnings = read(tmp_path, {"train": [record("a")], " ": [record("b")], "test": []})
    assert ([sample.split for sample in samples], len(warnings)) == (["train", "val"], 1)
    with pytest.raises(UserError, match=r"has the list ' '"):
        read(tmp_path, {"train": [], " ": []})


@pytest.mark.parametrize("tree", [{"train": {}}, "x", {"train": [], "more": []}, 3])
def test_other_files_are_refused(tmp_path, tree):
    with pytest.raises(UserError, match=r"annotation.json (is not an annotation file|has the list 'more')"):
        read(tmp_path, tree)


def test_records_that_are_none_are_counted(tmp_path):
    samples, left_out, _ = read(
        tmp_path,
        {"train": [1, {"id": None}, {"id": "x", "image_path": [3]}, record("a", image_path="a.png")]},
    )
    assert [sample.images for sample in samples] == [("a.png",)]
    assert left_out.items == [
        ("record 1 of train", "not a record with an id", ""),
        ("record 2 of train", "not a record with an id", ""),
        ("x", "no list of image paths", ""),
    ]


def test_labels_of_am_mrg():
    assert annotated_labels({"label": [1, *[0] * 12, -1]}) == {
        "Enlarged Cardiomediastinum": 1,
        **dict.fromkeys(
            (
                "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema", "Consolidation", "Pneumonia",
                "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture",
                "Support Devices",
            ),
            0,
        ),
        "No Finding": -1,
    }  # fmt: skip
    assert annotated_labels({"label": [1]}) == annotated_labels({}) == {}


@pytest.mark.parametrize(
    ("word", "split"), [("Validate", "val"), (" test ", "test"), ("dev", "val"), ("", None), ("tr", None)]
)
def test_words_for_splits(word, split):
    assert split_named(word) == split

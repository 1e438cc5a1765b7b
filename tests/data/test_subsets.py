"""Subsets for training on little data: stratified, nested, and read back only when whole."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from cxreport.cli import app
from cxreport.data.store import PreparedDataset, write_dataset
from cxreport.data.subsets import read_ids, stratified_subset, train_part, write_subset
from cxreport.errors import UserError
from cxreport.options import DataOptions
from cxreport.recipe import Recipe
from cxreport.training.batches import RunStudies

LABELS = {f"s{i}": ["rare"] if i % 20 == 0 else ["common"] if i % 2 else [] for i in range(2000)}


def test_a_subset_is_nested_and_stratified():
    one, ten = (stratified_subset(LABELS, fraction, 7) for fraction in (0.01, 0.1))
    assert (len(one), len(ten)) == (20, 200)
    assert set(one) < set(ten)
    assert ten == [study for study in LABELS if study in set(ten)]
    counts = Counter(LABELS[study][0] if LABELS[study] else "" for study in ten)
    assert abs(counts["rare"] - 10) <= 1
    assert abs(counts["common"] - 100) <= 1
    assert stratified_subset(LABELS, 0.01, 7) == one != stratified_subset(LABELS, 0.01, 8)
    assert stratified_subset(LABELS, 1, 7) == list(LABELS)
    assert len(stratified_subset(LABELS, 0.0001, 7)) == 1


@pytest.mark.parametrize("fraction", [0, -0.1, 1.01, float("nan")])
def test_bad_fractions(fraction):
    with pytest.raises(UserError, match="--fraction must lie above 0"):
        stratified_subset(LABELS, fraction, 0)


@pytest.fixture
def dataset(make_study, tmp_path) -> PreparedDataset:
    studies = [make_study(i, split="train" if i % 4 else "test") for i in range(40)]
    return write_dataset(studies, tmp_path / "data", source="test", source_version="1", options={})


def test_file_and_command(dataset, tmp_path):
    out = tmp_path / "new" / "tenth.json"
    command = ["data", "subset", str(dataset.path), "--fraction", "0.1", "--seed", "3", "--out", str(out)]
    told = CliRunner().invoke(app, command)
    assert told.exit_code == 0, told.output
    tree = json.loads(out.read_text())
    ids = read_ids(out)
    assert len(ids) == 3
    assert tree["sha256"] == hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()
    assert tree["sha256"][:12] in told.stdout
    assert {key: tree[key] for key in ("dataset_sha256", "split", "fraction", "seed", "stratified_by")} == {
        "dataset_sha256": dataset.sha256,
        "split": "train",
        "fraction": 0.1,
        "seed": 3,
        "stratified_by": None,
    }
    assert set(ids) <= set(dataset.split("train").study_ids)
    assert "a plain random one" in told.stderr
    with pytest.raises(UserError, match="no val split"):
        write_subset(dataset, out, fraction=0.1, seed=3, split="val")


def test_a_recipe_learns_from_the_same_studies(dataset, tmp_path):
    ids = write_subset(dataset, tmp_path / "ids.json", fraction=0.2, seed=5)["ids"]
    options = DataOptions(train_share=0.2, train_share_seed=5)
    assert train_part(dataset, options).study_ids == ids
    assert len(ids) == 6
    assert len(train_part(dataset, DataOptions())) == 30
    recipe = Recipe.load("demo", ["data.train_share=0.2", "data.train_share_seed=5"])
    both = [*dataset.split("train"), *(replace(s, split="val") for s in dataset.split("test"))]
    other = write_dataset(both, tmp_path / "both", source="test", source_version="1", options={})
    studies = RunStudies.of(recipe, other)
    assert (studies.train.study_ids, studies.counts["val"]) == (ids, 10)


def test_files_that_are_refused(dataset, tmp_path):
    out = tmp_path / "ids.json"
    tree = write_subset(dataset, out, fraction=0.5, seed=3)
    for change, sentence in (
        ({"ids": tree["ids"][1:]}, "not those that its sha256"),
        ({"ids": [*tree["ids"], "more"]}, "not those that its sha256"),
        ({"format": "cxreport.ids/9"}, "is not an id file"),
        ({"ids": None}, "is not an id file"),
    ):
        out.write_text(json.dumps({**tree, **change}))
        with pytest.raises(UserError, match=sentence):
            read_ids(out)
    for content in (b"", b"[]", b"\xff"):
        out.write_bytes(content)
        with pytest.raises(UserError, match="is not an id file"):
            read_ids(out)
    with pytest.raises(UserError, match="Cannot read the id file"):
        read_ids(tmp_path / "absent.json")

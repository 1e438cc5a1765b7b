"""The bank of reports: whose, how many, and what a text's vector is."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from generators.tiny_language import REPORTS, words_folder
from PIL import Image
from transformers import AutoModelForCausalLM, AutoTokenizer

from cxreport.data.store import PreparedDataset, write_dataset
from cxreport.errors import UserError
from cxreport.memories.bank import Bank
from cxreport.memories.leaks import refuse_leaks
from cxreport.objectives.report_bank import REPORTS as NAME
from cxreport.objectives.report_bank import make_report_bank
from cxreport.objectives.text_encoder import TextEncoder, build_text_encoder
from cxreport.options import DataOptions
from cxreport.pretraining import TextOptions
from cxreport.study import Report, Split, Study, View

NORMAL = {"No Finding": 1}


def study(number: int, text: str, labels: dict[str, int], split: Split = "train") -> Study:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 256, (32, 32), dtype=np.uint8)).save(
        file, "PNG"
    )
    view = View(file.getvalue(), 32, 32, "frontal")
    return Study(f"s{number}", f"p{number}", (view,), Report(text), split, labels)


def encoder(pooling: str = "mean") -> TextEncoder:
    return build_text_encoder(TextOptions(name=words_folder(), pooling=pooling), (), "--encoder").eval()  # type: ignore[arg-type]


@pytest.fixture
def dataset(tmp_path: Path) -> PreparedDataset:
    """Twelve train studies, four of them normal and one without a text; a test study."""
    rows = [NORMAL if n < 4 else {"Lung Opacity": 1} for n in range(12)]
    train = [study(n, "" if n == 5 else REPORTS[n % 4], row) for n, row in enumerate(rows)]
    test = study(20, REPORTS[0], NORMAL, "test")
    return write_dataset([*train, test], tmp_path / "data", source="test", source_version="1", options={})


def make(dataset: PreparedDataset, folder: Path, texts: TextEncoder | None = None, **more: int) -> Bank:
    return make_report_bank(
        dataset, texts or encoder(), {"sha256": "e" * 64}, DataOptions(), folder, batch_size=3, **more
    )


@pytest.mark.parametrize("pooling", ["mean", "first", "last"])
def test_a_vector_is_what_the_language_model_thinks_of_the_report(
    pooling: str, dataset: PreparedDataset, tmp_path: Path
) -> None:
    bank = make(dataset, tmp_path / "bank", encoder(pooling))
    tokenizer = AutoTokenizer.from_pretrained(words_folder())
    model = AutoModelForCausalLM.from_pretrained(words_folder()).eval()
    assert [entry.study_id for entry in bank.entries] == [f"s{n}" for n in range(12) if n != 5]
    for vector, entry in zip(bank.vectors, bank.entries, strict=True):
        assert entry.text == REPORTS[int(entry.study_id[1:]) % 4]
        ids = torch.tensor([tokenizer(entry.text).input_ids])
        with torch.no_grad():
            states = model(ids, output_hidden_states=True).hidden_states[-1][0]
        expected = {"mean": states.mean(dim=0), "first": states[0], "last": states[-1]}[pooling]
        torch.testing.assert_close(vector, expected, atol=1e-5, rtol=1e-4)
    assert Bank.load(tmp_path / "bank", NAME).sha256 == bank.sha256
    assert {entry.kind for entry in bank.entries} == {"report"}
    refuse_leaks([bank], dataset)


def test_from_many_the_same_share_of_every_label(dataset: PreparedDataset, tmp_path: Path) -> None:
    bank = make(dataset, tmp_path / "a", most=6)
    assert len(bank) in (5, 6)  # the study without a text may be drawn
    assert sum(entry.labels == NORMAL for entry in bank.entries) == 2
    assert make(dataset, tmp_path / "b", most=6).sha256 == bank.sha256
    ids = [{e.study_id for e in make(dataset, tmp_path / f"c{s}", most=6, seed=s).entries} for s in range(3)]
    assert ids[0] != ids[1] or ids[1] != ids[2]


def test_a_planted_report_of_the_test_split_is_refused(dataset: PreparedDataset, tmp_path: Path) -> None:
    bank = make(dataset, tmp_path / "bank")
    test = dataset.split("test")[0]
    planted = [
        replace(bank.entries[0], study_id=test.study_id, patient_id=test.patient_id),
        *bank.entries[1:],
    ]
    with pytest.raises(UserError, match=f"study {test.study_id} is of the test split"):
        refuse_leaks([Bank(bank.vectors, planted, bank.origin)], dataset)
    foreign = [replace(bank.entries[0], text="there is a mass ."), *bank.entries[1:]]
    with pytest.raises(UserError, match="report of study s0 is not the one in the train split"):
        refuse_leaks([Bank(bank.vectors, foreign, bank.origin)], dataset)


def test_nothing_to_read(tmp_path: Path) -> None:
    silent = write_dataset(
        [study(0, "", NORMAL)], tmp_path / "data", source="test", source_version="1", options={}
    )
    with pytest.raises(UserError, match="has a text in its section findings"):
        make(silent, tmp_path / "bank")
    with pytest.raises(UserError, match="--encoder: nowhere is neither a folder nor"):
        build_text_encoder(TextOptions(name="nowhere"), (), "--encoder")

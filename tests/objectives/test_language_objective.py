"""The language model: what it learns, what its folder holds, and that only train reports reach it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from cxreport.data.batch import Batch, loader
from cxreport.data.store import PreparedDataset, write_dataset
from cxreport.errors import UserError
from cxreport.objectives.language import PROMPTS, ReportLanguageModel, perplexity
from cxreport.options import DataOptions
from cxreport.pretraining import LanguageOptions, PretrainRecipe
from cxreport.study import Report, Study
from cxreport.training import Weighted, pretrain

SENTENCES = [
    "the heart is normal in size .",
    "the lungs are clear .",
    "there is a large left pleural effusion .",
    "no pneumothorax .",
    "a right sided central line ends in the atrium .",
    "degenerative changes of the spine .",
    "the mediastinum is wide .",
    "mild edema is present in both bases .",
]
PLANTED = {"train": "marmoset", "val": "zyzzyva", "test": "quokka"}
TINY = {"name": "language", "vocabulary": 400, "width": 32, "layers": 2, "heads": 2, "feed_forward": 64}


def make_dataset(folder: Path, reports: dict[Any, list[str]]) -> PreparedDataset:
    """Studies with reports and without images."""
    studies = [
        Study(f"{split}{number}", f"{split}{number}", (), Report(findings=text), split=split)
        for split, texts in reports.items()
        for number, text in enumerate(texts)
    ]
    options = {"text_only": True}
    return write_dataset(studies, folder, source="texts", source_version="1", options=options)


def recipe(**training: Any) -> PretrainRecipe:
    options = {"epochs": 2, "batch_size": 4, "learning_rate": 0.01, "keep": "last", **training}
    return PretrainRecipe.parse({"name": "t", "objective": TINY, "training": options})


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    planted = {name: f"{word} {word} {word} ." for name, word in PLANTED.items()}
    splits = {
        "train": [*SENTENCES, planted["train"]],
        "val": [*SENTENCES[:3], planted["val"]],
        "test": [planted["test"]],
    }
    return make_dataset(tmp_path_factory.mktemp("texts") / "data", splits)


@pytest.fixture(scope="module")
def run(dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("language") / "run"
    pretrain(recipe(), [Weighted(dataset)], out)
    return out


def test_eight_sentences_are_learnt_by_heart() -> None:
    torch.manual_seed(0)
    system = ReportLanguageModel.build(LanguageOptions(**TINY, prompted=0.0), SENTENCES)
    optimizer = torch.optim.Adam(system.parameters(), 0.01)
    before = perplexity(system, SENTENCES)["perplexity"]
    system.train()
    for _ in range(60):
        optimizer.zero_grad()
        system.token_losses(SENTENCES, [""] * 8).mean().backward()
        optimizer.step()
    # the first word of eight sentences cannot be foretold, all others can
    after = perplexity(system, SENTENCES)
    assert before > 100
    assert after["perplexity"] < 1.6
    start = system.tokenizer("there is", return_tensors="pt").input_ids
    model: Any = system.model
    written = model.generate(start, max_new_tokens=20, do_sample=False)
    assert system.tokenizer.decode(written[0], skip_special_tokens=True) == SENTENCES[2]


def test_the_loss_is_that_of_every_report_read_alone() -> None:
    system = ReportLanguageModel.build(LanguageOptions(**TINY), SENTENCES).eval()
    together = system.token_losses(SENTENCES, [""] * 8)
    model, tokenizer, alone = system.model, system.tokenizer, []
    for text in SENTENCES:
        ids = torch.tensor([[*tokenizer(text).input_ids, tokenizer.eos_token_id]])
        probabilities = model(input_ids=ids).logits[0, :-1].log_softmax(1)
        alone += [-probabilities[place, token] for place, token in enumerate(ids[0, 1:])]
    assert len(alone) == len(together)
    assert together.sum().item() == pytest.approx(torch.stack(alone).sum().item(), rel=1e-5)
    found = perplexity(system, SENTENCES, batch_size=3)
    assert found["perplexity"] == pytest.approx(math.exp(torch.stack(alone).mean().item()), rel=1e-4)
    assert found["words"] == sum(len(text.split()) for text in SENTENCES) + 8


def test_half_of_the_training_reports_follow_a_prompt_that_has_no_loss() -> None:
    system = ReportLanguageModel.build(LanguageOptions(**TINY), SENTENCES)
    seen = [system._prompt(draw) for draw in range(400)]
    assert set(seen) == {"", *PROMPTS}
    assert 160 < seen.count("") < 240
    lengths = {len(system.token_losses([SENTENCES[0]], [prompt])) for prompt in ("", *PROMPTS)}
    assert lengths == {len(system.tokenizer(SENTENCES[0]).input_ids)}
    batch = Batch(
        torch.empty(1, 0, 3, 1, 1), torch.empty(1, 0, dtype=torch.bool), ["s"], SENTENCES[:1], draws=[3]
    )
    torch.testing.assert_close(system.train().loss(batch), system.train().loss(batch))
    long = ReportLanguageModel.build(LanguageOptions(**TINY, max_length=16), SENTENCES)
    assert long.truncated([SENTENCES[3], " ".join(SENTENCES)]) == 1
    assert len(long.token_losses([" ".join(SENTENCES)], [""])) == 15


def test_a_run_writes_an_ordinary_folder_that_gives_the_same_logits(
    run: Path, dataset: PreparedDataset
) -> None:
    folder = run / "model"
    ours = ReportLanguageModel.load(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    ids = tokenizer(SENTENCES[0], return_tensors="pt").input_ids
    assert ids.tolist() == ours.tokenizer(SENTENCES[0], return_tensors="pt").input_ids.tolist()
    assert torch.equal(model(ids).logits, ours.model(ids).logits)
    assert type(model).__name__ == "LlamaForCausalLM"
    assert (model.generation_config.eos_token_id, model.generation_config.pad_token_id) == (1, 2)
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["dataset"]["sha256"] == dataset.sha256
    assert provenance["seed"] == 9223
    assert set(provenance["files"]) == {path.name for path in folder.iterdir()} - {"provenance.json"}
    told = json.loads((run / "perplexity.json").read_text())
    kept = json.loads((run / "run.json").read_text())["kept_val_loss"]
    assert told["split"] == "val"
    assert told["perplexity"] == pytest.approx(math.exp(kept), rel=1e-5)


def test_words_of_val_and_test_never_reach_the_tokenizer(run: Path) -> None:
    entries = json.loads((run / "model" / "tokenizer.json").read_text())["model"]["vocab"]
    found = {split: any(word in entry for entry in entries) for split, word in PLANTED.items()}
    assert found == {"train": True, "val": False, "test": False}


def test_a_broken_run_resumes_to_the_same_weights(
    run: Path, dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(task: Any) -> None:
        if task.current_epoch:
            raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr("cxreport.training.task.Task.on_validation_epoch_start", stop)
        with pytest.raises(RuntimeError, match="killed"):
            pretrain(recipe(), [Weighted(dataset)], tmp_path / "run")
    pretrain(recipe(), [Weighted(dataset)], tmp_path / "run", resume=True)
    whole, again = (ReportLanguageModel.load(each / "model").state_dict() for each in (run, tmp_path / "run"))
    assert all(torch.equal(value, whole[name]) for name, value in again.items())


def test_no_image_is_read_for_texts(dataset: PreparedDataset) -> None:
    options = DataOptions()
    loaded: Any = loader(dataset.split("train"), options, batch_size=9, train=True, seed=1, images=False)
    drawn = []
    for epoch in (1, 2):
        loaded.sampler.set_epoch(epoch)
        batch = next(iter(loaded))
        assert batch.images.shape == (9, 0, 3, 1, 1)
        assert batch.view_mask.shape == (9, 0)
        assert sorted(batch.reports) == sorted(report.findings for report in dataset.split("train").reports)
        drawn.append(batch.draws)
    assert len({draw for draws in drawn for draw in draws}) == 18


def test_what_is_no_language_model_is_told(run: Path, dataset: PreparedDataset, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="leave out the section encoder"):
        PretrainRecipe.parse({"name": "t", "objective": TINY, "encoder": {"name": "vit_tiny"}})
    with pytest.raises(UserError, match="multiple of twice heads"):
        PretrainRecipe.parse({"name": "t", "objective": {**TINY, "heads": 3}})
    assert PretrainRecipe.load(run / "recipe.yaml") == recipe()
    assert "encoder" not in recipe().model_dump()
    with pytest.raises(UserError, match=r"not a language model folder.*pretrain language"):
        ReportLanguageModel.load(run)
    copy = tmp_path / "model"
    copy.mkdir()
    for file in (run / "model").iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    (copy / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match=r"tokenizer\.json is damaged"):
        ReportLanguageModel.load(copy)
    (copy / "provenance.json").unlink()
    with pytest.raises(UserError, match="not a language model folder"):
        ReportLanguageModel.load(copy)
    silent = make_dataset(tmp_path / "silent", {"train": ["", ""], "val": ["clear ."]})
    with pytest.raises(UserError, match=r"No study of the train split .* section findings"):
        pretrain(recipe(), [Weighted(silent)], tmp_path / "run")

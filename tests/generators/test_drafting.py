"""Drafting a split or files with a toy generator that reads the brightness of the images."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from cxreport import DISCLAIMER
from cxreport.data.batch import Batch
from cxreport.data.store import PreparedDataset, write_dataset
from cxreport.errors import UserError
from cxreport.generators.base import Generator, TrainStudies
from cxreport.generators.drafting import draft_files, draft_split, protocol_id
from cxreport.generators.prediction_file import write_predictions
from cxreport.metrics.evaluate import Options, evaluate_file
from cxreport.options import DataOptions, DecodingOptions
from cxreport.recipe import Recipe
from cxreport.study import Draft, Finding, Report, Study, View

TEXTS = {
    "normal": "the lungs are clear .",
    "left": "small left pleural effusion .",
    "right": "small right pleural effusion .",
}
GREYS = {"normal": 60, "left": 120, "right": 180}
FINDINGS = {
    "normal": (),
    "left": (Finding("pleural_effusion", "left"),),
    "right": (Finding("pleural_effusion", "right"),),
}


class Brightness(Generator):
    """Writes what the grey level says, and remembers which batches it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))
        self.batches: list[list[str]] = []
        self.fail_at: int | None = None
        self.logprob = -0.5

    @classmethod
    def build(cls, options: Any, train: TrainStudies) -> Self:
        return cls()

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": self.bias.sum()}

    def generate(self, batch: Batch, decoding: DecodingOptions) -> list[Draft]:
        if self.fail_at == len(self.batches):
            raise KeyboardInterrupt
        self.batches.append(batch.study_ids)
        greys = (batch.images[:, 0, 0].mean(dim=(1, 2)) * 0.229 + 0.485) * 255
        kinds = [min(GREYS, key=lambda kind: abs(GREYS[kind] - float(grey))) for grey in greys]
        return [Draft(TEXTS[kind], (self.logprob,)) for kind in kinds]

    def features(self, batch: Batch) -> Tensor:
        means = batch.images[:, 0, 0].mean(dim=(1, 2)) + self.bias
        return torch.stack([means, torch.ones_like(means)], dim=1)

    def encoder_parameters(self) -> Iterable[nn.Parameter]:
        return [self.bias]

    def truncated(self, reports: Iterable[str]) -> int:
        return 0

    def save_assets(self, folder: Path) -> None:
        raise NotImplementedError

    @classmethod
    def load_assets(cls, options: Any, folder: Path) -> Self:
        raise NotImplementedError


def png(grey: int) -> bytes:
    pixels = np.full((32, 32), grey, dtype=np.uint8)
    pixels[0, 0] = 0
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def study(number: int, split: str, kind: str, **changes: Any) -> Study:
    values: dict[str, Any] = {
        "report": Report(findings=TEXTS[kind]),
        "findings": FINDINGS[kind],
        "metadata": {"language": "grammar"},
    } | changes
    view = View(png(GREYS[kind]), 32, 32, "frontal")
    return Study(f"{split}-{number}", f"patient-{split}-{number}", (view,), split=split, **values)


def dataset_of(folder: Path, studies: Iterable[Study]) -> PreparedDataset:
    return write_dataset(studies, folder, source="test", source_version="1", options={})


KINDS = ("normal", "left", "right", "normal", "left", "normal", "right")


@pytest.fixture
def dataset(tmp_path: Path) -> PreparedDataset:
    train = [study(i, "train", kind) for i, kind in enumerate(("normal", "left", "normal", "right"))]
    return dataset_of(tmp_path / "data", [*train, *(study(i, "test", kind) for i, kind in enumerate(KINDS))])


@pytest.fixture
def recipe() -> Recipe:
    return Recipe.parse(
        {
            "name": "toy",
            "data": {"image_size": 32},
            "model": {"generator": "r2gen"},
            "decoding": {"batch_size": 3, "method": "greedy"},
        }
    )


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_study_gets_a_complete_line(dataset: PreparedDataset, recipe: Recipe, tmp_path: Path) -> None:
    out = tmp_path / "new" / "predictions.jsonl"
    summary = draft_split(Brightness(), recipe, dataset, "test", out)
    lines = lines_of(out)
    assert [line["study_id"] for line in lines] == [f"test-{i}" for i in range(7)]
    assert [line["hypothesis"] for line in lines] == [TEXTS[kind] for kind in KINDS]
    first, second = lines[:2]
    assert (first["truth"], second["truth"]) == ([], [["pleural_effusion", "left"]])
    assert second["reference"] == TEXTS["left"]
    assert second["mean_logprob"] == -0.5
    assert second["seconds"] >= 0
    assert (second["split"], second["language"], second["protocol"]) == (
        "test",
        "grammar",
        "findings.full.clean",
    )
    assert second["disclaimer"] == DISCLAIMER
    assert second["evidence"] == []
    assert (summary.studies, summary.resumed) == (7, 0)
    assert sorted(file.name for file in out.parent.iterdir()) == ["predictions.jsonl"]


def test_evidence_stands_in_the_lines_where_it_was_asked_for(
    dataset: PreparedDataset, recipe: Recipe, tmp_path: Path
) -> None:
    out = tmp_path / "p.jsonl"
    draft_split(Brightness(), recipe, dataset, "test", out, controls=False, evidence="scores")
    assert lines_of(out)[1]["evidence"] == [
        {
            "sentence": TEXTS["left"],
            "start": 0,
            "end": len(TEXTS["left"]),
            "mean_logprob": 0.0,
            "maps": [],
            "bank": [],
        }
    ]
    assert evaluate_file(out)["n"] == 7
    with pytest.raises(UserError, match="no attention"):
        draft_split(Brightness(), recipe, dataset, "test", tmp_path / "q.jsonl", evidence="attention")


def test_drafts_without_an_end_are_counted(dataset: PreparedDataset, recipe: Recipe, tmp_path: Path) -> None:
    class Endless(Brightness):
        def generate(self, batch: Batch, decoding: DecodingOptions) -> list[Draft]:
            drafts = super().generate(batch, decoding)
            return [replace(draft, finished=draft.text == TEXTS["normal"]) for draft in drafts]

    out = tmp_path / "p.jsonl"
    summary = draft_split(Endless(), recipe, dataset, "test", out, controls=False)
    assert summary.notes == ("4 of 7 drafts were cut at decoding.max_length (60).",)
    assert [line["finished"] for line in lines_of(out)] == [kind == "normal" for kind in KINDS]


def test_controls_come_from_train_and_from_other_studies(
    dataset: PreparedDataset, recipe: Recipe, tmp_path: Path
) -> None:
    out = tmp_path / "p.jsonl"
    summary = draft_split(Brightness(), recipe, dataset, "test", out)
    assert summary.controls == ("most_frequent", "random_train", "nearest_neighbour", "shuffled_images")
    lines = lines_of(out)
    assert {line["controls"]["most_frequent"] for line in lines} == {TEXTS["normal"]}
    assert [line["controls"]["nearest_neighbour"] for line in lines] == [TEXTS[kind] for kind in KINDS]
    # No kind has more than half of the studies, so nobody keeps a draft of its own truth.
    assert all(line["controls"]["shuffled_images"] != line["hypothesis"] for line in lines)
    assert sorted(line["controls"]["shuffled_images"] for line in lines) == sorted(
        TEXTS[kind] for kind in KINDS
    )


def test_the_file_is_scored_and_shuffling_the_images_destroys_the_score(
    dataset: PreparedDataset, recipe: Recipe, tmp_path: Path
) -> None:
    out = tmp_path / "p.jsonl"
    draft_split(Brightness(), recipe, dataset, "test", out)
    scores = evaluate_file(out, Options(min_positives=2))
    assert scores["protocol"] == "findings.full.clean"
    assert scores["scores"]["finding_f1"]["value"] == 1.0
    assert scores["controls"]["shuffled_images"]["finding_f1"]["value"] == 0.0
    assert scores["controls"]["nearest_neighbour"]["finding_f1"]["value"] == 1.0


def test_bilateral_findings_become_both_sides(recipe: Recipe, tmp_path: Path) -> None:
    both = (Finding("pleural_effusion", "bilateral"), Finding("cardiomegaly"))
    studies = [study(0, "test", "left", findings=both), study(1, "test", "left", findings=None)]
    out = tmp_path / "p.jsonl"
    draft_split(Brightness(), recipe, dataset_of(tmp_path / "data", studies), "test", out, controls=False)
    first, second = lines_of(out)
    expected = [["cardiomegaly", None], ["pleural_effusion", "left"], ["pleural_effusion", "right"]]
    assert first["truth"] == expected
    assert second["truth"] is None
    assert "controls" not in first


def test_an_interrupted_file_is_continued_not_redone(
    dataset: PreparedDataset, recipe: Recipe, tmp_path: Path
) -> None:
    unbroken, out = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    draft_split(Brightness(), recipe, dataset, "test", unbroken)
    broken = Brightness()
    broken.fail_at = 2
    with pytest.raises(KeyboardInterrupt):
        draft_split(broken, recipe, dataset, "test", out)
    assert not out.exists()
    part = tmp_path / "b.jsonl.part"
    with part.open("a") as file:
        file.write('{"study_id": "test-6", "hypo')
    again = Brightness()
    summary = draft_split(again, recipe, dataset, "test", out)
    assert again.batches == [["test-6"]]
    assert (summary.studies, summary.resumed) == (7, 6)
    without_time = [[{**line, "seconds": 0} for line in lines_of(path)] for path in (unbroken, out)]
    assert without_time[0] == without_time[1]
    assert not part.exists()


@pytest.mark.parametrize("change", ["weights", "recipe", "split"])
def test_drafts_of_something_else_are_not_taken_over(
    dataset: PreparedDataset, recipe: Recipe, tmp_path: Path, change: str
) -> None:
    out = tmp_path / "p.jsonl"
    broken = Brightness()
    broken.fail_at = 1
    with pytest.raises(KeyboardInterrupt):
        draft_split(broken, recipe, dataset, "test", out)
    other = Brightness()
    split = "train" if change == "split" else "test"
    if change == "weights":
        nn.init.ones_(other.bias)
    if change == "recipe":
        recipe = recipe.model_copy(update={"seed": 1})
    summary = draft_split(other, recipe, dataset, split, out, controls=False)
    assert summary.resumed == 0
    assert any("begun anew" in note for note in summary.notes)
    assert len(lines_of(out)) == summary.studies


def test_a_missing_control_is_told(recipe: Recipe, tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path / "data", [study(0, "test", "left")])
    summary = draft_split(Brightness(), recipe, dataset, "test", tmp_path / "p.jsonl")
    assert summary.controls == ()
    assert [note.split(":")[0] for note in summary.notes] == [
        "No baselines from training reports",
        "No shuffled images",
    ]


def test_the_train_split_is_no_baseline_for_itself(
    dataset: PreparedDataset, recipe: Recipe, tmp_path: Path
) -> None:
    summary = draft_split(Brightness(), recipe, dataset, "train", tmp_path / "p.jsonl")
    assert summary.controls == ("shuffled_images",)


def test_train_studies_without_a_report_are_no_neighbours(recipe: Recipe, tmp_path: Path) -> None:
    studies = [
        study(0, "train", "left", report=Report()),
        study(1, "train", "normal"),
        study(0, "test", "left"),
        study(1, "test", "left"),
    ]
    dataset = dataset_of(tmp_path / "data", studies)
    draft_split(Brightness(), recipe, dataset, "test", tmp_path / "p.jsonl")
    for line in lines_of(tmp_path / "p.jsonl"):
        assert set(line["controls"].values()) == {TEXTS["normal"], TEXTS["left"]}
        assert line["controls"]["nearest_neighbour"] == TEXTS["normal"]


def test_progress_reaches_the_end_of_every_step(
    dataset: PreparedDataset, recipe: Recipe, tmp_path: Path
) -> None:
    calls: list[tuple[str, int, int]] = []
    draft_split(
        Brightness(),
        recipe,
        dataset,
        "test",
        tmp_path / "p.jsonl",
        progress=lambda step, done, total: calls.append((step, done, total)),
    )
    last = {step: (done, total) for step, done, total in calls}
    assert last == {"drafts": (7, 7), "features of train": (4, 4), "features of test": (7, 7)}


def test_a_diverged_model_is_told(dataset: PreparedDataset, recipe: Recipe, tmp_path: Path) -> None:
    generator = Brightness()
    generator.logprob = float("nan")
    with pytest.raises(UserError, match="training diverged"):
        draft_split(generator, recipe, dataset, "test", tmp_path / "p.jsonl")


def test_absent_split_and_unwritable_place_are_told(
    dataset: PreparedDataset, recipe: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="has no val split"):
        draft_split(Brightness(), recipe, dataset, "val", tmp_path / "p.jsonl")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Cannot write the drafts"):
        draft_split(Brightness(), recipe, dataset, "test", tmp_path / "file" / "p.jsonl")
    with pytest.raises(UserError, match="Cannot write the drafts"):
        write_predictions([{"study_id": "a"}], tmp_path / "data")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    write_predictions([{"study_id": "old"}], out)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_predictions([{"study_id": "new"}, {"x": float("nan")}], out)
    assert lines_of(out) == [{"study_id": "old"}]
    assert [file.name for file in tmp_path.iterdir()] == ["p.jsonl"]


@pytest.fixture
def image_file(tmp_path: Path) -> Callable[[str, str], Path]:
    def write(name: str, kind: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(GREYS[kind]))
        return path

    return write


def test_files_are_separate_studies_without_their_names(
    recipe: Recipe, image_file: Callable[[str, str], Path], tmp_path: Path
) -> None:
    single = image_file("Smith^John.png", "left")
    image_file("folder/b.png", "right")
    image_file("folder/a/c.png", "normal")
    image_file("folder/d.png", "right")
    result = draft_files(Brightness(), recipe, [single, tmp_path / "folder"])
    texts = [record["hypothesis"] for record in result.records]
    assert texts == [TEXTS["left"], TEXTS["normal"], TEXTS["right"], TEXTS["right"]]
    ids = [record["study_id"] for record in result.records]
    assert [name.rsplit("-", 1)[0] for name in ids] == ["input-1", "input-2", "input-3", "input-4"]
    assert ids[2][-8:] == ids[3][-8:] != ids[1][-8:]  # the same content
    assert result.paths[ids[0]] == single
    assert "Smith" not in json.dumps(result.records)
    assert {record["reference"] for record in result.records} == {""}
    assert {record["disclaimer"] for record in result.records} == {DISCLAIMER}
    assert {record["truth"] for record in result.records} == {None}


def test_a_bad_file_is_listed_and_the_others_are_drafted(
    recipe: Recipe, image_file: Callable[[str, str], Path], tmp_path: Path
) -> None:
    for number in range(4):
        image_file(f"folder/{number}.png", "left")
    (tmp_path / "folder" / "1.png").write_bytes(b"text, not an image")
    (tmp_path / "folder" / "2.png").write_bytes(png(60)[:50])
    result = draft_files(Brightness(), recipe, [tmp_path / "folder"])
    assert [record["study_id"][:8] for record in result.records] == ["input-1-", "input-4-"]
    assert result.exclusions.counts == {"unreadable image": 2}
    assert "1.png is not a PNG" in result.exclusions.items[0].detail


def test_nothing_readable_is_a_mistake(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no file"):
        draft_files(Brightness(), recipe, [tmp_path / "absent.png"])
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"None of the 2 files can be read; There is no file"):
        draft_files(Brightness(), recipe, [tmp_path / "absent.png", tmp_path / "empty.png"])
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="holds no file"):
        draft_files(Brightness(), recipe, [tmp_path / "folder"])


def test_a_line_names_the_patient_by_a_hash_and_the_facts_of_subgroups(
    recipe: Recipe, tmp_path: Path
) -> None:
    """One patient has one hash within a dataset, another one in another dataset, and no name anywhere."""
    facts = ({"sex": "F", "age": 61, "accession": "secret"}, {"sex": None})
    studies = [study(0, "train", "normal")]
    studies += [
        replace(study(i, "test", "left", metadata=known), patient_id="Jane Doe")
        for i, known in enumerate(facts)
    ]
    hashes = []
    for name, chosen in (("a", studies), ("b", studies[1:])):
        out = tmp_path / f"{name}.jsonl"
        draft_split(Brightness(), recipe, dataset_of(tmp_path / name, chosen), "test", out, controls=False)
        lines = lines_of(out)
        assert [line["facts"] for line in lines] == [
            {"sex": "F", "age": 61, "projection": "frontal"},
            {"projection": "frontal"},
        ]
        assert lines[0]["patient_id"] == lines[1]["patient_id"]
        assert "Jane" not in out.read_text()
        assert "secret" not in out.read_text()
        hashes.append(lines[0]["patient_id"])
    assert len(hashes[0]) == 16
    assert hashes[0] != hashes[1]
    assert evaluate_file(tmp_path / "a.jsonl", Options(metrics=("bleu",)))["patients"] == 1


def test_the_protocol_names_what_changes_a_reference():
    assert protocol_id(DataOptions()) == "findings.full.clean"
    options = DataOptions(section="both", cleaner="characters", marks="drop")
    assert protocol_id(options) == "both.full.characters.marks-drop"

"""What the baselines write, and that they are honest about what they cannot do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_registry import batch
from tiny_encoders import classifier_folder, encoder_folder
from tiny_studies import study, train_studies

from cxreport.checkpoints import load_model, read_provenance
from cxreport.data.batch import Batch, loader
from cxreport.data.store import write_dataset
from cxreport.errors import UserError
from cxreport.generators import generator_class
from cxreport.generators.classifier_template import best_thresholds
from cxreport.generators.templates import findings_written, labels_written, typical_findings
from cxreport.metrics.labeler import LABELS, label_report
from cxreport.model_options import (
    AllNormalOptions,
    ClassifierTemplateOptions,
    MostFrequentOptions,
    NearestNeighbourOptions,
    RandomReportOptions,
)
from cxreport.objectives.predicting import LabelPredictions
from cxreport.options import DataOptions, DecodingOptions, EncoderOptions
from cxreport.phantom.parser import parse
from cxreport.recipe import Recipe
from cxreport.study import Finding
from cxreport.training import fit

TEXTS = ["clear .", "effusion .", "normal .", "effusion .", "effusion .", "edema .", "normal .", "nodule ."]
"""Every other study is labelled No Finding, the first one too."""
DECODING = DecodingOptions()


def texts(name: str, options: object, studies: Batch | None = None) -> list[str]:
    generator = generator_class(name).build(options, train_studies(TEXTS))
    return [draft.text for draft in generator.generate(studies or batch(), DECODING)]


def test_the_most_frequent_report_and_the_most_frequent_normal_one() -> None:
    assert texts("most_frequent", MostFrequentOptions()) == ["effusion ."] * 4
    assert texts("all_normal", AllNormalOptions()) == ["normal ."] * 4


def test_no_normal_study_is_an_error() -> None:
    train = train_studies(TEXTS)
    sick = replace(train, studies=[replace(study, labels={"Edema": 1}) for study in train.studies])
    with pytest.raises(UserError, match="No train study is labelled No Finding"):
        generator_class("all_normal").build(AllNormalOptions(), sick)


def test_a_random_report_depends_on_the_study_and_the_seed_alone() -> None:
    whole = texts("random", RandomReportOptions())
    [alone] = texts(
        "random", RandomReportOptions(), replace(batch(), study_ids=["c"], images=batch().images[:1])
    )
    assert alone == whole[2]
    many = replace(batch(), study_ids=[str(number) for number in range(2000)])
    drawn = texts("random", RandomReportOptions(), many)
    assert 0.30 < np.mean([text == "effusion ." for text in drawn]) < 0.45  # three of eight
    assert set(drawn) == set(TEXTS)


def test_the_nearest_neighbour_of_a_train_image_is_that_study_unless_it_is_the_query() -> None:
    options = NearestNeighbourOptions(encoder=EncoderOptions(width=4, init=str(encoder_folder())))
    train = train_studies(TEXTS)
    [queries] = loader(train.studies, train.data, batch_size=8, train=False, seed=0)
    generator = generator_class("nearest_neighbour").build(options, train)
    strangers = replace(queries, study_ids=[f"other {i}" for i in range(8)], patient_ids=[""] * 8)
    assert [draft.text for draft in generator.generate(strangers, DECODING)] == TEXTS
    entries = generator.bank_entries(strangers)
    assert [own[0].entry for own in entries] == list(range(8))
    assert all(own[0].score == pytest.approx(1, abs=1e-5) for own in entries)
    own = [entry[0].entry for entry in generator.bank_entries(queries)]
    assert all(place != number for number, place in enumerate(own))


def test_an_untrained_encoder_is_refused() -> None:
    with pytest.raises(UserError, match=r"model\.encoder\.init"):
        texts("nearest_neighbour", NearestNeighbourOptions())


def test_thresholds_are_those_of_the_largest_f1() -> None:
    logits = np.array(
        [[0.9, 5.0, 1.0], [0.8, 4.0, 2.0], [0.7, 3.0, 3.0], [0.1, 2.0, 4.0], [0.2, 1.0, 5.0]] * 5
    )
    truth = np.array([[1, 0, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, np.nan]] * 5, dtype=float)
    truth[0, 2] = 1
    predicted = LabelPredictions(("a", "b", "c"), [], [], logits, truth)
    found = best_thresholds(predicted).tolist()
    assert found == [pytest.approx(0.8), float("inf"), 0.0]


def test_a_template_writes_what_the_classifier_finds() -> None:
    options = ClassifierTemplateOptions(classifier=str(classifier_folder()))
    generator = generator_class("classifier_template").build(options, train_studies(TEXTS))
    with torch.no_grad():
        generator.thresholds.fill_(torch.inf)
    [nothing, *_] = [draft.text for draft in generator.generate(batch(), DECODING)]
    assert nothing == labels_written([], DataOptions())
    generator.thresholds[LABELS.index("Edema")] = -torch.inf
    [edema, *_] = [draft.text for draft in generator.generate(batch(), DECODING)]
    assert edema == labels_written(["Edema"], DataOptions())
    assert "there is pulmonary edema ." in edema


@pytest.mark.parametrize(("language", "cleaner"), [("en", "clean"), ("zh", "characters")])
@pytest.mark.parametrize("label", [label for label in LABELS if label != "No Finding"])
def test_the_labeler_reads_every_sentence_as_its_label(language: str, cleaner: str, label: str) -> None:
    text = labels_written([label], DataOptions(cleaner=cleaner))
    whole = text.replace(" ", "") if language == "zh" else text
    labels = label_report(whole, language).labels
    found = {name for name, status in labels.items() if status == "positive"}
    assert label in found
    normal_but_for_devices = {"No Finding"} if label == "Support Devices" else set()
    assert found <= {label, "Lung Opacity", "Consolidation"} | normal_but_for_devices, whole


def test_a_phantoms_findings_are_written_with_their_typical_words() -> None:
    seen = [
        [Finding("nodule", "left", "upper"), Finding("edema", severity="mild")],
        [Finding("nodule", "left", "lower")],
        [Finding("nodule", "left", "lower"), Finding("pleural_effusion", "bilateral", severity="severe")],
    ]
    typical = typical_findings(seen)
    assert typical["nodule", "left"] == Finding("nodule", "left", "lower")
    assert typical["pleural_effusion", "right"].severity == "severe"
    present = [("nodule", "left"), ("pleural_effusion", "right"), ("pneumothorax", "left")]
    for cleaner in ("clean", "characters"):
        text = findings_written(present, typical, DataOptions(cleaner=cleaner), np.random.default_rng(1))
        assert parse(text) == {("nodule", "left"), ("pleural_effusion", "right")}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"classifier": None}, r"model\.classifier"),
        ({"data": DataOptions(image_size=64)}, r"set data\.image_size=32"),
        ({"val": []}, "no val study"),
    ],
)
def test_what_a_template_cannot_be_built_from_is_told(changes: dict[str, object], words: str) -> None:
    given = {"classifier": str(classifier_folder())} | changes
    options = ClassifierTemplateOptions(classifier=given.pop("classifier"))
    with pytest.raises(UserError, match=words):
        generator_class("classifier_template").build(options, replace(train_studies(TEXTS), **given))


def test_a_damaged_memory_is_told(tmp_path: Path) -> None:
    (tmp_path / "reports.json").write_text("[")
    with pytest.raises(UserError, match=r"reports\.json cannot be read"):
        generator_class("random").load_assets(RandomReportOptions(), tmp_path)


def test_a_run_with_nothing_to_train_is_finished_once_it_is_built(tmp_path: Path) -> None:
    train = [study(number, text, normal=True) for number, text in enumerate(TEXTS)]
    val = [replace(study(90 + number, "clear .", normal=True), split="val") for number in range(2)]
    dataset = write_dataset([*train, *val], tmp_path / "data", source="test", source_version="1", options={})
    recipe = Recipe(name="floor", data=DataOptions(image_size=32), model=MostFrequentOptions())
    model = fit(recipe, dataset, tmp_path / "run")
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (facts["status"], facts["epochs"], facts["kept_epoch"]) == ("finished", 0, None)
    assert (facts["parameters"], facts["studies"]["train"]) == (0, 8)
    assert read_provenance(model)["dataset"]["sha256"] == dataset.sha256
    loaded, _ = load_model(model)
    assert [draft.text for draft in loaded.generate(batch(), DECODING)] == ["effusion ."] * 4
    written = (model / "config.json").stat().st_mtime_ns
    assert fit(recipe, dataset, tmp_path / "run", resume=True) == model
    assert (model / "config.json").stat().st_mtime_ns == written

"""The recognition protocol on images whose truth is their brightness: what must be found, what refused."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from cxreport.bench.recognition import features as features_of
from cxreport.bench.recognition import protocol
from cxreport.bench.recognition.arms import Arm, check_loaded
from cxreport.bench.recognition.features import blind_features, frozen_features
from cxreport.bench.recognition.options import RecognitionRecipe
from cxreport.bench.recognition.protocol import run_recognition
from cxreport.bench.recognition.studies import Repeated, labelled_splits, subset_places
from cxreport.cli import app
from cxreport.data.store import PreparedDataset, write_dataset
from cxreport.encoders import build_encoder
from cxreport.encoders import folder as encoder_folder
from cxreport.encoders.folder import save_encoder
from cxreport.errors import UserError
from cxreport.options import EncoderOptions
from cxreport.study import Study, View
from cxreport.training.task import seed_everything

SIZES = {"train": 24, "val": 12, "test": 16}
ENCODER = EncoderOptions(name="vit_tiny", width=16, depths=(1,), heads=(2,), image_size=32)
SMALL = (
    "data.image_size=32",
    "shares=[{share: 0.25, epochs: 2, batch_size: 6, epoch_images: 12}, {share: 1, epochs: 2}]",
    "probe.seeds=2",
    "fine_tuning.seeds=1",
    "training.encoder_learning_rate=0.003",
    "resamples=200",
)
FRESH = "fresh=fresh:{name: vit_tiny, width: 16, depths: [1], heads: [2]}"


def make_dataset(folder: Path, swapped: bool = False) -> PreparedDataset:
    """A bright image has no finding; every fourth study is dim. Ages say nothing. `swapped` turns labels."""
    rng, studies = np.random.default_rng(5), []
    for split, size in SIZES.items():
        for number in range(size):
            present = number % 4 < 2
            pixels = rng.integers(0, 100, (32, 32), dtype=np.uint8) + (120 if present else 20)
            png = io.BytesIO()
            Image.fromarray(pixels.astype(np.uint8)).save(png, "PNG")
            told = present != (swapped and split == "test" and number % 3 == 0)
            studies.append(
                Study(
                    f"{split}{number}",
                    f"{split}-patient{number // 2}",
                    (View(png.getvalue(), 32, 32, "frontal"),),
                    split=split,  # type: ignore[arg-type]
                    labels={"No Finding": int(told), "Edema": int(not present and number % 4 == 2)},
                    metadata={"age": int(rng.integers(20, 80)), "sex": "FM"[number % 2]},
                )
            )
    return write_dataset(studies, folder, source="bright", source_version="1", options={"swapped": swapped})


def save_arm(
    folder: Path, seed: int, *, blind: bool = False, provenance: dict[str, Any] | None = None
) -> Path:
    """A folder of encoder weights; a blind encoder gives the same tokens whatever the image."""
    seed_everything(seed)
    encoder = build_encoder(ENCODER)
    if blind:
        torch.nn.init.zeros_(encoder.embedding.weight)  # type: ignore[union-attr, arg-type]
    save_encoder(folder, encoder, ENCODER, provenance or {})
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return make_dataset(tmp_path_factory.mktemp("bright") / "data")


@pytest.fixture(scope="module")
def arms(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("arms")
    return [
        FRESH,
        f"seeing={save_arm(folder / 'seeing', 1)}",
        f"blind={save_arm(folder / 'blind', 2, blind=True)}",
    ]


def recipe(*changes: str) -> RecognitionRecipe:
    return RecognitionRecipe.load("recognition", [*SMALL, *changes])


def run(
    dataset: PreparedDataset, arms: list[str], out: Path, *changes: str
) -> tuple[dict[str, Any], dict[tuple[str, str, float], dict[str, Any]]]:
    chosen = recipe(*changes)
    tree = run_recognition(chosen, [Arm.parse(arm, chosen.data.image_size) for arm in arms], dataset, out)
    return tree, {(row["mode"], row["arm"], row["share"]): row for row in tree["rows"]}


@pytest.fixture(scope="module")
def made(dataset: PreparedDataset, arms: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("table") / "out"
    run(dataset, arms, out)
    return out


def cells(out: Path) -> dict[str, dict[str, Any]]:
    return {path.name: json.loads(path.read_text()) for path in sorted((out / "cells").iterdir())}


def test_the_table_finds_what_is_known(made: Path, dataset: PreparedDataset, arms: list[str]) -> None:
    tree, rows = run(dataset, arms, made)
    assert len(rows) == 3 * 2 * 2 + 2
    for share in (0.25, 1.0):
        seeing, blind = rows["probe", "seeing", share], rows["probe", "blind", share]
        assert (seeing["auroc"], seeing["accuracy"], seeing["f1"]) == (1, 1, 1)
        assert (blind["auroc"], blind["ci95"], blind["deviation_of_seeds"]) == (0.5, [0.5, 0.5], 0)
        assert blind["over_fresh"]["value"] == -0.5
        assert seeing["over_fresh"] == {"of": "fresh", "value": 0, "ci95": [0, 0], "seeds": 2}
        assert rows["probe", "fresh", share].get("over_fresh") is None
        without = rows["image-blind", "image-blind", share]
        assert without["auroc"] < 0.8 < 1 == without["ci95"][1] or without["ci95"][0] < 0.5
        assert seeing["over_blind"]["value"] == pytest.approx(1 - without["auroc"])
    assert rows["fine-tuning", "seeing", 1.0]["auroc"] > 0.9
    assert tree["constant"] == {"auroc": 0.5, "f1": pytest.approx(2 / 3), "accuracy": 0.5}
    page = (made / "recognition.md").read_text()
    assert "| seeing | 25 % | 6 | 2 | 1.000 | 1.000 to 1.000 |" in page
    assert not list((made / "work").iterdir())


def test_a_cell_says_what_it_was_made_from(made: Path, dataset: PreparedDataset) -> None:
    cell = cells(made)["seeing.fine-tuning.25.9223.json"]
    assert cell["learnt"]["studies"] == 6
    assert 1 <= cell["learnt"]["present"] <= 5
    assert cell["identity"]["dataset"] == dataset.sha256
    assert len(cell["log"]) == 2
    assert cell["chosen"]["epoch"] == min(cell["log"], key=lambda row: row["val_loss"])["epoch"]
    probed = cells(made)["seeing.probe.25.9223.json"]
    assert cell["encoder_sha256"] == probed["encoder_sha256"]
    fresh = {made["encoder_sha256"] for name, made in cells(made).items() if name.startswith("fresh.")}
    assert len(fresh) == 2


def test_the_truth_of_test_chooses_nothing(
    made: Path, arms: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With other labels of the test studies every choice and every score is the same; the table is not."""
    other = make_dataset(tmp_path / "data", swapped=True)
    _, rows = run(other, arms, tmp_path / "out")
    before, after = cells(made), cells(tmp_path / "out")
    assert before.keys() == after.keys()
    for name, cell in before.items():
        assert after[name]["chosen"] == cell["chosen"], name
        assert after[name]["test_scores"] == cell["test_scores"], name
    assert rows["probe", "seeing", 1.0]["auroc"] < 0.9


def test_pairs_of_arms_are_compared_on_the_same_patients(
    made: Path, dataset: PreparedDataset, arms: list[str]
) -> None:
    tree, rows = run(dataset, arms, made, "pairs=[[seeing, blind]]")
    assert {(pair["mode"], pair["share"]) for pair in tree["pairs"]} == {
        (mode, share) for mode in ("probe", "fine-tuning") for share in (0.25, 1.0)
    }
    for pair in tree["pairs"]:
        one, other = (rows[pair["mode"], name, pair["share"]] for name in ("seeing", "blind"))
        assert pair["over"]["value"] == pytest.approx(one["auroc"] - other["auroc"])
    run(dataset, arms, made)
    with pytest.raises(UserError, match="nobody is no --arm"):
        run(dataset, arms, made, "pairs=[[seeing, nobody]]")


def test_finished_cells_are_not_made_again(
    made: Path, dataset: PreparedDataset, arms: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Counter[str] = Counter()

    def counted(name: str) -> Callable[..., Any]:
        true = getattr(protocol, name)

        def call(*given: Any) -> Any:
            calls[name] += 1
            return true(*given)

        return call

    for name in ("probe", "fine_tune", "frozen_features"):
        monkeypatch.setattr(protocol, name, counted(name))
    before, page = cells(made), (made / "recognition.md").read_text()
    run(dataset, arms, made)
    assert not calls
    for name in ("seeing.probe.25.9223.json", "blind.fine-tuning.100.9223.json"):
        (made / "cells" / name).unlink()
    run(dataset, arms, made)
    assert calls == {"probe": 1, "fine_tune": 1, "frozen_features": 1}
    after = cells(made)
    for cell in (*before.values(), *after.values()):
        cell.pop("seconds", None)
    assert after == before
    assert (made / "recognition.md").read_text() == page


def test_cells_of_another_protocol_or_other_weights_are_refused(
    made: Path, dataset: PreparedDataset, arms: list[str], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"\.25\.9223\.json was made with another protocol"):
        run(dataset, arms, made, "probe.strengths=[1]")
    other = [arms[0], f"seeing={save_arm(tmp_path / 'other', 8)}"]
    with pytest.raises(UserError, match=r"seeing\.probe.* was made with another encoder"):
        run(dataset, other, made)
    with pytest.raises(UserError, match="every arm needs a name of its own"):
        run(dataset, [arms[0], arms[0]], made)
    out = tmp_path / "damaged"
    (out / "cells").mkdir(parents=True)
    (out / "cells" / "fresh.probe.25.9223.json").write_text("{")
    with pytest.raises(UserError, match="is not a cell of this table; remove it"):
        run(dataset, [FRESH], out)


def test_an_encoder_without_the_folders_weights_is_an_error(
    arms: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loading that does nothing, as in the published code, is found before the first step."""
    arm = Arm.parse(arms[1], 32)
    arm.build(3)
    monkeypatch.setattr(encoder_folder, "load_weights", lambda encoder, folder: None)
    with pytest.raises(RuntimeError, match=r"\d tensors of the encoder \(.*, \.\.\.\) are not those of"):
        arm.build(3)


def test_an_encoder_of_which_most_is_not_the_folders(arms: list[str]) -> None:
    folder = Path(str(Arm.parse(arms[1], 32).options.init))
    with pytest.raises(RuntimeError, match="Only 0% of the weights"):
        check_loaded(torch.nn.Linear(2, 2), folder)


def test_one_scan_starts_four(tmp_path: Path) -> None:
    """The encoder of the first stage in the form of the second: what is the same in both is checked."""
    shape = {"width": 16, "depths": (1,), "state_size": 2, "image_size": 32, "patch": 8}
    one = EncoderOptions(name="vision_mamba_tiny_causal", **shape)  # type: ignore[arg-type]
    seed_everything(1)
    causal = build_encoder(one)
    save_encoder(tmp_path / "one", causal, one, {})
    shown = "name: vision_mamba_tiny, width: 16, depths: [1], state_size: 2, patch: 8"
    arm = Arm.parse(f"four={{{shown}, init: {tmp_path / 'one'}}}", 32)
    four = arm.build(2)
    scans = four.state_dict()["blocks.0.mixer.skip"].chunk(4)
    assert all(torch.equal(scan, causal.state_dict()["blocks.0.mixer.skip"]) for scan in scans)
    assert not arm.fresh
    assert arm.facts()["weights"] == Arm.parse(f"one={tmp_path / 'one'}", 32).facts()["weights"]


def test_weights_that_nobody_trained_or_that_change(arms: list[str], tmp_path: Path) -> None:
    fresh = save_arm(tmp_path / "fresh", 4, provenance={"seed": 4})
    with pytest.raises(UserError, match="holds the fresh weights of seed 4, which nothing has trained"):
        Arm.parse(f"a={fresh}", 32)
    arm = Arm.parse(f"a={save_arm(tmp_path / 'b', 5, provenance={'seed': 4})}", 32)
    save_arm(tmp_path / "b", 6)
    with pytest.raises(UserError, match=r"The weights in .*b changed"):
        arm.build(1)
    assert Arm.parse(f"a=fresh:{fresh}", 32).fresh


@pytest.mark.parametrize(
    ("arm", "sentence"),
    [
        ("folder", "give NAME=FOLDER"),
        ("a/b=imagenet", "give NAME=FOLDER"),
        ("a=nowhere", "not a folder of encoder weights"),
        ("a=fresh:{name: vit_tiny, dephts: [1]}", "write encoder options as in"),
        ("a=fresh:{", "not a YAML mapping"),
        ("a={name: vit_tiny}", "encoder options need init"),
    ],
)
def test_arms_that_are_not_understood(arm: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        Arm.parse(arm, 32)


def test_subsets_are_stratified_nested_and_of_both_classes(dataset: PreparedDataset) -> None:
    train = labelled_splits(dataset, "No Finding")["train"]
    for seed in range(20):
        few, many = (subset_places(dataset, train, recipe(), share, seed) for share in (0.25, 0.5))
        assert set(few) < set(many)
        assert (len(few), len(many)) == (6, 12)
        assert abs(train.truth[many].sum() - 6) <= 1
    with pytest.raises(UserError, match="holds 1 studies of one class"):
        subset_places(dataset, train, recipe(), 0.01, 1)
    with pytest.raises(UserError, match="does not have studies both with and without Pneumonia"):
        labelled_splits(dataset, "Pneumonia")
    repeated = Repeated(train.studies.select([3, 5]), 3)
    assert [study.study_id for study in repeated] == ["train3", "train5"] * 3
    assert len(repeated[1:3]) == 2


def test_features_are_read_again_only_for_the_same_weights_and_images(
    dataset: PreparedDataset, arms: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits, options, arm = labelled_splits(dataset, "No Finding"), recipe().data, Arm.parse(arms[1], 32)
    read: list[int] = []
    means = features_of.study_means

    def counted(encoder: Any, batch: Any) -> Any:
        read.append(len(batch))
        return means(encoder, batch)

    monkeypatch.setattr(features_of, "study_means", counted)
    first = frozen_features(arm.build(1), arm.options, splits, options, tmp_path)
    assert sum(read) == sum(SIZES.values())
    again = frozen_features(arm.build(2), arm.options, splits, options, tmp_path)
    assert sum(read) == sum(SIZES.values())
    assert all(np.array_equal(first[name], again[name]) for name in SIZES)
    other = Arm.parse(arms[2], 32)
    frozen_features(other.build(1), other.options, splits, options, tmp_path)
    assert sum(read) == 2 * sum(SIZES.values())
    for path in tmp_path.iterdir():
        path.write_bytes(b"damaged")
    frozen_features(arm.build(1), arm.options, splits, options, tmp_path)
    assert sum(read) == 3 * sum(SIZES.values())


def test_what_is_known_without_the_image(dataset: PreparedDataset) -> None:
    splits = labelled_splits(dataset, "No Finding")
    found = blind_features(splits)
    assert found is not None
    study = splits["val"].studies[3]
    assert found["val"][3].tolist() == [study.metadata["age"], 0, 0, 1]


def test_the_command(dataset: PreparedDataset, arms: list[str], made: Path) -> None:
    given = [part for arm in arms for part in ("--arm", arm)]
    given += [part for change in SMALL for part in ("--set", change)]
    command = ["bench", "recognition", "--data", str(dataset.path), "--out", str(made), *given]
    told = CliRunner().invoke(app, command)
    assert told.exit_code == 0, told.output
    assert "### Linear probe" in told.stdout
    tree = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert tree["test"] == {"studies": 16, "present": 8, "patients": 8}

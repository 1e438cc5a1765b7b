"""The classifier of diseases: its loss against the published one, what it counts, and that it learns."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from cxreport.data.batch import Batch
from cxreport.encoders import ENCODERS, build_encoder
from cxreport.errors import UserError
from cxreport.objectives.base import TrainFacts
from cxreport.objectives.disease import DiseaseClassification, MlpHeads, log_mean_exp
from cxreport.objectives.targets import Targets
from cxreport.options import EncoderOptions
from cxreport.phantom.kinds import SIDED_KINDS
from cxreport.pretraining import DiseaseOptions, DiseaseQueryOptions
from cxreport.study import LABELS, Finding

SMALL = DiseaseQueryOptions(width=16, layers=2, heads=2, feed_forward=16, dropout=0.0)
MEAN = SMALL.model_copy(update={"answer": "mean"})
TWO = ("Edema", "Fracture")
FAMILIES = sorted({each.build: name for name, each in ENCODERS.items() if "width" in each.options}.values())
"""An encoder of every family that comes in small."""


def tiny(**options: Any) -> DiseaseClassification:
    torch.manual_seed(0)
    encoder = build_encoder(EncoderOptions(name="resnet_small", width=4))
    return DiseaseClassification(encoder, DiseaseOptions(**options))


def batch_of(labels: list[dict[str, int]], images: torch.Tensor | None = None) -> Batch:
    count = len(labels)
    if images is None:
        images = torch.randn(count, 1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    ids = [f"s{number}" for number in range(count)]
    return Batch(images, torch.ones(count, images.shape[1], dtype=torch.bool), ids, [""] * count,
                 [None] * count, ids, labels)  # fmt: skip


def test_the_loss_is_the_published_two_way_cross_entropy_with_smoothing() -> None:
    """SwinCheX: one cross-entropy of two outputs a label, smoothing 0.1; ours is its mean over labels."""
    model = tiny(labels=TWO, head="mlp", smoothing=0.1).eval()
    batch = batch_of([{"Edema": 1, "Fracture": 0}, {"Edema": 0, "Fracture": 0}, {"Edema": 1, "Fracture": 1}])
    assert isinstance(model.heads, MlpHeads)
    features = model.encoder(batch.images[:, 0]).patches.mean(dim=1)
    pairs = [head(features) for head in model.heads.heads]
    truth = torch.tensor([[1, 0], [0, 0], [1, 1]])
    published = sum(
        functional.cross_entropy(pair, truth[:, place], label_smoothing=0.1)
        for place, pair in enumerate(pairs)
    )
    parts = model.loss(batch)
    assert parts["tokens"] == 6
    torch.testing.assert_close(parts["loss"] * 2, published)


def test_the_heads_of_swin_large_are_the_published_ones() -> None:
    [head] = MlpHeads(1536, 1).heads
    assert isinstance(head, nn.Sequential)
    sizes = [(layer.in_features, layer.out_features) for layer in head if isinstance(layer, nn.Linear)]
    assert sizes == [(1536, 384), (384, 48), (48, 48), (48, 2)]


@pytest.mark.parametrize(("uncertain", "expected"), [("ignore", float("nan")), ("zeros", 0.0), ("ones", 1.0)])
def test_what_an_uncertain_and_a_missing_label_count_as(uncertain: str, expected: float) -> None:
    rows: list[dict[str, int]] = [{"Edema": -1}, {"Fracture": 1}, {}]
    targets = Targets(DiseaseOptions(labels=TWO, uncertain=uncertain))
    wanted = torch.tensor([[expected, 0.0], [0.0, 1.0], [float("nan")] * 2])
    torch.testing.assert_close(targets.truth(rows, []), wanted, equal_nan=True)
    partly = Targets(DiseaseOptions(labels=TWO, missing="ignore")).truth([{"Fracture": 1}], [])
    assert partly[0].isnan().tolist() == [True, False]


def test_what_is_not_known_does_not_teach() -> None:
    model = tiny(labels=TWO).eval()
    known = {"Edema": 1, "Fracture": 0}
    mixed = batch_of([known, {}, {"Edema": -1, "Fracture": 1}])
    parts = model.loss(mixed)
    assert parts["tokens"] == 3
    logits = model.logits(mixed.images[:, 0]).detach()
    pairs = [(0, 0, 0.95), (0, 1, 0.05), (2, 1, 0.95)]
    errors = [functional.binary_cross_entropy_with_logits(logits[row, label], torch.tensor(value))
              for row, label, value in pairs]  # fmt: skip
    torch.testing.assert_close(parts["loss"], torch.stack(errors).mean())
    nothing = model.loss(batch_of([{}, {}]))
    assert nothing["loss"] == 0
    assert nothing["tokens"] == 0


@pytest.mark.parametrize(
    ("balance", "present", "absent"),
    [
        ("none", [1.0, 1.0], [1.0, 1.0]),
        ("inverse", [3.0, 3.5], [1.0, 1.0]),
        ("exponential", [math.exp(0.75), math.e], [math.exp(0.25), 1.0]),
    ],
)
def test_weights_by_hand(balance: str, present: list[float], absent: list[float]) -> None:
    """One of four studies has an edema; none of four a fracture, whose weight is the limit."""
    model = tiny(labels=TWO, balance=balance, largest_weight=3.5)
    model.prepare(TrainFacts("d", [{"Edema": 1}, {"Edema": 0}, {"Edema": 0}, {"Edema": 0}]))
    assert model.positives.tolist() == [1, 0]
    assert model.negatives.tolist() == [3, 4]
    torch.testing.assert_close(model.weights()[0], torch.tensor(present))
    torch.testing.assert_close(model.weights()[1], torch.tensor(absent))


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_the_counts_of_the_train_split_are_told_and_start_the_heads(
    head: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = tiny(labels=TWO, head=head).eval()
    with caplog.at_level(logging.WARNING, "cxreport"):
        model.prepare(TrainFacts("d", [{"Edema": 1}] * 30 + [{"Edema": 0}] * 10 + [{}] * 2))
    assert "2 of 42 training studies have no label" in caplog.text
    assert "1 of 2 labels are in no training study and are learnt to be absent: Fracture" in caplog.text
    assert model.measured() == {"positives": {"Edema": 30, "Fracture": 0}, "unlabelled": 2}
    chances = model.logits(torch.zeros(1, 3, 32, 32)).sigmoid()[0].tolist()
    assert chances[0] == pytest.approx(30.5 / 41, abs=0.02)
    assert chances[1] == pytest.approx(0.5 / 41, abs=0.02)


def test_data_without_labels_is_named() -> None:
    with pytest.raises(UserError, match=r"No training study of some/data has one of the 14 labels"):
        tiny().prepare(TrainFacts("some/data", [{}, {}], [None, None]))
    with pytest.raises(UserError, match="has findings"):
        tiny(targets="findings").prepare(TrainFacts("some/data", [{"Edema": 1}], [None]))
    with pytest.raises(UserError, match="'Edemas', which is none of the labels"):
        tiny(labels=("Edemas",))


def test_sided_findings_are_targets_too() -> None:
    targets = Targets(DiseaseOptions(targets="findings"))
    assert len(targets.names) == len(SIDED_KINDS)
    found = targets.truth([], [frozenset({("pleural_effusion", "left"), ("edema", None)}), None])
    assert [targets.names[place] for place in (found[0] == 1).nonzero()[:, 0]] == [
        "left pleural_effusion", "edema",
    ]  # fmt: skip
    assert found[1].isnan().all()
    box, other = (0.1, 0.2, 0.3, 0.4), (0.5, 0.5, 0.9, 0.9)
    seen = [Finding("consolidation", "left", boxes={"frontal": box}),
            Finding("atelectasis", "right", boxes={"frontal": other, "lateral": box})]  # fmt: skip
    labels = Targets(DiseaseOptions())
    boxes = {labels.names[place]: each for place, each in labels.boxes(seen, "frontal").items()}
    assert boxes == {"Consolidation": [box], "Lung Opacity": [box, other], "Atelectasis": [other]}
    sided = {targets.names[place] for place in targets.boxes(seen, "lateral")}
    assert sided == {"right atelectasis"}


@pytest.mark.parametrize("queries", [None, SMALL, MEAN])
@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_every_parameter_has_a_gradient(queries: DiseaseQueryOptions | None, head: str) -> None:
    model = tiny(queries=queries, head=head)
    model.loss(batch_of([{name: place % 2 for place, name in enumerate(LABELS)}] * 2)).get("loss").backward()
    missing = [name for name, each in model.named_parameters() if each.grad is None]
    assert missing == []


def test_own_queries_answer_for_their_label_only() -> None:
    model = tiny(queries=SMALL).eval()
    patches = torch.randn(2, 4, model.encoder.width)
    tokens = model.queries(patches)[0]
    tokens = tokens.detach().requires_grad_()
    model.heads(tokens)[:, 3].sum().backward()
    assert (tokens.grad.abs().sum(dim=(0, 2)) > 0).nonzero()[:, 0].tolist() == [3]


def test_peaks_lie_between_mean_and_largest() -> None:
    """Of answers 0 and 2 with sharpness 1: log((1 + e^2) / 2)."""
    answers = torch.tensor([[[0.0], [2.0]]])
    assert log_mean_exp(answers, 1.0).item() == pytest.approx(math.log((1 + math.e**2) / 2))
    assert log_mean_exp(answers, 1e-3).item() == pytest.approx(1.0, abs=1e-2)
    assert log_mean_exp(answers, 1e3).item() == pytest.approx(2.0, abs=1e-2)


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_peak_asks_every_patch(head: str) -> None:
    model = tiny(labels=TWO, pooling="peak", sharpness=3.0, head=head).eval()
    patches = torch.randn(2, 5, model.encoder.width)
    answers = torch.stack([model.heads(patches[:, place : place + 1]) for place in range(5)], dim=1)
    torch.testing.assert_close(model.logits_of(patches), log_mean_exp(answers, 3.0))


def test_tokens_and_maps_of_queries() -> None:
    model = tiny(queries=SMALL).eval()
    images = torch.randn(2, 3, 48, 32)
    assert model.query_tokens(images).shape == (2, 14, 16)
    maps = model.query_maps(images)
    assert maps.shape == (2, 14, 3, 2)
    torch.testing.assert_close(maps.sum(dim=(2, 3)), torch.ones(2, 14))
    with pytest.raises(UserError, match=r"objective\.queries"):
        tiny().query_tokens(images)


def test_a_study_is_the_mean_of_its_views() -> None:
    model = tiny(labels=TWO).eval()
    images = torch.randn(2, 2, 3, 32, 32)
    images[1, 1] = 0
    mask = torch.tensor([[True, True], [True, False]])
    batch = Batch(images, mask, ["a", "b"], ["", ""], [None, None], ["a", "b"], [{}, {}])
    alone = model.logits(images.flatten(0, 1)).unflatten(0, (2, 2))
    wanted = torch.stack([alone[0].mean(dim=0), alone[1, 0]])
    torch.testing.assert_close(model.study_logits(batch), wanted)


def test_views_carry_the_labels_of_their_study() -> None:
    model = tiny(labels=("Edema",), smoothing=0).eval()
    images = torch.randn(2, 2, 3, 32, 32)
    mask = torch.tensor([[True, True], [True, False]])
    batch = Batch(images, mask, ["a", "b"], ["", ""], [None] * 2, ["a", "b"], [{"Edema": 1}, {"Edema": 0}])
    logits = model.logits(images[mask])[:, 0]
    wanted = functional.binary_cross_entropy_with_logits(logits, torch.tensor([1.0, 1.0, 0.0]))
    torch.testing.assert_close(model.loss(batch)["loss"], wanted)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_of_encoders_has_maps(name: str) -> None:
    """Grad-CAM of a linear head over mean patches is what the head says of every patch (Zhou 2016)."""
    entry = ENCODERS[name]
    small = {"width": 16, "heads": (2,), "depths": (1,), "state_size": 2, "image_size": 64}
    stages = "image_size" not in entry.options
    shape = {key: value for key, value in small.items() if key in entry.options}
    if stages and "depths" in shape:
        shape |= {"depths": (1, 1, 1, 1)}
    if stages and "heads" in shape:
        shape |= {"heads": (1, 2, 4, 8)}
    if name.startswith("vit_hd"):
        shape["image_size"] = 128
    torch.manual_seed(0)
    encoder = build_encoder(EncoderOptions(name=name, **shape)).eval()
    model = DiseaseClassification(encoder, DiseaseOptions(labels=TWO)).eval()
    images = torch.randn(1, 3, 128, 128) if name.startswith("vit_hd") else torch.randn(1, 3, 64, 64)
    maps = model.class_maps(images)
    tokens = encoder(images)
    assert maps.shape == (1, 2, *tokens.grid)
    said = (tokens.patches @ model.heads.weight.T).transpose(1, 2).relu() / tokens.patches.shape[1]
    torch.testing.assert_close(maps.flatten(2), said, rtol=1e-3, atol=1e-6)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("how", [{}, {"pooling": "peak"}, {"queries": SMALL}])
def test_it_learns_which_half_is_bright_and_draws_its_maps(how: dict[str, Any], tmp_path: Path) -> None:
    model = tiny(labels=TWO, smoothing=0.0, **how)
    images = 0.1 * torch.randn(8, 1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    labels = []
    for row in range(8):
        left, right = row % 2, row // 2 % 2
        images[row, 0, :, 20:36, 4:20] += 2 * left
        images[row, 0, :, 20:36, 44:60] -= 2 * right
        labels.append({"Edema": left, "Fracture": right})
    batch = batch_of(labels, images)
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(60):
        optimiser.zero_grad()
        loss = model.loss(batch)["loss"]
        loss.backward()
        optimiser.step()
    assert loss < 0.1
    model.show(batch, tmp_path)
    assert (tmp_path / "maps.png").stat().st_size > 1000

"""Sentences of labels: every target has some, with its side, and the nearer image scores higher."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from cxreport.objectives.targets import sided_name
from cxreport.objectives.zero_shot import NORMAL, sentences_of, zero_shot_scores
from cxreport.phantom.kinds import KINDS, SIDED_KINDS
from cxreport.study import LABELS


@pytest.mark.parametrize("target", [*LABELS, *map(sided_name, SIDED_KINDS)])
def test_every_target_has_sentences_for_and_against(target: str) -> None:
    there, not_there = sentences_of(target)
    assert there
    assert not_there
    assert not set(there) & set(not_there)
    assert all(text.endswith(".") and "{" not in text for text in (*there, *not_there))
    side = target.split(" ")[0]
    if side in ("left", "right"):
        other = "right" if side == "left" else "left"
        assert all(side in text and other not in text for text in there)


def test_a_label_has_the_sentences_of_its_kinds_on_both_sides() -> None:
    there, _ = sentences_of("Pleural Effusion")
    left, right = (sentences_of(f"{side} pleural_effusion")[0] for side in ("left", "right"))
    assert there == [*left, *right]
    assert set(sentences_of("Support Devices")[0]) > set(sentences_of("endotracheal_tube")[0])
    assert sentences_of("No Finding")[0] == list(NORMAL)
    assert {kind for kind in KINDS if not sentences_of(kind)[0]} == set()


class Words:
    """Texts that name a heart point one way, all others another."""

    def text_vectors(self, texts: list[str]) -> Tensor:
        rows = [[1.0, 0.0] if "enlarged" in text or "cardiomegaly" in text else [0.0, 1.0] for text in texts]
        return torch.tensor(rows)


def test_the_image_nearer_to_the_sentences_scores_higher() -> None:
    model: Any = Words()
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    scores = zero_shot_scores(model, images, ["cardiomegaly", "left nodule"])
    assert scores.shape == (3, 2)
    assert scores[:, 0].tolist() == pytest.approx([1.0, -1.0, -0.2])
    assert scores[:, 1].tolist() == [0.0, 0.0, 0.0]

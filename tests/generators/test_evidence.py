"""What each sentence of a draft rests on."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from test_registry import batch, build, row
from torch import Tensor, nn

from cxreport.data.batch import Batch
from cxreport.encoders import Encoder, Tokens
from cxreport.errors import UserError
from cxreport.generators import GENERATORS
from cxreport.generators.base import Generator
from cxreport.generators.evidence import (
    ScoredText,
    evidence_tree,
    gradient_maps,
    sentence_scores,
    sentence_tokens,
)
from cxreport.generators.transformer import Attention
from cxreport.options import DataOptions
from cxreport.study import BankEntry, Draft, ImageMap, SentenceEvidence, Study, View

TEXT = "The heart is large. No effusion."


def test_tokens_belong_to_the_sentence_of_their_first_sign() -> None:
    # "The" " heart" " is large" "." "" (half a character) " No" " effusion." end
    ends = (3, 9, 18, 19, 19, 22, 32, 32)
    assert sentence_tokens(TEXT, ends) == [((0, 19), [0, 1, 2, 3]), ((20, 32), [4, 5, 6])]
    assert sentence_tokens("", (0,)) == []
    assert sentence_tokens("肺 野 清 晰 . 心 影 不 大 .", (1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 19)) == [
        ((0, 9), [0, 1, 2, 3, 4]),
        ((10, 19), [5, 6, 7, 8, 9]),
    ]


def test_a_sentence_has_the_mean_of_its_tokens() -> None:
    draft = Draft(TEXT, (-1.0, -2.0, -3.0, -2.0, -1.0, -3.0, -9.0), token_ends=(3, 9, 18, 19, 22, 32, 32))
    assert sentence_scores(draft) == (SentenceEvidence(0, 19, -2.0), SentenceEvidence(20, 32, -2.0))
    assert sentence_scores(Draft(TEXT)) == (SentenceEvidence(0, 19), SentenceEvidence(20, 32))


class Pixels(Encoder):
    """Every pixel is a patch of two channels: its value, and one."""

    def encode(self, images: Tensor) -> Tokens:
        grey = images.mean(dim=1).flatten(1)
        patches = torch.stack([grey, torch.ones_like(grey)], dim=2)
        return Tokens(patches, patches.mean(dim=1), (images.shape[2], images.shape[3]))


class Weighing(nn.Module):
    """Gives every word the log-probability of a weighted sum of the first view's patches."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.encoder = Pixels()
        self.weights = weights

    def score(self, batch: Batch, texts: list[str]) -> list[ScoredText]:
        patches = self.encoder(batch.images[batch.view_mask]).patches
        firsts = batch.view_mask.sum(dim=1).cumsum(0) - batch.view_mask.sum(dim=1)
        return [
            ScoredText(torch.stack([(patches[first] * self.weights).sum()] * 3), (5, 11, 11))
            for first in firsts.tolist()
        ]


def test_a_gradient_map_is_the_one_worked_out_by_hand() -> None:
    weights = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, -8.0], [0.0, 0.0]])
    images = torch.zeros(2, 2, 3, 2, 2)
    images[0, 0] = torch.tensor([[1.0, 2.0], [4.0, 8.0]])
    images[1, 0], images[1, 1] = 3.0, 5.0
    view_mask = torch.tensor([[True, False], [True, True]])
    maps = gradient_maps(
        Weighing(weights), Batch(images, view_mask, ["a", "b"], ["", ""]), ["clear.", "fine ."]
    )
    # two tokens of one sentence: the mean gradient of the channels is 2 * (1, -2)
    assert maps[0] == [(ImageMap(0, (2, 2), (0.0, 0.0, pytest.approx(1 / 3), 1.0)),)]
    # another study's views; the second is not read, so it has no gradient
    assert maps[1] == [(ImageMap(0, (2, 2), (1.0,) * 4), ImageMap(1, (2, 2), (0.0,) * 4))]


def test_attention_weights_are_those_of_torch() -> None:
    torch.manual_seed(2)
    ours = Attention(12, 3, 0.0)
    theirs = nn.MultiheadAttention(12, 3, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key.bias, ours.value.bias]))
    x, context = torch.randn(2, 4, 12), torch.randn(2, 5, 12)
    seen = torch.tensor([[True] * 5, [True, True, True, False, False]])
    _, expected = theirs(x, context, context, key_padding_mask=~seen, average_attn_weights=True)
    torch.testing.assert_close(ours.weights(x, context, seen[:, None, None]), expected)


def maps_of(generator: Generator, studies: Batch, kind: Any) -> list[tuple[SentenceEvidence, ...]]:
    """Evidence of the studies' own reports; skips where image tokens are no patches and it says so."""
    try:
        return generator.evidence(studies, [Draft(text) for text in studies.reports], kind)
    except UserError as error:
        if "not the patches" in str(error):
            pytest.skip(str(error))
        raise


@pytest.mark.parametrize("name", sorted(GENERATORS))
class TestEveryGenerator:
    def test_texts_are_scored_as_the_loss_scores_reports(self, name: str) -> None:
        generator = build(name).eval()
        if not generator.scores_texts:
            with pytest.raises(UserError, match="no probability"):
                generator.score(batch(), [""] * 4)
            return
        with torch.no_grad():
            read = generator.loss(batch())
            scored = generator.score(replace(batch(), reports=[""] * 4), batch().reports)
        values = torch.cat([one.logprobs for one in scored])
        assert len(values) == int(read["tokens"])
        assert float(-values.mean()) == pytest.approx(float(read["loss"]), rel=1e-4)
        for one, text in zip(scored, batch().reports, strict=True):
            assert len(one.ends) == len(one.logprobs)
            pieces = [text[start:end].strip() for start, end in pairwise((0, *one.ends))]
            assert pieces == [*text.split(), ""]

    @pytest.mark.parametrize("kind", ["attention", "gradient"])
    def test_maps_lie_over_the_present_views(self, name: str, kind: Any) -> None:
        generator = build(name)
        if not generator.scores_texts:
            with pytest.raises(UserError, match=r"no image encoder|no attention|no probability"):
                generator.evidence(batch(), [Draft("clear .")] * 4, kind)
            return
        found = maps_of(generator, batch(), kind)
        assert [len(sentences) for sentences in found] == [2, 1, 2, 1]
        assert generator.training
        assert all(parameter.grad is None for parameter in generator.parameters())
        for sentences, views in zip(found, batch().view_mask.sum(dim=1).tolist(), strict=True):
            for sentence in sentences:
                assert [one.view for one in sentence.maps] == list(range(views))
                values = [value for one in sentence.maps for value in one.values]
                assert min(values) >= 0
                assert max(values) == pytest.approx(1) or (kind == "gradient" and not any(values))
                assert all(len(one.values) == one.grid[0] * one.grid[1] for one in sentence.maps)

    def test_a_study_alone_has_the_maps_that_it_has_in_a_batch(self, name: str) -> None:
        generator = build(name).eval()
        if not generator.scores_texts:
            return
        for kind in ("attention", "gradient"):
            whole = maps_of(generator, batch(), kind)[1]
            [alone] = maps_of(generator, row(batch(), 1, views=1), kind)
            for ours, theirs in zip(whole, alone, strict=True):
                assert ours.maps[0].values == pytest.approx(theirs.maps[0].values, abs=1e-3)


def test_attention_of_a_word_generator_is_shared_out_among_the_present_patches() -> None:
    [first, second, *_] = build("r2gen").eval().attention(batch(), batch().reports)
    assert first.weights.shape[:2] == (len(first.ends), 2)
    assert first.weights.sum(dim=(1, 2, 3)).tolist() == pytest.approx([1.0] * len(first.ends))
    assert not second.weights[:, 1].any()


def test_a_line_of_predictions_holds_plain_rounded_values() -> None:
    sentence = SentenceEvidence(
        0, 7, -0.123456, (ImageMap(0, (1, 2), (0.333333, 1.0)),), (BankEntry(3, "0123456789abcdef", 0.98765),)
    )
    draft = replace(Draft("clear ."), sentences=(sentence,))
    study = Study("s", "p", (View(b"", 1, 1, "lateral"), View(b"", 1, 1, "frontal")))
    assert json.loads(json.dumps(evidence_tree(draft, study, DataOptions()))) == [
        {
            "sentence": "clear .",
            "start": 0,
            "end": 7,
            "mean_logprob": -0.1235,
            "maps": [{"view": 0, "projection": "frontal", "grid": [1, 2], "values": [0.33, 1.0]}],
            "bank": [{"entry": 3, "study": "0123456789abcdef", "score": 0.9877}],
        }
    ]

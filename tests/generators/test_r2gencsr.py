"""R2GenCSR's own parts: which contexts a study gets, what is subtracted, and that it loads as it was."""

from __future__ import annotations

import io
import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tiny_language import REPORTS, words_folder
from tiny_studies import DATA, study, train_studies

from cxreport.checkpoints import load_model, save_model
from cxreport.data.batch import Batch, StudyImages, collate
from cxreport.data.store import write_dataset
from cxreport.errors import UserError
from cxreport.generators.base import TrainStudies
from cxreport.generators.drafting import draft_split
from cxreport.generators.prefix_lm import Part
from cxreport.generators.r2gencsr import R2GenCSR
from cxreport.memories.bank import Bank
from cxreport.memories.context import NEGATIVE, POSITIVE
from cxreport.model_options import LanguageModelOptions, R2GenCSROptions
from cxreport.options import DataOptions, DecodingOptions, EncoderOptions, TrainingOptions
from cxreport.recipe import Recipe
from cxreport.study import Study
from cxreport.training import fit

GREEDY = DecodingOptions(method="greedy", max_length=12)
TEXTS = [*REPORTS, "opacity is noted .", "clear ."]


def options(**changes: Any) -> R2GenCSROptions:
    values: dict[str, Any] = {
        "encoder": EncoderOptions(width=4),
        "language_model": LanguageModelOptions(path=words_folder(), tuning="full"),
        "prompt": "none",
        "context_pairs": 1,
        "context_pool": 2,
    }
    return R2GenCSROptions(**(values | changes))


def build(train: TrainStudies | None = None, **changes: Any) -> R2GenCSR:
    torch.manual_seed(1)
    return R2GenCSR.build(options(**changes), train or train_studies(TEXTS)).eval()


def batch_of(*studies: Study, draws: int = 0) -> Batch:
    images = StudyImages(studies, DATA, augment=False, seed=draws)
    return collate([images[number] for number in range(len(studies))])


def chosen(generator: R2GenCSR, batch: Batch) -> list[list[str]]:
    """Study ids of the negative and of the positive contexts."""
    assert generator.contexts is not None
    places = generator._chosen(batch, generator.features(batch))
    entries = generator.contexts.bank.entries
    return [[entries[place].study_id for place in places[side].flatten()] for side in (NEGATIVE, POSITIVE)]


QUERY = study(40, "clear .", normal=None)


class TestWhichContexts:
    def test_the_nearest_of_each_side_by_brute_force(self) -> None:
        generator = build()
        train = train_studies(TEXTS).studies
        vectors = generator.features(batch_of(*train)).detach()
        queries = batch_of(QUERY, train[0], train[3])
        cosines = torch.nn.functional.cosine_similarity(
            generator.features(queries).detach()[:, None], vectors[None], dim=2
        )
        assert generator.contexts is not None
        places = generator._chosen(queries, generator.features(queries))
        for row, own in enumerate((None, 0, 3)):
            for side, members in ((NEGATIVE, [0, 2, 4]), (POSITIVE, [1, 3, 5])):
                others = [place for place in members if place != own]
                best = max(others, key=lambda place: float(cosines[row, place]))
                assert places[side][row].tolist() == [best]

    def test_a_patient_is_never_their_own_context(self) -> None:
        studies = [study(n, text, normal=n % 2 == 0, patient=f"p{n // 2}") for n, text in enumerate(TEXTS)]
        generator = build(TrainStudies(TEXTS, studies, DATA))
        for number, query in enumerate(studies):
            negative, positive = chosen(generator, batch_of(query))
            own = {f"s{number}", f"s{number ^ 1}"}
            assert not own & {*negative, *positive}

    @pytest.mark.parametrize(
        ("context", "negative", "positive"),
        [
            ("label", {"s0", "s2", "s4"}, {"s1", "s3", "s5"}),
            ("keyword", {"s0", "s1", "s2", "s3", "s5"}, {"s4"}),
            ("fixed", {"s0", "s1", "s2", "s3", "s5"}, {"s4"}),
        ],
    )
    def test_of_the_sides(self, context: str, negative: set[str], positive: set[str]) -> None:
        generator = build(context=context)
        found = chosen(generator, batch_of(QUERY))
        assert found == chosen(generator, batch_of(study(41, "edema .", normal=None)))
        assert set(found[0]) <= negative
        assert set(found[1]) <= positive
        assert [len(side) for side in found] == [1, 1]

    @pytest.mark.parametrize(("context", "changes"), [("label", True), ("random", True), ("fixed", False)])
    def test_in_training_every_batch_draws_but_for_fixed(self, context: str, changes: bool) -> None:
        generator = build(context=context, context_pool=3)
        first = chosen(generator, batch_of(QUERY))
        generator.train()
        drawn = [chosen(generator, batch_of(QUERY, draws=seed)) for seed in range(12)]
        assert (len({str(one) for one in drawn}) > 1) is changes
        assert drawn[3] == chosen(generator, batch_of(QUERY, draws=3))
        assert chosen(generator.eval(), batch_of(QUERY, draws=3)) == first

    def test_none(self) -> None:
        generator = build(context="none")
        assert generator.banks() == ()
        assert len(generator.prompt_parts(batch_of(QUERY), generator.look(batch_of(QUERY)))) == 3
        assert generator.bank_entries(batch_of(QUERY)) == [()]

    def test_the_evidence_names_them_nearest_first(self) -> None:
        for context in ("nearest", "label"):
            generator = build(context=context)
            [entries] = generator.bank_entries(batch_of(QUERY))
            assert generator.contexts is not None
            ids = {generator.contexts.bank.entries[entry.entry].study_id for entry in entries}
            negative, positive = chosen(generator, batch_of(QUERY))
            assert ids == {*negative, *positive}
            scores = [entry.score for entry in entries]
            assert scores == sorted(scores, reverse=True)

    @pytest.mark.parametrize(
        ("train", "why"),
        [
            (TrainStudies(TEXTS), "needs the train studies with their images"),
            (TrainStudies(["clear ."], [study(0, "clear .", normal=True)], DATA), "finds 0 positive"),
        ],
    )
    def test_no_studies_to_choose_from(self, train: TrainStudies, why: str) -> None:
        with pytest.raises(UserError, match=why):
            build(train)


class TestResiduals:
    query = torch.randn(2, 64, generator=torch.Generator().manual_seed(1))

    def parts(self, generator: R2GenCSR, pairs: int = 2) -> tuple[list[Part], dict[str, torch.Tensor]]:
        width = generator.encoder.width
        rng = torch.Generator().manual_seed(2)
        vectors = {side: torch.randn(1, pairs, width, generator=rng) for side in (NEGATIVE, POSITIVE)}
        with torch.no_grad():
            return generator.context_parts(self.query[:, :width], vectors), vectors

    @pytest.mark.parametrize("residual", ["before", "after", "none"])
    def test_by_hand(self, residual: str) -> None:
        generator = build(residual=residual, context_pairs=2, prompt="r2gengpt")
        parts, vectors = self.parts(generator)
        weight, bias = generator.projection.weight.detach(), generator.projection.bias.detach()
        query = self.query[:, : generator.encoder.width]
        assert [part.text for part in parts if part.embeddings is None] == [
            "Note: <Img>",
            "</Img> normal. ",
            "Note: <Img>",
            "</Img> with disease. ",
        ]
        for part, side in ((parts[1], NEGATIVE), (parts[4], POSITIVE)):
            expected = {
                "before": (query[:, None] - vectors[side]) @ weight.T + bias,
                "after": (query[:, None] - vectors[side]) @ weight.T,
                "none": vectors[side] @ weight.T + bias,
            }[residual]
            torch.testing.assert_close(part.embeddings, expected, atol=1e-5, rtol=1e-5)

    def test_published_the_words_are_subtracted_too(self) -> None:
        generator = build(residual="published", context_pairs=2, prompt="r2gengpt", published=True)
        [part], _ = self.parts(generator)
        assert part.embeddings is not None
        words = [
            len(generator.embed_text(text))
            for side in (NEGATIVE, POSITIVE)
            for text in _words(generator, side)
        ]
        assert part.embeddings.shape[1] == 2 * (sum(words) + 2)
        projected = generator.projection(self.query[:, : generator.encoder.width])
        first_word = generator.embed_text("Note: <Img>")[0]
        torch.testing.assert_close(part.embeddings[:, 0], projected - first_word, atol=1e-5, rtol=1e-5)
        assert _words(generator, POSITIVE)[1] == "</Img> with desease. "

    def test_no_gradient_reaches_the_encoder_through_a_context(self) -> None:
        generator = build(context="label", residual="none")
        batch = batch_of(QUERY)
        parts = generator.context_parts(
            generator.features(batch).detach(),
            generator._vectors(generator._chosen(batch, None), torch.ones(1, 1)),
        )
        torch.cat([part.embeddings for part in parts if part.embeddings is not None]).sum().backward()
        assert all(weight.grad is None for weight in generator.encoder.parameters())
        assert generator.projection.weight.grad is not None

    def test_words_of_a_chat_stand_before_the_contexts(self) -> None:
        generator = build()
        generator.options = generator.options.model_copy(update={"prompt": "chat"})
        batch = batch_of(QUERY)
        parts = generator.prompt_parts(batch, generator.look(batch))
        assert parts[0].text == generator.prompt.before
        assert parts[2].embeddings is not None
        assert [part.image for part in parts].index(True) == len(parts) - 2


def _words(generator: R2GenCSR, side: str) -> tuple[str, str]:
    return generator._words(side)


class TestTheBankAndItsEncoder:
    def trained(self, context: str) -> R2GenCSR:
        generator = build(context=context)
        optimizer = torch.optim.SGD(generator.parameters(), lr=0.02)
        generator.train()
        for step in range(3):
            batch = batch_of(*train_studies(TEXTS).studies, draws=step)
            optimizer.zero_grad()
            generator.loss(batch)["loss"].backward()
            optimizer.step()
        return generator

    @pytest.mark.parametrize("context", ["nearest", "label"])
    def test_saved_vectors_are_the_saved_encoders(self, context: str, tmp_path: Path) -> None:
        generator = self.trained(context)
        save_model(tmp_path / "model", generator, Recipe(name="tiny", model=options(context=context)), {})
        loaded, _ = load_model(tmp_path / "model")
        assert isinstance(loaded, R2GenCSR)
        bank = Bank.load(tmp_path / "model")
        by_id = {one.study_id: one for one in train_studies(TEXTS).studies}
        expected = loaded.features(batch_of(*(by_id[entry.study_id] for entry in bank.entries)))
        torch.testing.assert_close(bank.vectors, expected.detach(), atol=1e-5, rtol=1e-4)
        batch = batch_of(QUERY, study(41, "edema .", normal=None))
        before, after = generator.generate(batch, GREEDY), loaded.generate(batch, GREEDY)
        assert [draft.text for draft in before] == [draft.text for draft in after]
        assert [draft.token_logprobs for draft in before] == [draft.token_logprobs for draft in after]
        assert bank.sha256 == loaded.banks()[0].sha256 == generator.banks()[0].sha256

    def test_within_an_epoch_it_stays_and_validation_makes_it_again(self) -> None:
        generator = build()
        generator.train()
        one, six = batch_of(QUERY), batch_of(*train_studies(TEXTS).studies)
        optimizer = torch.optim.SGD(generator.parameters(), lr=0.1)
        banks = []
        for batch in (one, one, six, one):
            generator.loss(batch)["loss"].backward()
            optimizer.step()
            assert generator.contexts is not None
            banks.append(generator.contexts.bank.sha256)
        assert banks[0] == banks[1] == banks[2]  # 1 + 1 of 6 studies were seen before the third batch
        assert banks[3] != banks[2]
        generator.eval()
        generator.loss(one)
        assert generator.contexts.bank.sha256 != banks[3]

    def test_after_generating_it_can_be_trained(self) -> None:
        for context in ("nearest", "fixed"):
            generator = build(context=context, residual="none")
            generator.generate(batch_of(QUERY), GREEDY)
            generator.loss(batch_of(QUERY))["loss"].backward()

    def test_kept_images_are_encoded_again_only_for_another_encoder(self) -> None:
        generator = build(context="fixed")
        calls: list[int] = []
        generator.encoder.register_forward_hook(lambda *_: calls.append(1))
        batch = batch_of(QUERY)
        before = [generator.generate(batch, GREEDY)[0] for _ in range(2)]
        assert len(calls) == 3  # the study twice, its contexts once
        assert before[0].token_logprobs == before[1].token_logprobs
        with torch.no_grad():
            for weight in generator.encoder.parameters():
                weight.mul_(1.5)
        generator.generate(batch, GREEDY)
        assert len(calls) == 5

    def test_a_bank_of_another_width_or_damaged(self, tmp_path: Path) -> None:
        generator = build()
        save_model(tmp_path / "model", generator, Recipe(name="tiny", model=options()), {})
        bank = Bank.load(tmp_path / "model")
        Bank(torch.ones(len(bank), 3), bank.entries, bank.origin).save(tmp_path)
        (tmp_path / "tokenizer.json").write_bytes((tmp_path / "model" / "tokenizer.json").read_bytes())
        for name in ("tokenizer_config.json", "language_model.json"):
            (tmp_path / name).write_bytes((tmp_path / "model" / name).read_bytes())
        with pytest.raises(UserError, match=r"width 3, and .* are needed"):
            R2GenCSR.load_assets(options(), tmp_path)
        with (tmp_path / "model" / "bank.jsonl").open("a") as file:
            file.write(" ")
        with pytest.raises(UserError, match=r"bank\.jsonl is damaged or was altered"):
            load_model(tmp_path / "model")


@pytest.mark.parametrize("context", ["nearest", "label"])
def test_resumed_it_becomes_what_an_unbroken_run_becomes(
    context: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [*TEXTS, "clear .", "no effusion ."]
    train = [study(number, text, normal=number % 2 == 0) for number, text in enumerate(texts)]
    val = [replace(study(20 + number, "clear .", normal=True), split="val") for number in range(2)]
    dataset = write_dataset([*train, *val], tmp_path / "data", source="tiny", source_version="1", options={})
    recipe = Recipe(
        name="tiny",
        data=DataOptions(image_size=32),
        model=options(context=context),
        training=TrainingOptions(epochs=2, batch_size=3, keep="last"),
    )
    whole = load_file(fit(recipe, dataset, tmp_path / "whole", devices=1) / "model.safetensors")
    steps, loss = [0], R2GenCSR.loss

    def interrupted(self: R2GenCSR, batch: Batch) -> dict[str, torch.Tensor]:
        steps[0] += self.training
        if steps[0] == 5:  # of 3 an epoch
            os.kill(os.getpid(), signal.SIGINT)
        return loss(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(R2GenCSR, "loss", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit(recipe, dataset, tmp_path / "part", devices=1)
    resumed = load_file(fit(recipe, dataset, tmp_path / "part", resume=True, devices=1) / "model.safetensors")
    assert resumed.keys() == whole.keys()
    assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []
    banks = [Bank.load(tmp_path / run / "model").sha256 for run in ("whole", "part")]
    assert banks[0] == banks[1]
    provenance = json.loads((tmp_path / "part" / "model" / "provenance.json").read_text())
    assert provenance["banks"][0]["sha256"] == banks[0]
    assert provenance["banks"][0]["dataset"]["sha256"] == dataset.sha256


def test_a_bank_of_held_out_studies_stops_drafting(tmp_path: Path) -> None:
    studies = [study(number, text, normal=number % 2 == 0) for number, text in enumerate(TEXTS)]
    moved = [
        replace(one, split="test" if number == 1 else "val" if number == 2 else "train")
        for number, one in enumerate(studies)
    ]
    dataset = write_dataset(moved, tmp_path / "data", source="tiny", source_version="1", options={})
    recipe = Recipe(name="tiny", data=DATA, model=options())
    with pytest.raises(UserError, match=r"memory bank leaks: .*study s1 is of the test split"):
        draft_split(build(), recipe, dataset, "test", tmp_path / "predictions.jsonl")


def test_images_of_contexts_are_the_first_views_as_the_generator_sees_them() -> None:
    generator = build(context="label")
    bank = generator.banks()[0]
    assert bank.images is not None
    first = train_studies(TEXTS).studies[int(bank.entries[0].study_id[1:])]
    pixels = np.asarray(Image.open(io.BytesIO(first.views[0].image)))
    assert np.array_equal(bank.images[0].numpy(), pixels)

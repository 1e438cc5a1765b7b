"""What every generator of the registry keeps to."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_banks import report_folder, visual_folder
from tiny_encoders import classifier_folder, encoder_folder
from tiny_language import words_folder
from tiny_studies import train_studies

from cxreport.checkpoints import load_model, save_model
from cxreport.data.batch import Batch
from cxreport.errors import UserError
from cxreport.generators import GENERATORS, generator_class
from cxreport.generators.base import Generator
from cxreport.model_options import (
    AllNormalOptions,
    AMMRGOptions,
    AssociationOptions,
    ClassifierTemplateOptions,
    LanguageModelOptions,
    MambaXrayOptions,
    MostFrequentOptions,
    NearestNeighbourOptions,
    R2GenCMNOptions,
    R2GenCSROptions,
    R2GenGPTOptions,
    R2GenOptions,
    RandomReportOptions,
)
from cxreport.options import DecodingOptions, EncoderOptions, QueryOptions
from cxreport.recipe import Recipe

REPORTS = [
    "the lungs are clear . no effusion .",
    "there is a small left effusion .",
    "the heart is enlarged . the lungs are clear .",
    "no pneumothorax .",
]
LANGUAGE = LanguageModelOptions(path=words_folder(), tuning="full")
"""An untrained language model cannot write reports behind any prefix, so it is trained, too."""

TINY: dict[str, Any] = {
    "r2gen": R2GenOptions(
        encoder=EncoderOptions(width=4),
        width=24,
        feed_forward=32,
        heads=4,
        layers=2,
        memory_heads=3,
        dropout=0.0,
        feature_dropout=0.0,
        max_length=14,
        vocabulary_threshold=1,
    ),
    "r2gencmn": R2GenCMNOptions(
        encoder=EncoderOptions(width=4),
        width=24,
        feed_forward=32,
        heads=4,
        layers=2,
        memory_rows=20,
        memory_top=6,
        dropout=0.0,
        feature_dropout=0.0,
        max_length=14,
        vocabulary_threshold=1,
    ),
    "r2gengpt": R2GenGPTOptions(encoder=EncoderOptions(width=4), language_model=LANGUAGE, prompt="none"),
    "mambaxray": MambaXrayOptions(
        encoder=EncoderOptions(
            name="vision_mamba_tiny", width=24, depths=(2,), state_size=4, patch=8, image_size=32
        ),
        language_model=LANGUAGE,
        prompt="none",
    ),
    "r2gencsr": R2GenCSROptions(
        encoder=EncoderOptions(width=4), language_model=LANGUAGE, prompt="none", context_pairs=1
    ),
    "ammrg": AMMRGOptions(
        encoder=EncoderOptions(width=4),
        language_model=LANGUAGE,
        prompt="none",
        queries=QueryOptions(width=12, layers=1, heads=2, feed_forward=16, dropout=0.0),
        query_count=3,
        memory=AssociationOptions(heads=2, head_width=6, dropout=0.0),
        visual_bank=str(visual_folder()),
        report_bank=str(report_folder()),
    ),
    "most_frequent": MostFrequentOptions(),
    "all_normal": AllNormalOptions(),
    "random": RandomReportOptions(),
    "nearest_neighbour": NearestNeighbourOptions(encoder=EncoderOptions(width=4, init=str(encoder_folder()))),
    "classifier_template": ClassifierTemplateOptions(classifier=str(classifier_folder())),
}
"""A generator joins these tests with options that a CPU trains in seconds."""

GREEDY = DecodingOptions(method="greedy", max_length=14)
SEARCHES = [GREEDY, DecodingOptions(method="beam", beam_size=3, max_length=14)]


def build(name: str, seed: int = 1, **changes: Any) -> Generator:
    torch.manual_seed(seed)
    options = TINY[name].model_copy(update=changes)
    return generator_class(name).build(options, train_studies(REPORTS))


def batch(reports: list[str] | None = None) -> Batch:
    """Four studies; the second has one view."""
    rng = torch.Generator().manual_seed(5)
    images = torch.randn(4, 2, 3, 32, 32, generator=rng)
    view_mask = torch.tensor([[True, True], [True, False], [True, True], [True, True]])
    images[~view_mask] = 0
    return Batch(images, view_mask, ["a", "b", "c", "d"], reports or REPORTS)


def row(whole: Batch, index: int, views: int) -> Batch:
    kept = slice(index, index + 1)
    return Batch(
        whole.images[kept, :views],
        whole.view_mask[kept, :views],
        whole.study_ids[kept],
        whole.reports[kept],
    )


def train(generator: Generator, steps: int) -> float:
    """Fit the four studies and return the last loss."""
    optimizer = torch.optim.Adam(generator.parameters(), lr=3e-3)
    generator.train()
    for _ in range(steps):
        loss = generator.loss(batch())["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(loss.detach())


@pytest.fixture(scope="module", params=sorted(GENERATORS))
def fitted(request: pytest.FixtureRequest) -> tuple[str, Generator, float]:
    torch.set_num_threads(1)
    generator = build(request.param)
    loss = train(generator, 150) if generator.trainable else 0.0
    return request.param, generator.eval(), loss


@pytest.fixture
def writer(fitted: tuple[str, Generator, float]) -> tuple[str, Generator, float]:
    """One that was trained to write word by word."""
    if not fitted[1].trainable:
        pytest.skip("nothing to train")
    return fitted


def test_every_generator_has_tiny_options() -> None:
    assert TINY.keys() == GENERATORS.keys()


@pytest.mark.parametrize("name", sorted(GENERATORS))
class TestUntrained:
    def test_loss_and_gradients(self, name: str) -> None:
        generator = build(name).train()
        if not generator.trainable:
            with pytest.raises(UserError, match="nothing to train"):
                generator.loss(batch())
            return
        parts = generator.loss(batch())
        assert parts["loss"].shape == ()
        assert float(parts["tokens"]) > 0
        parts["loss"].backward()
        trained = {key: value for key, value in generator.named_parameters() if value.requires_grad}
        gradients = {key: value.grad for key, value in trained.items()}
        assert [key for key, value in gradients.items() if value is None] == []
        assert [key for key, value in gradients.items() if not torch.isfinite(value).all()] == []

    def test_the_seed_decides(self, name: str) -> None:
        first, second, other = build(name), build(name), build(name, seed=2)
        if first.trainable:
            losses = [train(generator, 2) for generator in (first, second, other)]
            assert losses[0] == losses[1] != losses[2]
        assert words(first) == words(second)

    def test_encoder_parameters_are_some_of_the_parameters(self, name: str) -> None:
        generator = build(name)
        encoder = {id(parameter) for parameter in generator.encoder_parameters()}
        assert bool(encoder) == generator.sees_images
        everything = {id(parameter) for parameter in generator.parameters()}
        assert encoder < everything if generator.trainable else encoder <= everything

    def test_an_absent_view_is_not_seen(self, name: str) -> None:
        generator = build(name).eval()
        whole = batch()
        garbage = Batch(whole.images.clone(), whole.view_mask, whole.study_ids, whole.reports)
        garbage.images[~whole.view_mask] = 1e3
        if not generator.sees_images:
            with pytest.raises(UserError, match="no image"):
                generator.features(whole)
            return
        with torch.no_grad():
            if generator.trainable:
                assert torch.equal(generator.loss(whole)["loss"], generator.loss(garbage)["loss"])
            assert words(generator) == [draft.text for draft in generator.generate(garbage, GREEDY)]
            assert torch.equal(generator.features(whole), generator.features(garbage))
            alone = generator.features(row(whole, 1, views=1))
            torch.testing.assert_close(generator.features(whole)[1:2], alone, atol=1e-5, rtol=1e-4)

    def test_hidden_words_are_missed_in_training_only(self, name: str) -> None:
        plain = build(name)
        if not plain.trainable:
            return
        hiding = build(name, word_dropout=0.9)
        both = [generator.eval().loss(batch())["loss"].item() for generator in (plain, hiding)]
        assert both[0] == both[1]
        both = [generator.train().loss(batch())["loss"].item() for generator in (plain, hiding)]
        assert abs(both[0] - both[1]) > 1e-3

    def test_a_hidden_image_does_not_reach_the_report(self, name: str) -> None:
        plain = build(name)
        if not plain.trainable:
            return
        hiding = build(name, image_dropout=0.999999)
        other = batch()
        other.images.neg_()
        with torch.no_grad():
            both = [generator.eval().loss(batch())["loss"].item() for generator in (plain, hiding)]
            assert both[0] == both[1]
            seen, hidden = (
                [generator.train().loss(each)["loss"].item() for each in (batch(), other)]
                for generator in (plain, hiding)
            )
        assert seen[0] != seen[1]
        assert hidden[0] == hidden[1]

    def test_guidance_changes_drafts_and_is_the_same_alone(self, name: str) -> None:
        if not build(name).trainable:
            return
        generator = build(name, image_dropout=0.5)
        guided = GREEDY.model_copy(update={"guidance": 20.0})
        together = words(generator, guided)
        alone = [generator.generate(row(batch(), *each), guided)[0].text for each in ((0, 2), (1, 1))]
        assert together[:2] == alone
        assert together != words(generator)

    def test_generating_leaves_mode_and_gradients_alone(self, name: str) -> None:
        generator = build(name).train()
        before = {key: value.clone() for key, value in generator.state_dict().items()}
        generator.generate(batch(), GREEDY)
        assert generator.training
        assert all(torch.equal(value, before[key]) for key, value in generator.state_dict().items())


def words(generator: Generator, decoding: DecodingOptions = GREEDY) -> list[str]:
    return [draft.text for draft in generator.generate(batch(), decoding)]


def without_paths(recipe: Recipe) -> Recipe:
    """The recipe as a model folder keeps it: where first weights lay is left out."""
    tree = recipe.model_dump()
    tree["model"].get("encoder", {})["init"] = None
    for option in ("classifier", "visual_bank", "report_bank"):
        if option in tree["model"]:
            tree["model"][option] = None
    return Recipe.parse(tree)


class TestFitted:
    @pytest.mark.parametrize("decoding", SEARCHES, ids=lambda options: options.method)
    def test_four_studies_are_learnt_by_heart(
        self, writer: tuple[str, Generator, float], decoding: DecodingOptions
    ) -> None:
        _, generator, loss = writer
        assert loss < 0.05
        drafts = generator.generate(batch(), decoding)
        assert [draft.text for draft in drafts] == REPORTS
        assert all(draft.seconds > 0 for draft in drafts)

    @pytest.mark.parametrize("decoding", SEARCHES, ids=lambda options: options.method)
    def test_written_step_by_step_as_read_at_once(
        self, writer: tuple[str, Generator, float], decoding: DecodingOptions
    ) -> None:
        """What cached generation says of its words is what the loss says of the same words."""
        _, generator, _ = writer
        for index, views in ((0, 2), (1, 1)):
            study = row(batch(), index, views)
            [draft] = generator.generate(study, decoding)
            with torch.no_grad():
                read = generator.loss(Batch(study.images, study.view_mask, study.study_ids, [draft.text]))
            assert len(draft.token_logprobs) == int(read["tokens"])
            assert math.isclose(-draft.mean_logprob, float(read["loss"]), rel_tol=1e-3, abs_tol=1e-5)

    def test_a_study_alone_is_written_as_in_a_batch(self, fitted: tuple[str, Generator, float]) -> None:
        _, generator, _ = fitted
        drafts = generator.generate(batch(), GREEDY)
        [alone] = generator.generate(row(batch(), 1, views=1), GREEDY)
        assert alone.text == drafts[1].text
        assert alone.token_logprobs == pytest.approx(drafts[1].token_logprobs, abs=1e-4)

    def test_saved_and_loaded_it_writes_the_same(
        self, fitted: tuple[str, Generator, float], tmp_path: Path
    ) -> None:
        name, generator, _ = fitted
        recipe = Recipe(name="tiny", model=TINY[name])
        save_model(tmp_path / "model", generator, recipe, {"seed": 1})
        loaded, loaded_recipe = load_model(tmp_path / "model")
        assert loaded_recipe == without_paths(recipe)
        assert not loaded.training
        for decoding in SEARCHES:
            before, after = generator.generate(batch(), decoding), loaded.generate(batch(), decoding)
            assert [draft.text for draft in before] == [draft.text for draft in after]
            assert [draft.token_logprobs for draft in before] == [draft.token_logprobs for draft in after]

    def test_the_limit_of_words_holds(self, writer: tuple[str, Generator, float]) -> None:
        _, generator, _ = writer
        for decoding in SEARCHES:
            cut = decoding.model_copy(update={"max_length": 3})
            for draft, report in zip(generator.generate(batch(), cut), REPORTS, strict=True):
                assert len(draft.token_logprobs) <= 3
                assert decoding.method == "beam" or draft.text == " ".join(report.split()[:3])


def test_an_unknown_name_is_told_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"r2g.*choose.*r2gen"):
        generator_class("r2g")

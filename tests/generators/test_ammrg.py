"""AM-MRG's own parts: what each memory adds, what is looked up, and that it loads as it was."""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from test_registry import TINY, batch
from tiny_banks import ORIGIN, bank_of, report_folder, visual_folder
from tiny_language import REPORTS
from tiny_studies import study, train_studies

from cxreport.checkpoints import load_model, save_model
from cxreport.data.batch import Batch
from cxreport.data.store import PreparedDataset, write_dataset
from cxreport.data.text import target_text
from cxreport.errors import UserError
from cxreport.generators.ammrg import AMMRG
from cxreport.generators.drafting import draft_split
from cxreport.memories.bank import Bank
from cxreport.model_options import AMMRGOptions
from cxreport.options import DataOptions, DecodingOptions, TrainingOptions
from cxreport.recipe import Recipe
from cxreport.study import Study
from cxreport.training import fit

GREEDY = DecodingOptions(method="greedy", max_length=12)
QUERIES = 3
"""Of the tiny options."""


def options(**changes: Any) -> AMMRGOptions:
    tiny: AMMRGOptions = TINY["ammrg"]
    return tiny.model_copy(update=changes)


def build(**changes: Any) -> AMMRG:
    torch.manual_seed(1)
    return AMMRG.build(options(**changes), train_studies(REPORTS)).eval()


def owned(whole: Batch) -> Batch:
    """The batch as studies of the banks: the first study is entry s1, the second of the patient of s2."""
    return replace(whole, study_ids=["s1", "x", "y", "z"], patient_ids=["p1", "p2", "p90", "p91"])


class TestTokens:
    @pytest.mark.parametrize(
        ("changes", "more"),
        [
            ({}, 3 * QUERIES),
            ({"visual_memory": False, "visual_bank": None}, 2 * QUERIES),
            ({"report_memory": False, "report_bank": None}, 2 * QUERIES),
            ({"visual_memory": False, "report_memory": False}, QUERIES),
        ],
    )
    def test_each_memory_adds_a_token_for_every_query(self, changes: dict[str, Any], more: int) -> None:
        generator = build(**changes)
        seen = generator.look(batch())
        prefix = generator.prefix(batch(), seen)
        assert prefix.mask.shape == (4, 1 + seen.tokens.shape[2] + more)  # after the beginning of a text
        assert len(generator.memories()) == len(generator.banks()) - bool(generator.visual_memory)

    def test_what_a_memory_reads_does_not_depend_on_the_other(self) -> None:
        generator, whole = build(), batch()
        with torch.no_grad():
            seen = generator.look(whole)
            both = generator.memory_part(whole, seen).embeddings
            assert both is not None
            asked, visual, reports = both.split(QUERIES, dim=1)
            for kept, expected in (("visual_memory", visual), ("report_memory", reports)):
                other = {"visual_memory": "report_memory", "report_memory": "visual_memory"}[kept]
                memory = getattr(generator, other)
                setattr(generator, other, None)
                alone = generator.memory_part(whole, seen).embeddings
                setattr(generator, other, memory)
                torch.testing.assert_close(alone, torch.cat([asked, expected], dim=1))
        assert float((visual - reports).abs().max()) > 1e-3

    def test_they_stand_behind_the_image_and_inside_the_prompt(self) -> None:
        generator = build(prompt="r2gengpt")
        seen = generator.look(batch())
        parts = generator.prompt_parts(batch(), seen)
        assert [part.text for part in parts] == [generator.prompt.before, "", "", generator.prompt.after]
        assert [part.image for part in parts] == [False, True, False, False]

    def test_by_hand(self) -> None:
        """Queries over the mean of the views, both memories asked with what they found, one shared layer."""
        generator, whole = build(), batch()
        with torch.no_grad():
            seen = generator.look(whole)
            present = whole.view_mask[:, :, None, None]
            tokens = (seen.tokens * present).sum(dim=1) / present.sum(dim=1)
            asked, _ = generator.queries(tokens)
            disease, patches = (Bank.load(visual_folder(), name).vectors for name in ("disease", "patches"))
            assert generator.visual_memory is not None
            patterns = torch.cat([disease, generator.visual_memory.fits[1](patches)])
            projected = generator.visual_memory.project(patterns)
            read = generator.visual_memory(asked, projected).output
            expected = generator.norm(generator.projection(generator.memory_projection(read)))
            found = generator.memory_part(whole, seen).embeddings
        assert found is not None
        torch.testing.assert_close(found[:, QUERIES : 2 * QUERIES], expected, atol=1e-5, rtol=1e-4)

    def test_attention_over_the_image_leaves_the_other_tokens_out(self) -> None:
        generator = build()
        maps = generator.attention(batch(), REPORTS)
        assert maps[0].weights.shape[2:] == generator.look(batch()).grid


class TestEntries:
    def test_own_entries_are_not_read(self) -> None:
        generator, whole = build(), owned(batch())
        seen = generator.look(whole)
        _, (visual, reports) = generator.looked_up(whole, seen)
        assert visual.association.shape == (4, 2, QUERIES, 12)
        assert (visual.association[0][..., [1, 6]] == 0).all()
        assert (reports.association[0][..., 1] == 0).all()
        assert (reports.association[1][..., 2] == 0).all()
        torch.testing.assert_close(visual.association.sum(dim=3), torch.ones(4, 2, QUERIES))
        _, (visual, _) = build(hide_own=False).looked_up(whole, seen)
        assert (visual.association[0][..., [1, 6]] > 0).all()

    def test_the_evidence_names_what_is_read_most(self) -> None:
        generator, whole = build(), owned(batch())
        _, lookups = generator.looked_up(whole, generator.look(whole))
        entries = generator.bank_entries(whole)
        assert [len(own) for own in entries] == [6] * 4
        before = 0
        for number, lookup in enumerate(lookups):
            for study_entries, shares in zip(
                entries, lookup.association.detach().mean(dim=(1, 2)), strict=True
            ):
                own = study_entries[3 * number : 3 * number + 3]
                best = sorted(range(len(shares)), key=lambda place: -float(shares[place]))[:3]
                assert [entry.entry - before for entry in own] == best
                assert [entry.score for entry in own] == pytest.approx([float(shares[p]) for p in best])
            before += lookup.association.shape[3]
        rows = [entry for bank in generator.banks() for entry in bank.entries]
        flat = [bank.shown([row], [0.0])[0] for bank in generator.banks() for row in range(len(bank))]
        assert len(rows) == 18
        assert all(flat[entry.entry].study == entry.study for own in entries for entry in own)


class TestBanks:
    def test_a_loaded_model_has_its_banks(self, tmp_path: Path) -> None:
        generator = build()
        save_model(tmp_path / "model", generator, Recipe(name="tiny", model=options()), {})
        loaded, recipe = load_model(tmp_path / "model")
        assert [bank.sha256 for bank in loaded.banks()] == [bank.sha256 for bank in generator.banks()]
        assert isinstance(recipe.model, AMMRGOptions)
        assert (recipe.model.visual_bank, recipe.model.report_bank) == (None, None)
        assert str(visual_folder()) not in (tmp_path / "model" / "config.json").read_text()
        assert not [key for key in load_file(tmp_path / "model" / "model.safetensors") if "vectors" in key]
        before, after = generator.generate(batch(), GREEDY), loaded.generate(batch(), GREEDY)
        assert [draft.token_logprobs for draft in before] == [draft.token_logprobs for draft in after]
        with (tmp_path / "model" / "reports.jsonl").open("a") as file:
            file.write(" ")
        with pytest.raises(UserError, match=r"reports\.jsonl is damaged or was altered"):
            load_model(tmp_path / "model")

    def test_cached_drafts_are_those_of_a_bank_projected_anew(self) -> None:
        generator = build()
        first = generator.generate(batch(), GREEDY)
        again = generator.generate(batch(), GREEDY)
        with torch.no_grad():
            kept = generator.loss(batch())["loss"]
        anew = generator.loss(batch())["loss"]
        assert [draft.token_logprobs for draft in first] == [draft.token_logprobs for draft in again]
        assert torch.equal(kept, anew.detach())
        anew.backward()  # what was kept in inference mode is not in the way

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"visual_bank": None}, r"model\.visual_bank is missing.*--kind disease.*visual_memory=false"),
            ({"report_bank": None}, r"model\.report_bank is missing.*--kind report.*report_memory=false"),
            ({"visual_bank": "nowhere"}, "There is no bank in nowhere"),
            ({"visual_bank": str(report_folder())}, "holds no bank of disease tokens or patches"),
            ({"report_bank": str(visual_folder())}, "holds no bank of reports"),
        ],
    )
    def test_a_memory_without_a_bank_is_refused(self, changes: dict[str, Any], words: str) -> None:
        with pytest.raises(UserError, match=words):
            build(**changes)

    @pytest.mark.parametrize(
        ("other", "words"),
        [(bank_of(6, 11, seed=3), "has another shape"), (bank_of(6, 10, seed=4), "another one than")],
        ids=["of another width", "of other vectors"],
    )
    def test_another_bank_is_refused_beside_trained_weights(
        self, other: Bank, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        save_model(tmp_path / "model", build(), Recipe(name="tiny", model=options()), {})
        given = Bank.load
        monkeypatch.setattr(
            Bank, "load", lambda folder, name: other if name == "reports" else given(folder, name)
        )
        with pytest.raises(UserError, match=words):
            load_model(tmp_path / "model")


@pytest.fixture
def dataset(tmp_path: Path) -> PreparedDataset:
    """Eight train studies, and one each of val and test with a long report that only it has."""
    train = [study(number, REPORTS[number % 4], normal=True) for number in range(8)]
    rare = " ".join(f"ring shadow {number} stands beside the third rib ." for number in range(8))
    held_out = [
        replace(study(20 + number, f"{rare} {split}", normal=True), split=split)
        for number, split in enumerate(("val", "test"))
    ]
    studies: list[Study] = [*train, *held_out]
    return write_dataset(studies, tmp_path / "data", source="tiny", source_version="1", options={})


class TestLeaks:
    @pytest.mark.parametrize("what", ["study", "report"])
    def test_a_planted_test_report_stops_training_and_drafting(
        self, what: str, dataset: PreparedDataset, tmp_path: Path
    ) -> None:
        test = dataset.split("test")[0]
        clean = bank_of(6, 10, seed=3)
        text = {"text": target_text(test.report, DataOptions())} if what == "report" else {}
        ids = {"study_id": test.study_id, "patient_id": test.patient_id} if what == "study" else {}
        planted = replace(clean.entries[2], **text, **ids)
        leaking = Bank(clean.vectors, [*clean.entries[:2], planted, *clean.entries[3:]], ORIGIN)
        (tmp_path / "leaking").mkdir()
        leaking.save(tmp_path / "leaking", "reports")
        recipe = Recipe(
            name="tiny",
            data=DataOptions(image_size=32),
            model=options(report_bank=str(tmp_path / "leaking")),
            training=TrainingOptions(epochs=1, batch_size=4),
        )
        told = {"study": "is of the test split", "report": "is one of the test split"}[what]
        with pytest.raises(UserError, match=told):
            fit(recipe, dataset, tmp_path / "run", devices=1)
        assert not (tmp_path / "run" / "model").exists()
        generator = build(report_bank=str(tmp_path / "leaking"))
        with pytest.raises(UserError, match=told):
            draft_split(generator, recipe, dataset, "test", tmp_path / "predictions.jsonl")

    def test_clean_banks_train_and_their_facts_are_kept(
        self, dataset: PreparedDataset, tmp_path: Path
    ) -> None:
        recipe = Recipe(
            name="tiny",
            data=DataOptions(image_size=32),
            model=options(),
            training=TrainingOptions(epochs=1, batch_size=4),
        )
        model = fit(recipe, dataset, tmp_path / "run", devices=1)
        loaded, _ = load_model(model)
        assert [len(bank) for bank in loaded.banks()] == [5, 7, 6]


def test_a_run_is_resumed_with_its_own_banks_only(
    dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(report_folder(), tmp_path / "reports")
    recipe = Recipe(
        name="tiny",
        data=DataOptions(image_size=32),
        model=options(report_bank=str(tmp_path / "reports")),
        training=TrainingOptions(epochs=2, batch_size=4, keep="last"),
    )
    whole = load_file(fit(recipe, dataset, tmp_path / "whole", devices=1) / "model.safetensors")
    steps, loss = [0], AMMRG.loss

    def interrupted(self: AMMRG, batch: Batch) -> dict[str, torch.Tensor]:
        steps[0] += self.training
        if steps[0] == 3:  # of 2 an epoch
            os.kill(os.getpid(), signal.SIGINT)
        return loss(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(AMMRG, "loss", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit(recipe, dataset, tmp_path / "part", devices=1)
    bank_of(6, 10, seed=9).save(tmp_path / "reports", "reports")
    with pytest.raises(UserError, match="another one than the weights were trained with"):
        fit(recipe, dataset, tmp_path / "part", resume=True, devices=1)
    bank_of(6, 10, seed=3).save(tmp_path / "reports", "reports")
    resumed = load_file(fit(recipe, dataset, tmp_path / "part", resume=True, devices=1) / "model.safetensors")
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(value, whole[key]) for key, value in resumed.items())

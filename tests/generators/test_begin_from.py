"""A generator that starts from another one: what it takes, what it leaves, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_banks import report_folder, visual_folder
from tiny_language import words_folder
from tiny_studies import train_studies

from cxreport.checkpoints import begin_from, save_model
from cxreport.errors import UserError
from cxreport.generators import generator_class
from cxreport.generators.base import Generator
from cxreport.model_options import (
    AMMRGOptions,
    AssociationOptions,
    LanguageModelOptions,
    PrefixOptions,
    R2GenGPTOptions,
    R2GenOptions,
)
from cxreport.options import EncoderOptions, QueryOptions
from cxreport.recipe import Recipe

GPT = R2GenGPTOptions(
    encoder=EncoderOptions(width=4),
    language_model=LanguageModelOptions(path=words_folder(), tuning="full"),
    prompt="none",
)
SHARED = GPT.model_dump(exclude={"generator"})
AMMRG = AMMRGOptions(
    **SHARED,
    queries=QueryOptions(width=12, layers=1, heads=2, feed_forward=16, dropout=0.0),
    query_count=3,
    memory=AssociationOptions(heads=2, head_width=6, dropout=0.0),
    visual_bank=str(visual_folder()),
    report_bank=str(report_folder()),
)


def build(options: PrefixOptions | R2GenOptions, seed: int) -> Generator:
    torch.manual_seed(seed)
    return generator_class(options.generator).build(options, train_studies())


def saved(options: PrefixOptions | R2GenOptions, folder: Path, seed: int = 1) -> tuple[Generator, Path]:
    generator = build(options, seed)
    for name, buffer in generator.named_buffers():
        if name.endswith("running_mean"):
            buffer.add_(1.0)  # so that it is not that of every new generator
    save_model(folder, generator, Recipe(name="tiny", model=options), {"seed": seed})
    return generator, folder


def test_a_generator_with_more_parts_takes_all_of_one_with_fewer(tmp_path: Path) -> None:
    first, folder = saved(GPT, tmp_path / "gpt")
    fresh, begun = build(AMMRG, 2), build(AMMRG, 2)
    told = begin_from(begun, AMMRG, folder)
    given, before, after = first.state_dict(), fresh.state_dict(), begun.state_dict()
    assert all(torch.equal(after[name], given[name]) for name in given)
    assert all(torch.equal(after[name], before[name]) for name in after.keys() - given.keys())
    assert not torch.equal(before["projection.weight"], given["projection.weight"])
    assert told.endswith("new: memory_projection, queries, report_memory, visual_memory.")


def test_of_one_with_another_encoder_the_language_model_is_taken_alone(tmp_path: Path) -> None:
    first, folder = saved(GPT, tmp_path / "gpt")
    for encoder in (EncoderOptions(width=8), EncoderOptions(width=4, init="weights of its own")):
        options = GPT.model_copy(update={"encoder": encoder})
        fresh, begun = (build(GPT if encoder.init else options, 2) for _ in range(2))
        told = begin_from(begun, options, folder)
        assert told.endswith("new: encoder, norm, projection.")
        before, given = fresh.state_dict(), first.state_dict()
        for name, value in begun.state_dict().items():
            assert torch.equal(value, (given if name.startswith("language_model.") else before)[name])


def test_what_names_the_banks_of_the_first_is_left_there(tmp_path: Path) -> None:
    first = build(AMMRG, 1)
    first.state_dict()["report_memory.sha256"].fill_(7)
    save_model(tmp_path / "model", first, Recipe(name="tiny", model=AMMRG), {"seed": 1})
    begun = build(AMMRG, 2)
    own = begun.state_dict()["report_memory.sha256"].clone()
    assert begin_from(begun, AMMRG, tmp_path / "model").endswith("new: none.")
    assert torch.equal(begun.state_dict()["report_memory.sha256"], own)
    assert torch.equal(begun.state_dict()["projection.weight"], first.state_dict()["projection.weight"])


def test_other_sizes_language_models_and_kinds_are_refused(tmp_path: Path) -> None:
    _, folder = saved(GPT, tmp_path / "gpt")
    other = AMMRG.model_copy(update={"queries": AMMRG.queries.model_copy(update={"width": 24})})
    _, memories = saved(AMMRG, tmp_path / "ammrg")
    with pytest.raises(UserError, match=r"does not fit: .*is \(.*\) there and \(.*\) here"):
        begin_from(build(other, 1), other, memories)
    frozen = GPT.model_copy(
        update={
            "encoder": EncoderOptions(width=8),
            "language_model": GPT.language_model.model_copy(update={"tuning": "frozen"}),
        }
    )
    with pytest.raises(UserError, match="shares no weights"):
        begin_from(build(frozen, 1), frozen, folder)
    words = R2GenOptions(encoder=EncoderOptions(width=4), width=24, heads=4, memory_heads=3)
    with pytest.raises(UserError, match="r2gen has its own vocabulary"):
        begin_from(build(words, 1), words, folder)

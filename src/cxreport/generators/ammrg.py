"""AM-MRG, stage 2 (Wang et al., IEEE TMI 2025): memories of train studies behind the image tokens.

Source: published ``models/AM_MRG.py`` with MambaXray-VL's large encoder and Llama-2-7b-chat or
Qwen1.5-0.5B-Chat. B studies, M image tokens, L disease queries, Q entries of a memory, W its width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn

from cxreport.encoders import Encoder, build_encoder
from cxreport.errors import UserError
from cxreport.generators.base import TrainStudies
from cxreport.generators.language_models import LanguageModel, load_language_model, restore_language_model
from cxreport.generators.prefix_lm import Part, PrefixLM
from cxreport.generators.seen import Seen
from cxreport.memories.bank import NAME, Bank, bank_names
from cxreport.memories.bank_memory import BankMemory
from cxreport.memories.disease_queries import DiseaseQueries, DiseaseQueriesOptions
from cxreport.memories.hopfield import HopfieldOptions, Lookup
from cxreport.model_options import AMMRGOptions
from cxreport.study import BankEntry

if TYPE_CHECKING:
    from cxreport.data.batch import Batch

DISEASE, PATCHES, REPORTS = "disease", "patches", "reports"
"""Names of the banks: disease tokens and class-activation patches (the visual memory), and reports."""
VISUAL = (DISEASE, PATCHES)
SHOWN = 3
"""Entries of each memory that are told as evidence."""

Banks = Mapping[str, Bank]


class AMMRG(PrefixLM):
    """Disease queries read the image; what they found looks up both memories and follows the image tokens.

    The language model reads M image tokens, the L queries, and L tokens of each memory, in this order.
    Queries and memories pass one shared layer to the encoder's width, then the projection and norm of the
    image tokens. Without a memory (``visual_memory``, ``report_memory``) its tokens are left out.
    """

    options: AMMRGOptions

    def __init__(
        self, options: AMMRGOptions, encoder: Encoder, language_model: LanguageModel, banks: Banks
    ) -> None:
        super().__init__(options, encoder, language_model)
        sizes = options.queries.model_dump() | {"queries": options.query_count}
        self.queries = DiseaseQueries(encoder.width, DiseaseQueriesOptions(**sizes))
        memory = _memory_options(options)
        visual = [banks[name] for name in VISUAL if name in banks]
        self.visual_memory = BankMemory(visual, memory) if options.visual_memory else None
        self.report_memory = BankMemory([banks[REPORTS]], memory) if options.report_memory else None
        self.memory_projection = nn.Linear(options.queries.width, encoder.width)
        self._banks = dict(banks)

    @classmethod
    def build(cls, options: AMMRGOptions, train: TrainStudies) -> Self:
        """Also read the banks that the options name; UserError where a memory has none."""
        banks = _given_banks(options)
        return cls(
            options, build_encoder(options.encoder), load_language_model(options.language_model), banks
        )

    def prompt_parts(self, batch: Batch, seen: Seen) -> list[Part]:
        """What R2GenGPT reads, with the tokens of queries and memories right behind the image."""
        before, image, after = super().prompt_parts(batch, seen)
        return [before, image, self.memory_part(batch, seen), after]

    def memory_part(self, batch: Batch, seen: Seen) -> Part:
        """The queries and what they read from each memory, as embeddings of the language model."""
        asked, lookups = self.looked_up(batch, seen)
        read = torch.cat([asked, *(each.output for each in lookups)], dim=1)
        return Part(embeddings=self.norm(self.projection(self.memory_projection(read))))

    def looked_up(self, batch: Batch, seen: Seen) -> tuple[Tensor, list[Lookup]]:
        """The queries' states (B, L, W), and what they read from each memory with what weights."""
        asked, _ = self.queries(*self.joined_views(seen))
        hide = self.options.hide_own
        lookups = []
        for memory in self.memories():
            hidden = memory.hidden_from(batch.study_ids, batch.patient_ids) if hide else None
            lookups.append(memory.look_up(asked, hidden))
        return asked, lookups

    def memories(self) -> Sequence[BankMemory]:
        """Those that are on, visual first."""
        return [memory for memory in (self.visual_memory, self.report_memory) if memory is not None]

    def banks(self) -> tuple[Bank, ...]:
        """The banks of disease tokens, patches and reports that are looked up."""
        return tuple(self._banks.values())

    def bank_entries(self, batch: Batch) -> list[tuple[BankEntry, ...]]:
        """The entries of each memory that the queries read most, visual first.

        A score is the entry's share of what is read, the mean over queries and heads; rows are counted over
        all of :meth:`banks`, one after another.
        """
        with torch.no_grad():
            _, lookups = self.looked_up(batch, self.look(batch))
        shown: list[tuple[BankEntry, ...]] = [()] * len(batch)
        before = 0
        for memory, lookup in zip(self.memories(), lookups, strict=True):
            shares = lookup.association.float().mean(dim=(1, 2)).cpu()
            best = shares.topk(min(SHOWN, len(memory)), dim=1)
            for study, (scores, places) in enumerate(zip(best.values, best.indices, strict=True)):
                pairs = zip(places.tolist(), scores.tolist(), strict=True)
                shown[study] += tuple(_shown(memory.banks, place, score, before) for place, score in pairs)
            before += len(memory)
        return shown

    def save_assets(self, folder: Path) -> None:
        """Also write the banks."""
        super().save_assets(folder)
        for name, bank in self._banks.items():
            bank.save(folder, name)

    @classmethod
    def load_assets(cls, options: AMMRGOptions, folder: Path) -> Self:
        """Also read the banks; UserError where one is missing or damaged."""
        language_model = restore_language_model(options.language_model, folder)
        wanted = (VISUAL if options.visual_memory else ()) + ((REPORTS,) if options.report_memory else ())
        names = bank_names(folder) if wanted else []
        banks = {name: Bank.load(folder, name) for name in wanted if name in names}
        _need_both(options, banks, folder, folder)
        return cls(options, build_encoder(options.encoder.untrained()), language_model, banks)


def _memory_options(options: AMMRGOptions) -> HopfieldOptions:
    """Sizes of both memories: what is read has the width of the queries, as published."""
    width = options.queries.width
    return HopfieldOptions(width=width, value_width=width, output_width=width, **options.memory.model_dump())


def _given_banks(options: AMMRGOptions) -> dict[str, Bank]:
    """The banks in the folders that the options name, in the order of the memories.

    A folder with a bank of another kind alone, such as a published one, gives patches or reports.
    """
    kinds = (
        (options.visual_memory, options.visual_bank, "visual", DISEASE, VISUAL),
        (options.report_memory, options.report_bank, "report", "report", (REPORTS,)),
    )
    banks: dict[str, Bank] = {}
    for is_on, path, memory, kind, names in kinds:
        if not is_on:
            continue
        if path is None:
            raise UserError(
                f"model.{memory}_bank is missing: make a bank with `cxreport bank make --kind {kind}` and"
                f" name its folder, or set model.{memory}_memory=false."
            )
        there = bank_names(Path(path))
        banks |= {name: Bank.load(Path(path), name) for name in names if name in there}
        if there == [NAME]:
            banks[names[-1]] = Bank.load(Path(path))
    _need_both(options, banks, Path(options.visual_bank or ""), Path(options.report_bank or ""))
    return banks


def _need_both(options: AMMRGOptions, banks: Banks, visual: Path, report: Path) -> None:
    """UserError where a memory that is on has no bank."""
    if options.visual_memory and not banks.keys() & set(VISUAL):
        raise UserError(f"{visual} holds no bank of disease tokens or patches; make one with --kind disease.")
    if options.report_memory and REPORTS not in banks:
        raise UserError(f"{report} holds no bank of reports; make one with --kind report.")


def _shown(banks: Sequence[Bank], place: int, score: float, before: int) -> BankEntry:
    """The entry at `place` of `banks` put one after another; `before` rows come before them."""
    for bank in banks:
        if place < len(bank):
            [entry] = bank.shown([place], [score])
            return BankEntry(before + place, entry.study, score)
        place -= len(bank)
        before += len(bank)
    raise IndexError(place)

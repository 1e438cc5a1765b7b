"""Context samples: train studies with and without disease, beside which R2GenCSR puts a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cxreport.errors import UserError
from cxreport.memories.bank import Bank
from cxreport.model_options import R2GenCSROptions

POSITIVE, NEGATIVE = "positive", "negative"
"""Kinds of the entries of a bank of contexts: with disease, and normal."""
_NORMAL = "No Finding"


def sides_of(
    options: R2GenCSROptions, reports: Sequence[str], labels: Sequence[Mapping[str, int]]
) -> tuple[list[int], list[int]]:
    """Places of the positive and of the negative studies that ``options.context`` chooses from, in order.

    `reports` are target texts, `labels` those of :class:`cxreport.study.Study`; both tell of the same
    studies. A study without any label has no side. ``random`` gives every study one, by ``context_seed``.
    Raises UserError where a side has fewer studies than a context needs.
    """
    if options.context == "random":
        order = np.random.default_rng(options.context_seed).permutation(len(reports)).tolist()
        positive, negative = sorted(order[::2]), sorted(order[1::2])
        why = "the train split has too few studies"
    elif options.context in ("keyword", "fixed"):
        with_it = [place for place, text in enumerate(reports) if options.context_keyword in text]
        without = sorted(set(range(len(reports))) - set(with_it))
        positive, negative = (with_it, without) if options.keyword_marks == "positive" else (without, with_it)
        why = f"{len(with_it)} of {len(reports)} train reports contain {options.context_keyword!r}"
    else:
        normal = [own.get(_NORMAL) == 1 for own in labels]
        negative = [place for place, is_normal in enumerate(normal) if is_normal]
        positive = [place for place, own in enumerate(labels) if own and not normal[place]]
        why = f"{len(negative)} of {len(reports)} train studies have the label {_NORMAL}"
    for side, places in ((POSITIVE, positive), (NEGATIVE, negative)):
        if len(places) < options.context_pairs:
            raise UserError(
                f"model.context: {options.context} finds {len(places)} {side} studies and needs"
                f" {options.context_pairs} ({why}); choose another model.context or fewer context_pairs."
            )
    return positive, negative


def drawn(places: Sequence[int], options: R2GenCSROptions, side: str) -> list[int]:
    """``context_pool`` of the `places` at most, by ``context_seed``; the sides draw on their own."""
    rng = np.random.default_rng([options.context_seed, (POSITIVE, NEGATIVE).index(side)])
    taken = rng.permutation(len(places))[: options.context_pool]
    return [places[number] for number in taken.tolist()]


class Contexts:
    """A bank of :data:`POSITIVE` and :data:`NEGATIVE` entries, of which every study gets `pairs` pairs.

    Raises UserError where a side has fewer.
    """

    def __init__(self, bank: Bank, pairs: int) -> None:
        self.bank = bank
        self.pairs = pairs
        kinds = np.array([entry.kind for entry in bank.entries])
        self.places = {side: np.flatnonzero(kinds == side) for side in (NEGATIVE, POSITIVE)}
        for side, places in self.places.items():
            if len(places) < pairs:
                raise UserError(
                    f"The bank has {len(places)} {side} studies, and a context needs {pairs}; make the model"
                    " again, or with fewer context_pairs."
                )
        self._banks: dict[str, Bank] = {}

    def first(self, seed: int | None = None) -> dict[str, NDArray[np.int64]]:
        """Places (P,) of each side: the first, or some drawn by `seed`."""
        if seed is None:
            return {side: places[: self.pairs] for side, places in self.places.items()}
        rng = np.random.default_rng(seed)
        return {side: rng.permutation(places)[: self.pairs] for side, places in self.places.items()}

    def nearest(
        self, queries: Tensor, study_ids: Sequence[str], patient_ids: Sequence[str]
    ) -> dict[str, NDArray[np.int64]]:
        """Places (B, P) of each side, nearest first; see :meth:`cxreport.memories.bank.Bank.nearest`."""
        found = {}
        for side, places in self.places.items():
            if side not in self._banks:
                self._banks[side] = self.bank.select(places.tolist())
            chosen, _ = self._banks[side].nearest(
                queries, self.pairs, study_ids=study_ids, patient_ids=patient_ids
            )
            found[side] = places[chosen]
        return found

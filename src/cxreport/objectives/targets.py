"""What a classifier of diseases learns of a study: its CheXpert labels, or a phantom's findings by side."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan

import torch
from torch import Tensor

from cxreport.errors import UserError
from cxreport.phantom.kinds import KINDS, SIDED_KINDS
from cxreport.pretraining import DiseaseOptions
from cxreport.study import LABELS, Box, Finding, SidedKind, sided_kinds

_VALUES = {"ignore": nan, "zeros": 0.0, "ones": 1.0}


class Targets:
    """The names that `options` ask for, and their truth; UserError where one is unknown."""

    def __init__(self, options: DiseaseOptions) -> None:
        self.options = options
        self._kinds = {sided_name(each): each for each in SIDED_KINDS}
        known = LABELS if options.targets == "labels" else tuple(self._kinds)
        unknown = [name for name in options.labels if name not in known]
        if unknown:
            raise UserError(
                f"objective.labels holds {unknown[0]!r}, which is none of the {options.targets}; choose of "
                f"{', '.join(known)}."
            )
        self.names = tuple(name for name in known if not options.labels or name in options.labels)

    def truth(
        self, labels: Sequence[dict[str, int]], findings: Sequence[frozenset[SidedKind] | None]
    ) -> Tensor:
        """The truth (B, L) of studies: 1, 0, or NaN where the loss does not count it.

        A study without any label, or whose findings are not known, has none.
        """
        by_label = self.options.targets == "labels"
        rows = [self._of_labels(row) for row in labels] if by_label else [self._of(each) for each in findings]
        return torch.tensor(rows, dtype=torch.float32).reshape(-1, len(self.names))

    def boxes(self, findings: Sequence[Finding], projection: str) -> dict[int, list[Box]]:
        """The boxes in a view of what each output stands for; outputs without a box are left out."""
        found: dict[int, list[Box]] = {}
        for finding in findings:
            if projection in finding.boxes:
                for place in self._places(finding):
                    found.setdefault(place, []).append(finding.boxes[projection])
        return found

    def _places(self, finding: Finding) -> list[int]:
        """The outputs that `finding` sets: its labels (a source's own word may be one), or its sides."""
        if self.options.targets == "findings":
            wanted = {sided_name(each) for each in sided_kinds([finding])}
        else:
            kind = KINDS.get(finding.kind)
            wanted = set(kind.labels if kind else [finding.kind])
        return [place for place, name in enumerate(self.names) if name in wanted]

    def _of_labels(self, row: dict[str, int]) -> list[float]:
        if not row:
            return [nan] * len(self.names)
        values = {1: 1.0, 0: 0.0, -1: _VALUES[self.options.uncertain]}
        missing = _VALUES[self.options.missing]
        return [values[row[name]] if name in row else missing for name in self.names]

    def _of(self, kinds: frozenset[SidedKind] | None) -> list[float]:
        if kinds is None:
            return [nan] * len(self.names)
        return [float(self._kinds[name] in kinds) for name in self.names]


def sided_name(kind: SidedKind) -> str:
    """``left pleural_effusion``, or the kind alone where it has no side."""
    name, side = kind
    return f"{side} {name}" if side else name

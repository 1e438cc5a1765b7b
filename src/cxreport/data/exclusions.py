"""What an import or a training run left out, counted by reason: nothing is skipped silently."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class Excluded(NamedTuple):
    """One thing that was left out.

    ``item`` is a study id or a file name, never a patient id; ``reason`` is one of a few phrases that
    can be counted; ``detail`` is the full sentence where there is one.
    """

    item: str
    reason: str
    detail: str = ""

    @property
    def line(self) -> str:
        """One line for people: the detail or else the reason, after the item unless the detail names it."""
        named = re.search(rf"(?<!\S){re.escape(self.item)}(?=[.,;:]?(\s|$))", self.detail)
        return self.detail if named else f"{self.item}: {self.detail or self.reason}"


class Exclusions:
    """A growing list of what was left out and why."""

    def __init__(self) -> None:
        self.items: list[Excluded] = []

    def add(self, item: str, reason: str, detail: str = "") -> None:
        """Note that `item` was left out for `reason`."""
        self.items.append(Excluded(item, reason, detail))

    @property
    def counts(self) -> dict[str, int]:
        """Number of items per reason, the most frequent first."""
        return dict(Counter(excluded.reason for excluded in self.items).most_common())

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Excluded]:
        return iter(self.items)

    def summary(self) -> str:
        """One line for people, such as ``3 left out: empty report (2), unreadable image (1)``."""
        if not self.items:
            return "nothing left out"
        reasons = ", ".join(f"{reason} ({count})" for reason, count in self.counts.items())
        return f"{len(self.items)} left out: {reasons}"

    def as_json(self) -> dict[str, Any]:
        """The form that ``dataset.json`` keeps; :meth:`from_json` reads it back."""
        return {"counts": self.counts, "items": [list(excluded) for excluded in self.items]}

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Exclusions:
        """Rebuild from :meth:`as_json`."""
        exclusions = cls()
        for item, reason, detail in tree["items"]:
            exclusions.add(item, reason, detail)
        return exclusions

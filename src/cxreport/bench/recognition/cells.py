"""Cells of the table: one run of one arm with one share and seed, a JSON file each, never made twice."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cxreport.errors import UserError
from cxreport.training.files import write_text

FORMAT = "cxreport-recognition-cell-1"
Mode = Literal["probe", "fine-tuning", "image-blind"]
MODES: tuple[Mode, ...] = ("probe", "fine-tuning", "image-blind")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a cell stands in the table; ``share`` is that of the train split."""

    arm: str
    mode: Mode
    share: float
    seed: int

    @property
    def name(self) -> str:
        """What tells the cell from all others, as the beginning of a file's name."""
        return f"{self.arm}.{self.mode}.{self.share * 100:g}.{self.seed}"


@dataclass(frozen=True, slots=True)
class Cell:
    """What a cell found, and what it was made from.

    ``identity`` names protocol, data and weights. ``learnt`` says which studies were learnt from, ``chosen``
    what the val split chose, ``test`` the score (N,) of every study of the test split, whose truth no cell
    knows. ``more`` are further facts, such as losses.
    """

    place: Place
    identity: dict[str, Any]
    learnt: dict[str, Any]
    chosen: dict[str, float]
    test: np.ndarray
    more: dict[str, Any]

    def write(self, folder: Path) -> None:
        """Write the cell into the folder of all cells, in one step."""
        tree = {
            "format": FORMAT,
            "arm": self.place.arm,
            "mode": self.place.mode,
            "share": self.place.share,
            "seed": self.place.seed,
            "identity": self.identity,
            "learnt": self.learnt,
            "chosen": self.chosen,
            **self.more,
            "test_scores": [round(float(score), 7) for score in self.test],
        }
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / f"{self.place.name}.json", json.dumps(tree, indent=1) + "\n")


_KEYS = ("format", "arm", "mode", "share", "seed", "identity", "learnt", "chosen", "test_scores")


def read_cell(folder: Path, place: Place, identity: dict[str, Any]) -> Cell | None:
    """The finished cell of that place; None where there is none.

    Raises UserError when its file is damaged or was made by another protocol, from other data or weights.
    """
    path = folder / f"{place.name}.json"
    if not path.is_file():
        return None
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        tree = None
    if not isinstance(tree, dict) or tree.get("format") != FORMAT or any(key not in tree for key in _KEYS):
        raise UserError(f"{path} is not a cell of this table; remove it, and it is made again.")
    changed = [key for key in identity if tree["identity"].get(key) != identity[key]]
    if changed:
        raise UserError(
            f"{path} was made with another {' and another '.join(changed)}; remove it to make it again, or "
            "choose another --out."
        )
    more = {key: value for key, value in tree.items() if key not in _KEYS}
    scores = np.array(tree["test_scores"], dtype=np.float64)
    return Cell(place, tree["identity"], tree["learnt"], tree["chosen"], scores, more)

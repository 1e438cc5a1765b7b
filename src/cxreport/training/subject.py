"""What a run trains: a generator or an objective, its studies, and how its model folder is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from cxreport.recipe import RecipeFile
from cxreport.training.batches import RunStudies


@dataclass(frozen=True, slots=True)
class Built:
    """A subject that was built.

    ``system`` has ``loss(batch)``; ``encoder_parameters`` are those of it with the encoder's learning rate.
    ``save`` writes the model folder of a system, which is this one or has its weights, given its provenance.
    ``finish`` writes into the run folder what only a
    finished run has. ``measured`` is counted while it trains, for ``run.json``; ``remembered`` is what a
    resumed run need not find again (tensors and JSON values), which ``recall`` takes back. ``throughput`` is
    whether images a second are told.
    """

    system: nn.Module
    encoder_parameters: Iterable[nn.Parameter]
    studies: RunStudies
    counts: dict[str, int]
    save: Callable[[Any, Path, dict[str, Any]], None]
    finish: Callable[[Path], None] = lambda out: None
    measured: Callable[[], dict[str, Any]] = dict
    remembered: Callable[[], dict[str, Any]] = dict
    recall: Callable[[dict[str, Any]], None] = lambda remembered: None
    throughput: bool = False


@dataclass(frozen=True, slots=True)
class Subject:
    """A recipe with its data, before anything is read or built.

    ``dataset`` identifies the data by its ``sha256``; ``data_name`` names it in errors. ``encoder_init`` is
    the folder that the encoder starts from. ``build`` is called once, after seeding.
    """

    recipe: RecipeFile
    dataset: dict[str, Any]
    data_name: str
    encoder_init: str | None
    build: Callable[[], Built]

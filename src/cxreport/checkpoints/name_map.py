"""Name maps between published weights and ours, one file a system in ``cxreport.checkpoints.published``.

Published state dicts load through a map that accounts for every key of both sides: paired, or derived
(a table that follows from the configuration, checked on the way in and written on the way out).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from cxreport.errors import UserError


@dataclass(frozen=True, slots=True)
class NameMap:
    """``pairs`` maps published keys to ours; ``derived`` maps published keys to the values they must have."""

    pairs: dict[str, str]
    derived: dict[str, Tensor] = field(default_factory=dict)

    def prefixed(self, published: str, ours: str) -> NameMap:
        """The same map with a prefix before all keys of each side."""
        pairs = {published + key: ours + value for key, value in self.pairs.items()}
        return NameMap(pairs, {published + key: value for key, value in self.derived.items()})

    def __or__(self, other: NameMap) -> NameMap:
        return NameMap(self.pairs | other.pairs, self.derived | other.derived)


def load_published(module: nn.Module, weights: Mapping[str, Tensor], names: NameMap) -> None:
    """Copy published `weights` into `module`.

    Raises UserError that lists the names when a key is missing, unknown or of another shape, or when a
    derived table has other values.
    """
    own = module.state_dict()
    _agree("keys of ours that the name map lacks", own.keys(), names.pairs.values())
    _agree("published keys", weights.keys(), [*names.pairs, *names.derived])
    shapes = [
        f"{key} {tuple(weights[key].shape)} instead of {tuple(own[ours].shape)}"
        for key, ours in names.pairs.items()
        if weights[key].shape != own[ours].shape
    ]
    if shapes:
        raise UserError(f"The published weights have other shapes than the configuration: {_listed(shapes)}.")
    for key, value in names.derived.items():
        if weights[key].shape != value.shape or not torch.allclose(weights[key].to(value), value, atol=1e-5):
            raise UserError(f"The published table {key} differs from the one that the configuration gives.")
    module.load_state_dict({ours: weights[key] for key, ours in names.pairs.items()})


def to_published(module: nn.Module, names: NameMap) -> dict[str, Tensor]:
    """The weights of `module` under their published names, derived tables included."""
    own = module.state_dict()
    _agree("keys of ours that the name map lacks", own.keys(), names.pairs.values())
    return {key: own[ours] for key, ours in names.pairs.items()} | names.derived


def weight_and_bias(theirs: str, ours: str) -> dict[str, str]:
    """The pairs of a layer that keeps the names of its ``weight`` and ``bias``."""
    return {f"{theirs}.{part}": f"{ours}.{part}" for part in ("weight", "bias")}


def _agree(what: str, found: Iterable[str], known: Iterable[str]) -> None:
    found, known = set(found), set(known)
    missing, unknown = sorted(known - found), sorted(found - known)
    if missing or unknown:
        parts = [f"missing {_listed(missing)}"] if missing else []
        parts += [f"unknown {_listed(unknown)}"] if unknown else []
        raise UserError(f"The {what} do not match: {'; '.join(parts)}.")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more
